"""Which joints there are, as images say."""

from dataclasses import replace

import pytest
import torch

from posefield.articulation.hierarchy import ROOT
from posefield.articulation.skeleton_changes import (
    in_between,
    nearest,
    other_parents,
    other_places,
)
from posefield.articulation.skeleton_search import SkeletonSearch, SkeletonSearchConfig, carried
from posefield.articulation.skeleton_stage import SkeletonLossConfig, probe
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.skeleton_trials import Outcome, Trials
from support.rendered_arm import (
    AXES,
    arm_motion,
    arm_pictures,
    arm_tree,
    axis_errors_deg,
    with_a_joint_too_many,
    with_a_turn_shared,
    with_a_turn_undone,
    with_the_second_link_in_two,
    with_the_second_link_on_the_third,
)

FEW = SkeletonLossConfig(counts=(16, 16, 24, 8), images=10)


@pytest.fixture(scope='module')
def pixels():
    return arm_pictures(arm_tree())


def test_a_joint_that_explains_nothing_goes_and_the_others_stay(pixels):
    tree = with_a_joint_too_many()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    config = SkeletonSearchConfig(
        tolerance=0.02, frozen_steps=20, changed_steps=20, last_steps=20, rounds=1
    )
    found = SkeletonSearch(Trials(pixels, FEW, 1), config, lambda: True).run(tracks)
    assert found.hierarchy.parents == (ROOT, 0, 1)
    assert found.hierarchy.joint_of_part == (ROOT, 0, 1, 1, 2)


def test_one_of_two_joints_that_share_a_turn_goes(pixels):
    tracks = SkeletonTracks.from_tree(with_a_turn_shared(), arm_motion(arm_tree()))
    config = SkeletonSearchConfig(tolerance=0.02, frozen_steps=5)
    found = SkeletonSearch(Trials(pixels, FEW, 1), config, lambda: True).pruned(tracks)
    assert found.hierarchy.parents == (ROOT, 0, 1)
    assert found.hierarchy.joint_of_part == (ROOT, 0, 1, 1, 2)


def test_one_joint_stays_where_none_explains_anything(pixels):
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    any_will_do = SkeletonSearchConfig(tolerance=100.0, frozen_steps=2, rounds=0)
    found = SkeletonSearch(Trials(pixels, FEW, 1), any_will_do, lambda: True).run(tracks)
    assert found.joints == 1


class CountingTrials(Trials):
    """Counts the trials that are run."""

    count = 0

    def one(self, trial):
        self.count += 1
        return super().one(trial)


def test_joints_that_were_missed_are_tried_again_only_where_they_carry_something_else(pixels):
    tree = with_a_joint_too_many()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    trials = CountingTrials(pixels, FEW, 1)
    search = SkeletonSearch(
        trials, SkeletonSearchConfig(tolerance=0.02, frozen_steps=20), lambda: True
    )
    fewer = search.pruned(tracks)
    assert fewer.joints == 3
    # As they are and without each of four; then without the one that has got another part.
    assert trials.count == (1 + 4) + (1 + 1)
    search.pruned(fewer)
    assert trials.count == 7 + (1 + 3)


class ToldTrials(Trials):
    """Learns nothing: losses are those that are told of a hierarchy, and 2 of any other."""

    def __init__(self, losses):
        super().__init__(None, None, 1)
        self._losses = losses

    def one(self, trial):
        return Outcome(trial.tracks, self._losses.get(trial.tracks.hierarchy, 2.0))


@pytest.mark.parametrize(('looked_on', 'taken'), [(0, 0), (1, 0), (2, 2), (3, 2)])
def test_a_better_change_soon_after_one_that_helps_is_taken(looked_on, taken):
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    changes = [one.hierarchy for one in nearest(tracks, other_places(tracks))]
    # The one between them has a joint less.
    assert [len(one.parents) for one in changes[:3]] == [3, 2, 3]
    losses = {tracks.hierarchy: 1.0, changes[0]: 0.99, changes[2]: 0.9}
    config = SkeletonSearchConfig(looked_on=looked_on, rounds=1)
    found = SkeletonSearch(ToldTrials(losses), config, lambda: True).run(tracks)
    assert found.hierarchy == changes[taken]


def test_a_link_that_hangs_on_its_next_one_is_put_between():
    tree = with_the_second_link_on_the_third()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(arm_tree()))
    right = in_between(tracks)[0].hierarchy
    trials = ToldTrials({tracks.hierarchy: 1.0, right: 1.0})
    config = SkeletonSearchConfig(places=0, rounds=1)
    found = SkeletonSearch(trials, config, lambda: True).run(tracks)
    assert found.hierarchy == right
    assert found.hierarchy.parents == (ROOT, 0, 1)
    assert found.hierarchy.joint_of_part == (ROOT, 0, 1, 1, 2)


def test_joints_in_a_row_without_parts_between_are_told_apart():
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    tracks.hierarchy = replace(tracks.hierarchy, joint_of_part=(ROOT, 2, 2, 2, 2))
    assert len({carried(tracks, joint) for joint in range(3)}) == 3


def test_a_joint_goes_to_the_parent_that_explains_it(pixels):
    """The third joint hangs on the first link, which cannot move it as the second does."""
    tree = arm_tree()
    wrong = SkeletonTracks.from_tree(tree, arm_motion(tree)).rehung(2, 0)
    assert (2, 1) in other_parents(wrong)
    config = SkeletonSearchConfig(tolerance=0.02, frozen_steps=20, changed_steps=60, last_steps=40)
    found = SkeletonSearch(Trials(pixels, FEW, 1), config, lambda: True).run(wrong)
    assert found.hierarchy.parents == (ROOT, 0, 1)
    assert found.hierarchy.joint_of_part == (ROOT, 0, 1, 1, 2)
    assert probe(found, pixels, FEW) < probe(wrong, pixels, FEW)


def test_a_part_that_turns_back_goes_where_it_does_not_turn():
    """A part of the first link hangs on the second, on a joint that undoes the second's turns."""
    tree = with_a_turn_undone()
    pixels = arm_pictures(tree)
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    assert tracks.hierarchy.parents == (ROOT, 0, 1, 1)
    config = SkeletonSearchConfig(tolerance=0.02, frozen_steps=20, changed_steps=40, last_steps=40)
    found = SkeletonSearch(Trials(pixels, FEW, 1), config, lambda: True).run(tracks)
    assert found.hierarchy.parents == (ROOT, 0, 1)
    assert found.hierarchy.joint_of_part == (ROOT, 0, 1, 0, 2)


def test_a_joint_that_was_frozen_is_found_again():
    tree = arm_tree()
    # The last part is on the joint's line, so that all its angles can be tried at once.
    tree.T_link_part_P44[-1, 2, 3] = 0.0
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree)).without(2)
    pixels = arm_pictures(tree)
    config = SkeletonSearchConfig(frozen_steps=20, changed_steps=60, last_steps=60, places=0)
    found = SkeletonSearch(Trials(pixels, FEW, 1), config, lambda: True).run(tracks)
    assert found.hierarchy.parents == (ROOT, 0, 1)
    assert found.hierarchy.joint_of_part == (ROOT, 0, 1, 1, 2)
    assert axis_errors_deg(found.tree()).max() < 20.0


def test_a_last_joint_that_is_stuck_with_a_wrong_line_finds_the_right_one(pixels):
    tree = arm_tree()
    stuck = SkeletonTracks.from_tree(tree, arm_motion(tree))
    with torch.no_grad():
        stuck.axes_J3[2] = torch.tensor(AXES[1])
        stuck.positions_FJ[:, 2] = 0.0
    config = SkeletonSearchConfig(
        places=0, frozen_steps=20, changed_steps=60, last_steps=60, tolerance=0.02
    )
    found = SkeletonSearch(Trials(pixels, FEW, 1), config, lambda: True).run(stuck)
    errors = axis_errors_deg(found.tree())
    assert errors[2] < 12.0 and errors.max() < 20.0


def test_two_joints_that_are_one_become_one(pixels):
    tracks = SkeletonTracks.from_tree(with_the_second_link_in_two(), arm_motion(arm_tree()))
    config = SkeletonSearchConfig(
        tolerance=0.05, frozen_steps=10, changed_steps=20, last_steps=20, rounds=2
    )
    found = SkeletonSearch(Trials(pixels, FEW, 1), config, lambda: True).run(tracks)
    assert found.hierarchy.parents == (ROOT, 0, 1)
    assert found.hierarchy.joint_of_part == (ROOT, 0, 1, 1, 2)


def test_processes_find_what_one_finds(pixels):
    tree = with_a_joint_too_many()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    config = SkeletonSearchConfig(
        tolerance=0.02, frozen_steps=20, changed_steps=20, last_steps=20, rounds=1
    )
    found = []
    for processes in (1, 2):
        with Trials(pixels, FEW, processes) as trials:
            found.append(SkeletonSearch(trials, config, lambda: True).run(tracks))
    alone, shared = found
    assert alone.hierarchy == shared.hierarchy
    assert probe(alone, pixels, FEW) == pytest.approx(probe(shared, pixels, FEW), rel=1e-3)


def test_a_search_without_time_changes_nothing(pixels):
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    found = SkeletonSearch(Trials(pixels, FEW, 1), SkeletonSearchConfig(), lambda: False).run(
        tracks
    )
    assert found.hierarchy == tracks.hierarchy
