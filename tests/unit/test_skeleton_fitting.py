"""Joints fitted to images: what hangs on what, where the axes are, and which joints there are."""

import copy
from dataclasses import replace
import threading

import numpy as np
import pytest
import torch

from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.hierarchy import ROOT, Hierarchy
from posefield.articulation.skeleton_changes import (
    distance,
    joints_beside,
    more_joints,
    nearest,
    one_for_two,
    other_parents,
)
from posefield.articulation.skeleton_fitting import (
    Candidate,
    SkeletonFittingConfig,
    choose_joints,
    fit_proposed,
)
from posefield.articulation.skeleton_search import SkeletonSearch, SkeletonSearchConfig
from posefield.articulation.skeleton_stage import SkeletonLossConfig, SkeletonStage, probe
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.skeleton_trials import Trials
from posefield.articulation.structure import ProposedTree, propose_tree
from posefield.articulation.tree_fitting import Tree
from posefield.errors import LearningInterrupted
from posefield.learning.budget import Budget
from posefield.learning.progress import Progress, QuietProgress
from posefield.learning.run import LearningRun
from support.moving_chains import make_chain
from support.rendered_arm import (
    AXES,
    FRAMES,
    arm_motion,
    arm_pictures,
    arm_tree,
    with_axes_turned,
)

FEW = SkeletonLossConfig(counts=(16, 16, 24, 8), images=10)
ALL = torch.arange(FRAMES)


@pytest.fixture(scope='module')
def pixels():
    return arm_pictures(arm_tree())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def part_poses(tree: Tree) -> np.ndarray:
    return tree.poses()[0][:, tree.link_of_part] @ tree.T_link_part_P44


def assert_same_poses(tracks: SkeletonTracks, expected_FP44: np.ndarray) -> None:
    with torch.no_grad():
        R, t = tracks.poses(torch.arange(len(expected_FP44)))
    np.testing.assert_allclose(R.numpy(), expected_FP44[..., :3, :3], atol=2e-5)
    np.testing.assert_allclose(t.numpy(), expected_FP44[..., :3, 3], atol=2e-5)


def axis_errors_deg(tree: Tree) -> np.ndarray:
    """Return the angles between the axes of three joints in a row and the true ones at rest."""
    resting = replace(
        tree,
        positions_FL=np.zeros((1, len(tree.parents))),
        T_scene_root_F44=tree.T_scene_root_F44[:1],
    ).poses()[0][0]
    found = np.einsum('lij,lj->li', resting[1:, :3, :3], tree.axes_L3[1:])
    true = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree())).unit_axes_J3
    cosines = np.abs((found * true.detach().numpy()).sum(axis=1))
    return np.degrees(np.arccos(np.clip(cosines, 0.0, 1.0)))


def with_a_joint_too_many() -> Tree:
    """The arm with one part of the second link on a joint of its own that hardly moves."""
    tree = arm_tree()
    jitter = 0.03 * np.random.default_rng(0).normal(size=(FRAMES, 1))
    T_joint = tree.T_link_part_P44[3:4].copy()
    T_link_part = tree.T_link_part_P44.copy()
    T_link_part[3] = np.eye(4)
    return replace(
        tree,
        parents=(*tree.parents, 2),
        prismatic_L=np.zeros(5, dtype=bool),
        T_parent_joint_L44=np.concatenate([tree.T_parent_joint_L44, T_joint]),
        axes_L3=np.concatenate([tree.axes_L3, [[1.0, 0.0, 0.0]]]),
        positions_FL=np.concatenate([tree.positions_FL, jitter], axis=1),
        link_of_part=np.array([0, 1, 2, 4, 3]),
        T_link_part_P44=T_link_part,
    )


def test_tracks_move_parts_as_the_tree_they_were_made_of():
    chain = make_chain(
        [
            ('revolute', 'base', 'upper', (0, 0, 0.2), (0, 0, 1)),
            ('prismatic', 'upper', 'slide', (0.3, 0, 0), (1, 0, 0.5)),
            ('revolute', 'base', 'arm', (0, 0.3, 0), (0, 1, 1)),
        ],
        [
            ('base', (0, 0, 0), (0.2, 0.1, 0.15)),
            ('upper', (0.1, 0, 0), (0.15, 0.05, 0.1)),
            ('slide', (0, 0, 0), (0.1, 0.07, 0.05)),
            ('arm', (0, 0.1, 0), (0.1, 0.05, 0.07)),
        ],
    )
    tree = propose_tree(chain.motion).tree
    assert tree.prismatic_L.any() and not tree.root_moves
    tracks = SkeletonTracks.from_tree(tree, chain.motion)
    assert_same_poses(tracks, part_poses(tree))
    np.testing.assert_allclose(part_poses(tracks.tree()), part_poses(tree), atol=2e-5)


def test_a_root_that_moves_carries_all():
    tree = arm_tree()
    moving = np.stack([np.eye(4)] * FRAMES)
    angles = np.linspace(0.0, 1.0, FRAMES)
    moving[:, 0, 0] = moving[:, 1, 1] = np.cos(angles)
    moving[:, 1, 0], moving[:, 0, 1] = np.sin(angles), -np.sin(angles)
    moving[:, 0, 3], moving[:, 2, 3] = angles, 0.3
    tree = replace(tree, T_scene_root_F44=moving, root_moves=True)
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    assert_same_poses(tracks, part_poses(tree))
    np.testing.assert_allclose(part_poses(tracks.tree()), part_poses(tree), atol=2e-5)


@pytest.mark.parametrize('joint', range(3))
def test_a_frozen_joint_stays_in_the_middle_and_the_rest_as_it_was(joint):
    tree = arm_tree()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    with torch.no_grad():
        tracks.positions_FJ[:, joint] = 0.3
    with torch.no_grad():
        R, t = tracks.poses(ALL)
    frozen = tracks.without(joint)
    assert frozen.joints == 2
    expected = np.tile(np.eye(4), (*R.shape[:2], 1, 1))
    expected[..., :3, :3], expected[..., :3, 3] = R.numpy(), t.numpy()
    assert_same_poses(frozen, expected)


def test_a_joint_hung_where_it_was_finds_its_line_again():
    tree = arm_tree()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    again = tracks.rehung(2, 1)
    assert again.hierarchy == tracks.hierarchy
    cosine = (again.unit_axes_J3[2] * tracks.unit_axes_J3[2]).sum().detach()
    assert abs(float(cosine)) > 0.9999
    assert_same_poses(again, part_poses(tree))


def test_a_hierarchy_is_put_in_order_when_a_joint_goes_to_a_later_one():
    row = Hierarchy((ROOT, ROOT, 0), (False, True, False), (ROOT, 0, 1, 2))
    moved, order = row.rehung(0, 1)
    assert order == [1, 0, 2]
    assert moved == Hierarchy((ROOT, 0, 1), (True, False, False), (ROOT, 1, 0, 2))
    assert row.absorbed(0, ROOT)[0] == Hierarchy((ROOT, ROOT), (True, False), (ROOT, ROOT, 0, 1))
    assert Hierarchy.from_dict(row.to_dict()) == row


def test_axes_that_are_square_or_parallel_are_not_skew():
    tree = arm_tree()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    square = float(tracks.skewness().detach())
    with torch.no_grad():
        tracks.axes_J3[1] = tracks.axes_J3[0] + tracks.axes_J3[1]
    skew = float(tracks.skewness().detach())
    with torch.no_grad():
        tracks.axes_J3[:] = tracks.axes_J3[0].clone()
    assert square < 0.02 and float(tracks.skewness().detach()) < 1e-6
    assert skew > 0.2


@pytest.mark.parametrize(('square_weight', 'bound_deg'), [(0.0, 8.0), (0.1, 5.0)])
def test_axes_are_found_in_images(pixels, square_weight, bound_deg):
    """The arm is slender and of plain colours: images alone leave some of each turn open."""
    turned = with_axes_turned(arm_tree(), np.radians(15.0), np.random.default_rng(1))
    assert axis_errors_deg(turned).min() > 14.0
    stage = SkeletonStage('joints', SkeletonTracks.from_tree(turned, arm_motion(arm_tree())),
                          pixels, replace(FEW, square_weight=square_weight))  # fmt: skip
    optimizer = stage.make_optimizer(stage.parameter_groups())
    generator = seeded()
    for step in range(250):
        stage.on_interval(step / 250)
        loss = stage.step(step, generator)['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert axis_errors_deg(stage.tracks.tree()).max() < bound_deg


def test_a_joint_that_explains_nothing_goes_and_the_others_stay(pixels):
    tree = with_a_joint_too_many()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    config = SkeletonSearchConfig(
        tolerance=0.02, frozen_steps=20, changed_steps=20, last_steps=20, rounds=1
    )
    found = SkeletonSearch(Trials(pixels, FEW, 1), config, lambda: True).run(tracks)
    assert found.hierarchy.parents == (ROOT, 0, 1)
    assert found.hierarchy.joint_of_part == (ROOT, 0, 1, 1, 2)


def test_one_joint_stays_where_none_explains_anything(pixels):
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    any_will_do = SkeletonSearchConfig(tolerance=100.0, frozen_steps=2, rounds=0)
    found = SkeletonSearch(Trials(pixels, FEW, 1), any_will_do, lambda: True).run(tracks)
    assert found.joints == 1


def test_a_joint_goes_to_the_parent_that_explains_it(pixels):
    """The third joint hangs on the first link, which cannot move it as the second does."""
    tree = arm_tree()
    wrong = SkeletonTracks.from_tree(tree, arm_motion(tree)).rehung(2, 0)
    assert (2, 1) in other_parents(wrong)
    config = SkeletonSearchConfig(tolerance=0.02, frozen_steps=20, changed_steps=60, last_steps=40)
    found = SkeletonSearch(Trials(pixels, FEW, 1), config, lambda: True).run(wrong)
    assert found.hierarchy.parents == (ROOT, 0, 1)
    assert probe(found, pixels, FEW) < probe(wrong, pixels, FEW)


def test_turning_about_a_parallel_line_turns_as_before():
    tree = arm_tree()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    turned = tracks.turning_about(2, 4, int(AXES[2].argmax()))
    with torch.no_grad():
        R, _ = tracks.poses(ALL)
        R_turned, _ = turned.poses(ALL)
    torch.testing.assert_close(R_turned, R, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(turned.points_J3[2], tracks.rest_centres_P3[4])


def test_turns_about_another_line_are_the_nearest_ones():
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    with torch.no_grad():
        tracks.axes_J3[2] = torch.tensor([1.0, 0.6, -0.3])
        turned = tracks.turning_about(2, 4, 0)
        traces = []
        for offset in (-0.02, 0.0, 0.02):
            near = copy.deepcopy(turned)
            near.positions_FJ[:, 2] += offset
            between = tracks.poses(ALL)[0][:, 4].mT @ near.poses(ALL)[0][:, 4]
            traces.append(between.diagonal(dim1=-2, dim2=-1).sum(dim=-1))
    assert (traces[1] > traces[0]).all() and (traces[1] > traces[2]).all()


def test_one_joint_for_two_turns_about_the_axes_of_what_it_carries():
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    turns = one_for_two(tracks)
    # Of joints 1 and 2, then of 0 and 1, either is left, about three axes.
    assert [turn.joint for turn in turns] == [1] * 6 + [0] * 6
    assert all(turn.tracks.joints == 2 for turn in turns)
    carried = [turn.tracks.hierarchy.joint_of_part for turn in turns[::3]]
    assert carried == [
        (ROOT, 0, 1, 1, 1), (ROOT, 0, 0, 0, 1), (ROOT, 0, 0, 0, 1), (ROOT, ROOT, 0, 0, 1)
    ]  # fmt: skip
    without_parts = copy.deepcopy(tracks)
    without_parts.hierarchy = replace(tracks.hierarchy, joint_of_part=(ROOT, 0, 0, 0, 2))
    # Whichever of two is left carries the same where nothing is on the link between them.
    assert [turn.joint for turn in one_for_two(without_parts)][:3] == [1] * 3
    tracks.hierarchy = replace(tracks.hierarchy, prismatic=(False, True, False))
    assert not [
        turn for turn in one_for_two(tracks) if turn.tracks.hierarchy.prismatic[turn.joint]
    ]


def test_parts_at_the_end_of_a_chain_get_joints_of_their_own():
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree())).without(2)
    turns = more_joints(tracks)
    assert {turn.tracks.hierarchy.joint_of_part for turn in turns} == {
        (ROOT, 0, 2, 1, 1), (ROOT, 0, 1, 2, 1), (ROOT, 0, 1, 1, 2)
    }  # fmt: skip
    assert len(turns) == 9 and {turn.joint for turn in turns} == {2}
    # The new joint stands still until its angles are found.
    for turn in turns:
        assert turn.tracks.hierarchy.parents == (ROOT, 0, 1)
        assert distance(turn.tracks, tracks) < 1e-6


def test_a_joint_that_was_frozen_is_found_again(pixels):
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree())).without(2)
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


def with_the_second_link_in_two() -> Tree:
    """The arm with the parts of the second link on two joints beside each other that are one."""
    tree = arm_tree()
    rows = [0, 1, 2, 2, 3]
    return replace(
        tree,
        parents=(-1, 0, 1, 1, 2),
        prismatic_L=np.zeros(5, dtype=bool),
        T_parent_joint_L44=tree.T_parent_joint_L44[rows],
        axes_L3=tree.axes_L3[rows],
        positions_FL=tree.positions_FL[:, rows],
        link_of_part=np.array([0, 1, 2, 3, 4]),
    )


def test_what_a_joint_carries_stays_in_place_at_rest_when_another_one_takes_it():
    tree = with_the_second_link_in_two()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(arm_tree()))
    assert (1, 2) in joints_beside(tracks) and (2, 1) in joints_beside(tracks)
    taken = tracks.absorbed(1, 2)
    assert taken.hierarchy == Hierarchy((ROOT, 0, 1), (False,) * 3, (ROOT, 0, 1, 1, 2))
    torch.testing.assert_close(taken.rest_centres_P3, tracks.rest_centres_P3)
    torch.testing.assert_close(taken.axes_J3, tracks.axes_J3[[0, 2, 3]])
    assert_same_poses(taken, part_poses(arm_tree()))


def test_two_joints_that_are_one_become_one(pixels):
    tracks = SkeletonTracks.from_tree(with_the_second_link_in_two(), arm_motion(arm_tree()))
    config = SkeletonSearchConfig(
        tolerance=0.05, frozen_steps=10, changed_steps=20, last_steps=20, rounds=2
    )
    found = SkeletonSearch(Trials(pixels, FEW, 1), config, lambda: True).run(tracks)
    assert found.hierarchy.parents == (ROOT, 0, 1)
    assert found.hierarchy.joint_of_part == (ROOT, 0, 1, 1, 2)


def test_a_joint_that_alone_hangs_on_one_without_parts_stays_there():
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    assert (2, 0) in other_parents(tracks)
    tracks.hierarchy = replace(tracks.hierarchy, joint_of_part=(ROOT, 0, 0, 0, 2))
    assert all(joint != 2 for joint, _ in other_parents(tracks))


def test_changes_that_hardly_move_the_parts_come_first():
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    assert distance(tracks, tracks.turning_about(2, 4, 0)) > 0.0
    same = copy.deepcopy(tracks)
    far = tracks.without(0)
    near = tracks.without(2)
    assert distance(tracks, same) < 1e-6
    assert nearest(tracks, [far, same, near]) == [same, near, far]


def test_a_search_without_time_changes_nothing(pixels):
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    found = SkeletonSearch(Trials(pixels, FEW, 1), SkeletonSearchConfig(), lambda: False).run(
        tracks
    )
    assert found.hierarchy == tracks.hierarchy


def a_run(stop: threading.Event | None = None, progress: Progress | None = None) -> LearningRun:
    return LearningRun(
        0, torch.device('cpu'), progress or QuietProgress(), stop or threading.Event()
    )


def fitted(proposed: ProposedTree, pixels: FittingPixels, steps: int) -> Candidate:
    motion, budget = arm_motion(arm_tree()), Budget(steps=steps)
    return fit_proposed(proposed, motion, pixels, FEW, a_run(), budget, 'joints 1')


def test_the_fitted_motion_is_that_of_the_tree(pixels):
    config = SkeletonFittingConfig(FEW, SkeletonSearchConfig(frozen_steps=5, changed_steps=8))
    candidate = fitted(ProposedTree(with_a_joint_too_many(), ()), pixels, 5)
    found, motion = choose_joints(
        [candidate], pixels, config, a_run(), search_s=None, last_budget=Budget(steps=4)
    )
    tree = found.tree
    np.testing.assert_allclose(motion.T_scene_part_FP44, part_poses(tree), atol=1e-9)
    assert motion.frames_F == tuple(range(FRAMES))


def test_the_run_whose_joints_explain_the_images_goes_on(pixels):
    """Of three proposals: nothing turns, all is right, one joint more than is needed."""
    tree = arm_tree()
    hardly = replace(tree, positions_FL=0.05 * tree.positions_FL)
    levels = ('hardly', 'right', 'too many')
    candidates = [
        fitted(ProposedTree(proposed, (level,)), pixels, 5)
        for proposed, level in zip((hardly, tree, with_a_joint_too_many()), levels, strict=True)
    ]
    never = SkeletonFittingConfig(
        FEW, SkeletonSearchConfig(rounds=0, frozen_steps=1, least_likely=0)
    )
    found, _ = choose_joints(
        candidates, pixels, never, a_run(), search_s=None, last_budget=Budget(steps=10)
    )
    assert found.levels == ('right',)


def test_without_any_joint_the_first_run_goes_on(pixels):
    tree = arm_tree()
    still = replace(
        tree, parents=(-1,), prismatic_L=np.zeros(1, dtype=bool), link_of_part=np.zeros(5, int)
    )
    candidates = [fitted(ProposedTree(still, (level,)), pixels, 1) for level in ('one', 'two')]
    found, motion = choose_joints(
        candidates, pixels, SkeletonFittingConfig(FEW), a_run(), search_s=None,
        last_budget=Budget(steps=1),
    )  # fmt: skip
    assert found is candidates[0].proposed
    assert motion is candidates[0].motion


def test_a_search_that_is_stopped_says_so(pixels):
    stop = threading.Event()

    class StopsLater(QuietProgress):
        """Sets the event when joints begin to be chosen."""

        def start(self, stage, total_fraction_known):
            if stage == 'choosing joints':
                stop.set()

    candidate = fitted(ProposedTree(arm_tree(), ()), pixels, 1)
    with pytest.raises(LearningInterrupted, match='choosing joints'):
        choose_joints(
            [candidate], pixels, SkeletonFittingConfig(FEW), a_run(stop, StopsLater()),
            search_s=None, last_budget=Budget(steps=1),
        )  # fmt: skip


def test_axes_of_the_made_up_arm_are_square():
    np.testing.assert_allclose(AXES @ AXES.T, np.eye(3))
