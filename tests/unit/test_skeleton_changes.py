"""Changes of joints that are worth a trial."""

import copy
from dataclasses import replace

import torch

from posefield.articulation.hierarchy import ROOT
from posefield.articulation.skeleton_changes import (
    distance,
    in_between,
    joints_that_may_undo,
    more_joints,
    nearest,
    one_for_two,
    other_lines,
    other_parents,
)
from posefield.articulation.skeleton_tracks import SkeletonTracks
from support.rendered_arm import (
    arm_motion,
    arm_tree,
    with_the_second_link_in_two,
    with_the_second_link_on_the_third,
)


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


def test_other_lines_are_tried_for_the_ends_of_chains_alone():
    tree = with_the_second_link_in_two()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(arm_tree()))
    assert tracks.hierarchy.parents == (ROOT, 0, 0, 1)
    turns = other_lines(tracks)
    assert [turn.joint for turn in turns] == [2] * 3 + [3] * 3
    assert all(turn.tracks.hierarchy == tracks.hierarchy for turn in turns)
    axes = torch.stack([turn.tracks.unit_axes_J3[turn.joint] for turn in turns[3:]])
    torch.testing.assert_close(axes @ axes.T, torch.eye(3), atol=1e-5, rtol=0.0)


def test_a_joint_that_alone_hangs_on_one_without_parts_stays_there():
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    assert (2, 0) in other_parents(tracks)
    tracks.hierarchy = replace(tracks.hierarchy, joint_of_part=(ROOT, 0, 0, 0, 2))
    assert all(joint != 2 for joint, _ in other_parents(tracks))


def test_parts_that_may_turn_back_are_hung_where_their_parent_hangs():
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    assert joints_that_may_undo(tracks) == [(1, ROOT), (2, 0)]
    tracks.hierarchy = replace(tracks.hierarchy, joint_of_part=(ROOT, 0, 0, 0, 2))
    # Joint 1 would carry nothing.
    assert joints_that_may_undo(tracks) == [(1, ROOT)]


def test_parts_are_put_between_two_joints_with_nothing_between_them():
    """The second link hangs on the third, which two joints in a row carry instead."""
    tree = with_the_second_link_on_the_third()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    assert tracks.hierarchy.joint_of_part == (ROOT, 0, 3, 3, 2)
    with torch.no_grad():
        # Nothing shows how the link between them moves.
        tracks.axes_J3[1] += 0.2
    best = nearest(tracks, in_between(tracks))[0]
    assert best.hierarchy.parents == (ROOT, 0, 1)
    assert best.hierarchy.joint_of_part == (ROOT, 0, 1, 1, 2)


def test_what_is_put_between_moves_as_it_did():
    tree = with_the_second_link_on_the_third()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    best = nearest(tracks, in_between(tracks))[0]
    assert distance(tracks, best) < 1e-3
    assert not in_between(best)


def test_no_joint_is_left_with_nothing_when_parts_are_put_between():
    """Three joints in a row turn one link: two of them carry no part."""
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    tracks.hierarchy = replace(tracks.hierarchy, joint_of_part=(ROOT, 2, 2, 2, 2))
    for changed in in_between(tracks):
        carries = {*changed.hierarchy.parents, *changed.hierarchy.joint_of_part}
        assert carries >= set(range(changed.joints))


def test_changes_that_hardly_move_the_parts_come_first():
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    assert distance(tracks, tracks.turning_about(2, 4, 0)) > 0.0
    same = copy.deepcopy(tracks)
    far = tracks.without(0)
    near = tracks.without(2)
    assert distance(tracks, same) < 1e-6
    assert nearest(tracks, [far, same, near]) == [same, near, far]
