"""Links and joints found from the motions of parts."""

import numpy as np
import pytest

from posefield.articulation.structure import Structure, find_structure
from support.moving_chains import Chain, make_chain

LONG, BLOCK = (0.06, 0.09, 0.2), (0.08, 0.11, 0.16)
ARM = [
    ('revolute', 'base', 'upper', (0.0, 0.0, 0.2), (0, 0, 1)),
    ('revolute', 'upper', 'lower', (0.4, 0.0, 0.1), (0, 1, 0)),
    ('revolute', 'lower', 'hand', (0.4, 0.0, 0.0), (0, 1, 0.3)),
]
ARM_PARTS = [
    ('base', (0.0, 0.0, 0.0), BLOCK),
    ('upper', (0.2, 0.0, 0.05), LONG),
    ('lower', (0.1, 0.0, 0.0), BLOCK),
    ('lower', (0.3, 0.02, 0.0), BLOCK),
    ('hand', (0.15, 0.0, 0.0), LONG),
]


def _groups(structure: Structure) -> set[tuple[int, ...]]:
    return {link.parts for link in structure.skeleton.links if link.parts}


def _errors(structure: Structure, chain: Chain, name: str) -> tuple[float, float]:
    """Return distance to the true axis and angle (deg) of the best found joint, mean."""
    points, directions = chain.axis(name)
    T = structure.skeleton.forward(structure.positions_FD, structure.T_scene_root_F44)
    best = (np.inf, np.inf)
    for found in structure.skeleton.movable:
        joint = structure.skeleton.joint(found)
        T_child = T[:, structure.skeleton.link_index(joint.child)]
        away = T_child[:, :3, 3] - points
        across = away - (away * directions).sum(-1, keepdims=True) * directions
        cosines = np.abs(((T_child[:, :3, :3] @ joint.axis_3) * directions).sum(-1))
        angle = np.degrees(np.arccos(np.clip(cosines, 0, 1))).mean()
        distance = np.linalg.norm(across, axis=-1).mean()
        if distance + angle / 60 < best[0] + best[1] / 60:
            best = (distance, angle)
    return best


@pytest.mark.parametrize(('noise', 'distance', 'angle'), [(0.0, 1e-4, 0.01)])
def test_an_arm_is_recovered(noise, distance, angle):
    chain = make_chain(ARM, ARM_PARTS, noise=noise)
    structure = find_structure(chain.motion)
    assert _groups(structure) == {(0,), (1,), (2, 3), (4,)}
    skeleton = structure.skeleton
    assert skeleton.links[skeleton.link_index(skeleton.root)].parts == (0,)
    assert [skeleton.joint(name).kind for name in skeleton.movable] == ['revolute'] * 3
    for joint in chain.skeleton.joints:
        found_distance, found_angle = _errors(structure, chain, joint.name)
        assert found_distance < distance
        assert found_angle < angle


def test_the_skeleton_moves_the_parts_as_seen():
    chain = make_chain(ARM, ARM_PARTS)
    structure = find_structure(chain.motion)
    poses = structure.part_poses(structure.positions_FD, structure.T_scene_root_F44)
    np.testing.assert_allclose(poses, chain.motion.T_scene_part_FP44, atol=1e-5)
    np.testing.assert_allclose(structure.positions_FD[0], 0.0, atol=1e-9)


def test_one_part_is_a_skeleton_without_joints():
    chain = make_chain([], [('base', (0.0, 0.0, 0.0), BLOCK)])
    structure = find_structure(chain.motion)
    assert structure.skeleton.movable == ()
    assert structure.skeleton.links[0].parts == (0,)
    poses = structure.part_poses({}, structure.T_scene_root_F44[0])
    np.testing.assert_allclose(poses, chain.motion.T_scene_part_FP44[0], atol=1e-9)


def test_parts_that_never_move_are_one_link():
    chain = make_chain(ARM, ARM_PARTS, amplitude=0.0, noise=0.003)
    assert _groups(find_structure(chain.motion)) == {(0, 1, 2, 3, 4)}
