"""Links and joints found from the motions of parts."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posefield.articulation.structure import Structure, StructureConfig, find_structure
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.errors import ArticulationError
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


@pytest.mark.parametrize(('noise', 'distance', 'angle'), [(0.0, 1e-4, 0.01), (0.001, 0.01, 2.0)])
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


def test_a_sliding_joint_is_prismatic():
    chain = make_chain(
        [
            ('prismatic', 'base', 'slide', (0.0, 0.0, 0.2), (1, 0, 1)),
            ('revolute', 'slide', 'hand', (0.3, 0.0, 0.0), (0, 1, 0)),
        ],
        [
            ('base', (0.0, 0.0, 0.0), BLOCK),
            ('slide', (0.1, 0.0, 0.0), LONG),
            ('hand', (0.2, 0.0, 0.0), LONG),
        ],
        noise=0.002,
    )
    structure = find_structure(chain.motion)
    kinds = {structure.skeleton.joint(name).kind for name in structure.skeleton.movable}
    assert kinds == {'prismatic', 'revolute'}
    sliding = next(joint for joint in structure.skeleton.joints if joint.kind == 'prismatic')
    cosine = abs(sliding.axis_3 @ np.array([1.0, 0.0, 1.0]) / np.sqrt(2.0))
    assert np.degrees(np.arccos(min(cosine, 1.0))) < 2.0
    travel = np.ptp(chain.positions_FD[:, 0])
    assert sliding.upper - sliding.lower == pytest.approx(travel, rel=0.05)


def test_a_ball_joint_is_three_revolute_joints_in_series():
    chain = make_chain(
        [
            ('revolute', 'base', 'yaw', (0.0, 0.0, 0.2), (0, 0, 1)),
            ('revolute', 'yaw', 'pitch', (0.0, 0.0, 0.0), (0, 1, 0)),
            ('revolute', 'pitch', 'arm', (0.0, 0.0, 0.0), (1, 0, 0)),
        ],
        [('base', (0.0, 0.0, 0.0), (0.1, 0.2, 0.3)), ('arm', (0.2, 0.0, 0.0), (0.08, 0.2, 0.4))],
        noise=0.001,
        amplitude=0.5,
    )
    structure = find_structure(chain.motion)
    skeleton = structure.skeleton
    assert [skeleton.joint(name).kind for name in skeleton.movable] == ['revolute'] * 3
    assert sorted(link.parts for link in skeleton.links) == [(), (), (0,), (1,)]
    T = skeleton.forward(structure.positions_FD, structure.T_scene_root_F44)
    for joint in skeleton.joints:
        centre = T[:, skeleton.link_index(joint.child), :3, 3]
        away = np.linalg.norm(centre - [0.0, 0.0, 0.2], axis=-1)
        assert away.mean() < 0.02


def test_limits_are_those_of_the_motion():
    chain = make_chain(ARM, ARM_PARTS, noise=0.002)
    structure = find_structure(chain.motion)
    travels = sorted(joint.upper - joint.lower for joint in structure.skeleton.joints)
    np.testing.assert_allclose(travels, sorted(np.ptp(chain.positions_FD, axis=0)), rtol=0.06)
    for column, name in enumerate(structure.skeleton.movable):
        joint = structure.skeleton.joint(name)
        assert joint.lower <= 0.0 <= joint.upper
        assert structure.positions_FD[:, column].min() >= joint.lower - 1e-9


def test_more_than_a_turn_is_continuous():
    chain = make_chain(ARM[:1], ARM_PARTS[:2], amplitude=4.0)
    assert np.ptp(chain.positions_FD) > 2.0 * np.pi
    (joint,) = find_structure(chain.motion).skeleton.joints
    assert joint.kind == 'continuous'
    assert joint.upper - joint.lower == pytest.approx(np.ptp(chain.positions_FD), rel=1e-3)


def test_a_free_spin_is_not_taken_for_the_motion_of_a_joint():
    """A body of revolution that spins as it likes keeps the joints on both its sides."""
    parts = [*ARM_PARTS[:1], ('upper', (0.2, 0.0, 0.05), (0.07, 0.0705, 0.2)), *ARM_PARTS[2:]]
    chain = make_chain(ARM, parts, noise=0.002)
    T = chain.motion.T_scene_part_FP44.copy()
    spin = np.cumsum(np.random.default_rng(7).normal(size=60) * 0.02)
    zeros = np.zeros_like(spin)
    turn = np.stack([zeros, zeros, spin], axis=-1)
    T[:, 1, :3, :3] = T[:, 1, :3, :3] @ Rotation.from_rotvec(turn).as_matrix()
    structure = find_structure(replace(chain.motion, T_scene_part_FP44=T))
    for joint in chain.skeleton.joints:
        distance, angle = _errors(structure, chain, joint.name)
        assert distance < 0.02
        assert angle < 5.0


def test_frames_far_off_do_not_matter():
    chain = make_chain(ARM, ARM_PARTS, noise=0.002)
    T = chain.motion.T_scene_part_FP44.copy()
    generator = np.random.default_rng(3)
    for part in range(1, len(ARM_PARTS)):
        frames = generator.choice(np.arange(1, 60), 3, replace=False)
        T[frames, part, :3, 3] += generator.normal(size=(3, 3)) * 0.2
    structure = find_structure(replace(chain.motion, T_scene_part_FP44=T))
    assert _groups(structure) == {(0,), (1,), (2, 3), (4,)}
    for joint in chain.skeleton.joints:
        distance, angle = _errors(structure, chain, joint.name)
        assert distance < 0.015
        assert angle < 5.0


def test_many_frames_are_searched_in_part_and_fitted_in_full():
    chain = make_chain(ARM, ARM_PARTS, frames=90)
    structure = find_structure(chain.motion, StructureConfig(max_search_frames=30))
    assert structure.positions_FD.shape == (90, 3)
    poses = structure.part_poses(structure.positions_FD, structure.T_scene_root_F44)
    np.testing.assert_allclose(poses, chain.motion.T_scene_part_FP44, atol=1e-4)


def test_the_root_can_be_chosen():
    chain = make_chain(ARM, ARM_PARTS)
    structure = find_structure(chain.motion, StructureConfig(root_part=4))
    skeleton = structure.skeleton
    assert 4 in skeleton.links[skeleton.link_index(skeleton.root)].parts
    poses = structure.part_poses(structure.positions_FD, structure.T_scene_root_F44)
    np.testing.assert_allclose(poses, chain.motion.T_scene_part_FP44, atol=1e-4)


def test_the_world_has_the_same_motion_in_its_units():
    chain = make_chain(ARM, ARM_PARTS)
    normalisation = SceneNormalisation(np.array([0.5, -1.0, 2.0]), 0.4)
    structure = find_structure(chain.motion)
    world = structure.to_world(normalisation)
    poses = world.part_poses(world.positions_FD, world.T_scene_root_F44)
    expected = normalisation.pose_to_world(
        structure.part_poses(structure.positions_FD, structure.T_scene_root_F44)
    )
    np.testing.assert_allclose(poses, expected, atol=1e-9)


def test_the_report_names_levels_and_joints():
    chain = make_chain(ARM, ARM_PARTS, noise=0.003)
    structure = find_structure(chain.motion)
    report = structure.report
    assert 0.0005 < report.noise < 0.01
    assert [level.bodies for level in report.levels] == list(range(5, 5 - len(report.levels), -1))
    assert report.levels[0].members in {((2,), (3,)), ((3,), (2,))}
    assert [joint.name for joint in report.joints] == list(structure.skeleton.movable)
    for joint in report.joints:
        assert joint.evidence > 12.0
        assert 0.0 < joint.fixed_point_residual < 0.02
        assert joint.fixed_point_residual < joint.candidate_residual


def test_motion_below_the_least_noise_is_no_joint():
    """The hand moves its end by about a tenth of its length."""
    chain = make_chain(ARM, ARM_PARTS, amplitude=0.05)
    assert len(find_structure(chain.motion).skeleton.movable) == 3
    blurred = find_structure(chain.motion, StructureConfig(least_noise=0.1))
    assert not blurred.skeleton.movable
    with pytest.raises(ArticulationError, match='least_noise must be positive'):
        StructureConfig(least_noise=0.0)


@pytest.mark.parametrize(
    ('change', 'config', 'message'),
    [
        ({'frames': slice(0, 2)}, StructureConfig(), 'found 5 in 2'),
        ({'nan': True}, StructureConfig(), 'must be finite'),
        ({}, StructureConfig(root_part=5), 'must be one of the 5 parts, found 5'),
    ],
)
def test_what_cannot_be_searched_is_refused(change, config, message):
    motion = make_chain(ARM, ARM_PARTS, frames=5).motion
    if 'frames' in change:
        some = change['frames']
        motion = replace(
            motion,
            T_scene_part_FP44=motion.T_scene_part_FP44[some],
            frames_F=motion.frames_F[some],
        )
    if 'nan' in change:
        motion.T_scene_part_FP44[2, 1, 0, 3] = np.nan
    with pytest.raises(ArticulationError, match=message):
        find_structure(motion, config)


def test_too_few_search_frames_are_refused():
    with pytest.raises(ArticulationError, match='at least 3, found 2'):
        StructureConfig(max_search_frames=2)
