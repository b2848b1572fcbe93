"""Angles of a joint that are found by trying all: far from where gradients would find them."""

import itertools
import math

import numpy as np
import pytest
import torch

from posefield.articulation.joint_scanning import scanned, steadiest
from posefield.articulation.skeleton_stage import SkeletonLossConfig
from posefield.articulation.skeleton_tracks import SkeletonTracks
from support.rendered_arm import arm_motion, arm_pictures, arm_tree

FEW = SkeletonLossConfig(counts=(32, 32, 48, 16))


def path_cost(costs_FK, angles_K, path, unsteadiness):
    turns = np.abs(np.diff(angles_K[list(path)]))
    turns = np.minimum(turns, 2 * math.pi - turns)
    return costs_FK[range(len(path)), path].sum() + unsteadiness * (turns**2).sum()


@pytest.mark.parametrize('seed', range(5))
def test_the_steadiest_path_is_the_best_of_all_paths(seed):
    frames, angles_K = 5, np.arange(6) * math.pi / 3 - math.pi
    costs_FK = np.random.default_rng(seed).uniform(size=(frames, 6))
    found = path_cost(costs_FK, angles_K, steadiest(costs_FK, angles_K, 0.2), 0.2)
    paths = itertools.product(range(6), repeat=frames)
    assert found == pytest.approx(min(path_cost(costs_FK, angles_K, p, 0.2) for p in paths))


def test_a_turn_over_the_seam_is_a_short_one():
    angles_K = np.arange(8) * math.pi / 4 - math.pi
    costs_FK = np.ones((2, 8))
    costs_FK[0, 0] = costs_FK[1, 7] = costs_FK[1, 3] = 0.0
    assert steadiest(costs_FK, angles_K, 0.1).tolist() == [0, 7]


@pytest.mark.parametrize('joint', [0, 1])
def test_lost_angles_of_a_joint_are_found_in_the_images(joint):
    tree = arm_tree()
    tracks = SkeletonTracks.from_tree(tree, arm_motion(tree))
    true_F = tracks.positions_FJ[:, joint].detach().clone()
    with torch.no_grad():
        tracks.positions_FJ[:, joint] = 0.0
    found_F = scanned(tracks, joint, arm_pictures(tree), FEW).positions_FJ[:, joint].detach()
    gaps = torch.remainder(found_F - true_F + math.pi, 2 * math.pi) - math.pi
    assert gaps.abs().median() < 2 * math.pi / 20
    assert (tracks.positions_FJ[:, joint] == 0.0).all()
