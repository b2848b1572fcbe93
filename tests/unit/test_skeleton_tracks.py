"""Ellipsoids carried by joints, and what becomes of them when joints change."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from posefield.articulation.hierarchy import ROOT, Hierarchy
from posefield.articulation.skeleton_changes import (
    joints_beside,
)
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.structure import propose_tree
from support.moving_chains import make_chain
from support.rendered_arm import (
    AXES,
    FRAMES,
    arm_motion,
    arm_tree,
    assert_same_poses,
    with_the_second_link_in_two,
)

ALL = torch.arange(FRAMES)


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
    assert_same_poses(tracks, tree.part_poses())
    np.testing.assert_allclose(tracks.tree().part_poses(), tree.part_poses(), atol=2e-5)


def test_a_root_that_moves_carries_all():
    tree = arm_tree()
    moving = np.stack([np.eye(4)] * FRAMES)
    angles = np.linspace(0.0, 1.0, FRAMES)
    moving[:, 0, 0] = moving[:, 1, 1] = np.cos(angles)
    moving[:, 1, 0], moving[:, 0, 1] = np.sin(angles), -np.sin(angles)
    moving[:, 0, 3], moving[:, 2, 3] = angles, 0.3
    tree = replace(tree, T_scene_root_F44=moving, root_moves=True)
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    assert_same_poses(tracks, tree.part_poses())
    np.testing.assert_allclose(tracks.tree().part_poses(), tree.part_poses(), atol=2e-5)


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
    assert_same_poses(again, tree.part_poses())


def test_a_joint_that_goes_round_is_hung_without_a_jump():
    tree = arm_tree()
    turns = tree.positions_FL.copy()
    turns[:, 3] = np.linspace(-1.0, 8.0, len(turns)) ** 2 / 8.0
    tree = replace(tree, positions_FL=turns)
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    again = tracks.rehung(2, 1)
    assert_same_poses(again, tree.part_poses())
    steps = np.abs(np.diff(again.positions_FJ[:, 2].detach().numpy()))
    np.testing.assert_allclose(steps, np.abs(np.diff(turns[:, 3])), atol=1e-3)


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


def test_what_a_joint_carries_stays_in_place_at_rest_when_another_one_takes_it():
    tree = with_the_second_link_in_two()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(arm_tree()))
    assert (1, 2) in joints_beside(tracks) and (2, 1) in joints_beside(tracks)
    taken = tracks.absorbed(1, 2)
    assert taken.hierarchy == Hierarchy((ROOT, 0, 1), (False,) * 3, (ROOT, 0, 1, 1, 2))
    torch.testing.assert_close(taken.rest_centres_P3, tracks.rest_centres_P3)
    torch.testing.assert_close(taken.axes_J3, tracks.axes_J3[[0, 2, 3]])
    assert_same_poses(taken, arm_tree().part_poses())
