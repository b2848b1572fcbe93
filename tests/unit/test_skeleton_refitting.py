"""Other joints are fitted to where parts were."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from posefield.articulation.hierarchy import ROOT
from posefield.articulation.skeleton_changes import distance
from posefield.articulation.skeleton_refitting import freezing, refitted
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.tree_fitting import Tree
from support.rendered_arm import (
    FRAMES,
    arm_motion,
    arm_tree,
    assert_same_poses,
    axis_errors_deg,
    with_a_turn_shared,
    with_axes_turned,
)


def tracks_of(tree: Tree) -> SkeletonTracks:
    return SkeletonTracks.from_tree(tree, arm_motion(arm_tree()))


@pytest.mark.parametrize('joint', [1, 2])
def test_the_joints_that_are_left_take_over_what_a_frozen_one_did(joint):
    before = tracks_of(with_a_turn_shared())
    frozen = before.without(joint)
    assert distance(before, frozen) > 0.03
    found = refitted(frozen, before)
    assert found.hierarchy.parents == (ROOT, 0, 1)
    assert_same_poses(found, arm_tree().part_poses())


def test_what_no_other_joint_can_take_over_is_left_as_it_is():
    before = tracks_of(arm_tree())
    frozen = before.without(2)
    assert refitted(frozen, before) is frozen


def test_of_two_joints_that_share_a_turn_either_is_told_to_be_likely():
    tree = with_a_turn_shared()
    # Large turns that undo each other in part: frozen alone, either moves parts far away.
    tree.positions_FL[:, 2] *= 10.0
    tree.positions_FL[:, 3] -= 0.9 * tree.positions_FL[:, 2]
    tracks = tracks_of(tree)
    at_once = [distance(tracks, tracks.without(joint)) for joint in range(4)]
    assert set(np.argsort(at_once)[-2:]) == {1, 2}
    order, left = freezing(tracks)
    assert sorted(order) == [0, 1, 2, 3]
    assert order[0] not in (1, 2) and order[1] in (1, 2)
    assert left[[1, 2]].max() < 0.01


def test_others_take_over_little_where_each_joint_has_a_turn_of_its_own():
    order, left = freezing(tracks_of(arm_tree()))
    assert sorted(order) == [0, 1, 2]
    assert left.min() > 0.01 and left.max() <= 1.0


def test_joints_find_their_lines_again():
    before = tracks_of(arm_tree())
    turned = with_axes_turned(arm_tree(), np.radians(10.0), np.random.default_rng(3))
    found = refitted(tracks_of(turned), before)
    assert axis_errors_deg(found.tree()).max() < 1.0
    assert distance(before, found) < 0.01


def test_a_root_that_moves_and_all_colours_stay_as_they_were():
    moving = np.tile(np.eye(4), (FRAMES, 1, 1))
    moving[:, :3, 3] = np.linspace(0.0, 1.0, FRAMES)[:, None]
    tree = replace(with_a_turn_shared(), T_scene_root_F44=moving, root_moves=True)
    before = tracks_of(tree)
    with torch.no_grad():
        before.textures_P33 += 0.1
        before.log_radii_P3 += 0.2
    found = refitted(before.without(1), before)
    assert_same_poses(found, tree.part_poses())
    for name in ('textures_P33', 'log_radii_P3', 'first_log_radii_P3', 'means_P3', 'light_3'):
        torch.testing.assert_close(getattr(found, name), getattr(before, name))
