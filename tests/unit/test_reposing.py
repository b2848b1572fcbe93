"""Turns about joints, and joint positions from part poses."""

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posefield.articulation.reposing import (
    nearest_positions,
    turn_about_joints,
    turned_part_poses,
)
from posefield.articulation.rigid_bodies import rotation_lengths
from posefield.articulation.structure import Structure, StructureReport
from posefield.errors import ArticulationError
from support.moving_chains import Chain, make_chain

BLOCK = (0.08, 0.11, 0.16)
JOINTS = [
    ('revolute', 'base', 'upper', (0.0, 0.0, 0.2), (0, 0, 1)),
    ('revolute', 'upper', 'lower', (0.4, 0.0, 0.1), (0, 1, 0)),
    ('prismatic', 'lower', 'hand', (0.4, 0.0, 0.0), (1, 0, 0)),
    ('revolute', 'base', 'tail', (-0.2, 0.0, 0.0), (1, 1, 0)),
]
PARTS = [(link, (0.1, 0.02, 0.0), BLOCK) for link in ('base', 'upper', 'lower', 'hand', 'tail')]


def _true_structure(chain: Chain) -> Structure:
    T_link = chain.T_scene_link_FL44[0]
    links = [chain.skeleton.link_index(name) for name, _, _ in PARTS]
    T_link_part = np.linalg.inv(T_link[links]) @ chain.motion.T_scene_part_FP44[0]
    roots = np.repeat(np.eye(4)[None], len(chain.positions_FD), axis=0)
    report = StructureReport(0.0, (), ())
    return Structure(chain.skeleton, T_link_part, chain.positions_FD, roots, report)


def test_no_turn_changes_nothing():
    chain = make_chain(JOINTS, PARTS)
    T = chain.T_scene_link_FL44[3]
    turned = turn_about_joints(chain.skeleton, T, {'to_upper': np.zeros(3)})
    np.testing.assert_allclose(turned, T, atol=1e-12)


def test_a_turn_carries_what_is_below_and_keeps_the_centre():
    chain = make_chain(JOINTS, PARTS)
    skeleton, T = chain.skeleton, chain.T_scene_link_FL44[3]
    turn = np.array([0.3, -0.5, 0.8])
    turned = turn_about_joints(skeleton, T, {'to_lower': turn})
    for name in ('base', 'upper', 'tail'):
        index = skeleton.link_index(name)
        np.testing.assert_array_equal(turned[index], T[index])
    lower, hand = skeleton.link_index('lower'), skeleton.link_index('hand')
    np.testing.assert_allclose(turned[lower, :3, 3], T[lower, :3, 3])
    R = Rotation.from_rotvec(turn).as_matrix()
    arm = T[hand, :3, 3] - T[lower, :3, 3]
    np.testing.assert_allclose(turned[hand, :3, 3] - turned[lower, :3, 3], R @ arm)
    np.testing.assert_allclose(turned[hand, :3, :3], R @ T[hand, :3, :3])


def test_the_order_of_turns_does_not_matter():
    chain = make_chain(JOINTS, PARTS)
    generator = np.random.default_rng(0)
    turns = {joint.name: generator.normal(size=3) for joint in chain.skeleton.joints}
    T = chain.T_scene_link_FL44[5]
    results = [
        turn_about_joints(chain.skeleton, T, dict(order))
        for order in itertools.permutations(turns.items())
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    # The joints still hold: every joint's origin is where its parent carries it.
    for joint in chain.skeleton.joints:
        parent = results[0][chain.skeleton.link_index(joint.parent)]
        child = results[0][chain.skeleton.link_index(joint.child)]
        if joint.kind == 'revolute':
            np.testing.assert_allclose((parent @ joint.T_parent_joint)[:3, 3], child[:3, 3])


def test_a_turn_about_the_axis_is_the_joint_position():
    chain = make_chain(JOINTS, PARTS)
    structure = _true_structure(chain)
    positions = chain.positions_FD[2].copy()
    T = chain.skeleton.forward(positions)
    lower = chain.skeleton.link_index('lower')
    axis = T[lower, :3, :3] @ chain.skeleton.joint('to_lower').axis_3
    turned = turned_part_poses(structure, T, {'to_lower': 0.4 * axis})
    positions[chain.skeleton.movable.index('to_lower')] += 0.4
    np.testing.assert_allclose(turned, structure.part_poses(positions, np.eye(4)), atol=1e-12)


def test_positions_are_found_from_part_poses():
    chain = make_chain(JOINTS, PARTS)
    structure = _true_structure(chain)
    asked = chain.positions_FD[:7] + np.random.default_rng(1).normal(size=(7, 4)) * 0.2
    poses = structure.part_poses(asked, np.eye(4))
    lengths = rotation_lengths(chain.motion.radii_P3)
    positions, roots = nearest_positions(structure, poses, lengths)
    np.testing.assert_allclose(structure.part_poses(positions, roots), poses, atol=1e-6)
    np.testing.assert_allclose(positions, asked, atol=1e-6)


def test_a_root_that_moves_is_found_as_well():
    chain = make_chain(JOINTS, PARTS)
    structure = _true_structure(chain)
    turns = Rotation.from_rotvec(np.linspace(0.0, 0.9, 60)[:, None] * [0.0, 0.6, 0.8])
    structure.T_scene_root_F44[:, :3, :3] = turns.as_matrix()
    structure.T_scene_root_F44[:, 0, 3] = np.linspace(0.0, 0.5, 60)
    T_root = structure.T_scene_root_F44[30].copy()
    T_root[:3, 3] += [0.02, -0.03, 0.05]
    poses = structure.part_poses(chain.positions_FD[4:5], T_root[None])
    positions, roots = nearest_positions(structure, poses, rotation_lengths(chain.motion.radii_P3))
    np.testing.assert_allclose(structure.part_poses(positions, roots), poses, atol=1e-6)


@pytest.mark.parametrize(
    ('turns', 'message'),
    [
        ({'elbow': np.zeros(3)}, "no joint named 'elbow'"),
        ({'to_hand': np.zeros(2)}, 'must be 3 finite numbers'),
        ({'to_hand': np.array([0.0, np.nan, 0.0])}, 'must be 3 finite numbers'),
    ],
)
def test_wrong_turns_are_refused(turns, message):
    chain = make_chain(JOINTS, PARTS)
    with pytest.raises(ArticulationError, match=message):
        turn_about_joints(chain.skeleton, chain.T_scene_link_FL44[0], turns)


def test_wrong_part_poses_are_refused():
    chain = make_chain(JOINTS, PARTS)
    structure = _true_structure(chain)
    lengths = rotation_lengths(chain.motion.radii_P3)
    with pytest.raises(ArticulationError, match='must have shape'):
        nearest_positions(structure, np.zeros((2, 3, 4, 4)), lengths)
    with pytest.raises(ArticulationError, match='finite'):
        nearest_positions(structure, np.full((2, 5, 4, 4), np.nan), lengths)
