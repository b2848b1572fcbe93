"""Random motion of joints, and where cameras stand around it."""

import math

import numpy as np
import pytest

from posefield.data.camera_hemisphere import (
    FILLED,
    cameras_around,
    hemisphere_directions,
    square_camera,
)
from posefield.data.joint_motion import LEAST_STEP, motion_range, random_motion
from posefield.data.simulated_robot import RobotJoint
from posefield.errors import DataError
from posefield.geometry.poses import invert


def joint(kind='revolute', lower=-2.0, upper=1.0, max_speed=0.0) -> RobotJoint:
    return RobotJoint('j', kind, 0, 1, np.array([0.0, 0, 1]), lower, upper, max_speed)


JOINTS = (
    joint(),
    joint('continuous', 0.0, 0.0),
    joint('revolute', -20.0, 30.0),
    joint('prismatic', 0.0, 0.04),
    joint(max_speed=0.2),
)
TIMES = np.arange(400) / 10.0


@pytest.mark.parametrize('seed', range(3))
def test_joints_keep_to_their_limits_and_speeds(seed):
    positions = random_motion(JOINTS, TIMES, max_joint_speed=0.8, seed=seed)
    assert positions.shape == (400, 5)
    speeds = np.abs(np.diff(positions, axis=0)).max(axis=0) * 10.0
    for index, (lower, upper, speed) in enumerate(
        (
            (-2.0, 1.0, 0.8),
            (-math.pi, math.pi, 0.8),
            (-math.pi, math.pi, 0.8),
            (0.0, 0.04, 0.8 * 0.04 / math.pi),
            (-2.0, 1.0, 0.2),
        )
    ):
        assert lower <= positions[:, index].min() and positions[:, index].max() <= upper
        assert 0.5 * speed < speeds[index] <= speed * (1 + 1e-9)


def test_goals_are_reached_at_rest_and_renewed():
    positions = random_motion([joint()], np.arange(40000) / 1000.0, max_joint_speed=1.0, seed=1)
    speeds = np.diff(positions[:, 0]) * 1000.0
    turns = np.flatnonzero(speeds[:-1] * speeds[1:] < 0) + 1
    assert len(turns) >= 5
    assert np.abs(speeds[turns]).max() < 0.02
    assert np.abs(np.diff(positions[turns, 0])).min() >= LEAST_STEP * 3.0 - 1e-3
    assert abs(speeds[0]) < 0.02


def test_every_joint_moves_in_a_short_film_at_the_default_pace():
    """60 frames at 15 Hz and 1 rad/s, with the limits of the arms that come with PyBullet."""
    arm = [joint('revolute', -limit, limit) for limit in (2.97, 2.09, 3.05, 6.28)]
    for seed in range(20):
        positions = random_motion(arm, np.arange(60) / 15.0, max_joint_speed=1.0, seed=seed)
        assert np.ptp(positions, axis=0).min() > math.radians(20.0)


def test_the_motion_depends_on_the_seed_alone():
    first = random_motion(JOINTS, TIMES, max_joint_speed=1.0, seed=4)
    np.testing.assert_array_equal(first, random_motion(JOINTS, TIMES, max_joint_speed=1.0, seed=4))
    np.testing.assert_array_equal(
        first[:100, :2], random_motion(JOINTS[:2], TIMES[:100], max_joint_speed=1.0, seed=4)
    )
    other = random_motion(JOINTS, TIMES, max_joint_speed=1.0, seed=5)
    assert np.abs(other - first).max() > 0.5


def test_a_turn_within_the_limits_is_used():
    assert motion_range(joint('revolute', 0.0, 0.0)) == (-math.pi, math.pi)
    lower, upper = motion_range(joint('revolute', 1.0, 20.0))
    assert lower == pytest.approx(1.0) and upper == pytest.approx(1.0 + 2.0 * math.pi)
    assert motion_range(joint('prismatic', -9.0, 9.0)) == (-9.0, 9.0)


def test_a_speed_of_nothing_is_refused():
    for speed in (0.0, -1.0, math.nan):
        with pytest.raises(DataError, match='max_joint_speed'):
            random_motion(JOINTS, TIMES, max_joint_speed=speed, seed=0)


@pytest.mark.parametrize(('views', 'held_out'), [(2, 0), (5, 2), (20, 3), (3, 6)])
def test_cameras_spread_over_the_hemisphere(views, held_out):
    directions = hemisphere_directions(views, held_out, seed=3)
    assert directions.shape == (views + held_out, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)
    assert directions[:, 2].min() > 0.1 and directions[:, 2].max() < 0.9
    apart = np.degrees(np.arccos(np.clip(directions @ directions.T, -1, 1)))
    nearest = (apart + 360.0 * np.eye(len(apart))).min()
    assert nearest > 0.4 * math.degrees(math.sqrt(2.0 * math.pi / (views + held_out)))
    assert np.abs(directions - hemisphere_directions(views, held_out, seed=4)).max() > 0.01


def test_cameras_come_as_near_as_all_points_are_seen():
    generator = np.random.default_rng(0)
    centre = np.array([0.3, -1.0, 2.0])
    sweep = [centre + generator.normal(size=(50, 3)) for _ in range(4)]
    camera = square_camera(64)
    rig = cameras_around(hemisphere_directions(4, 1), 1, camera, centre, sweep)
    assert [view.held_out for view in rig] == [False] * 4 + [True]
    assert len({view.name for view in rig}) == 5
    reach = 0.0
    for view in rig:
        T_cam_world = invert(view.T_world_cam)
        assert view.T_world_cam[2, 1] < 0.0
        points = np.concatenate(sweep) @ T_cam_world[:3, :3].T + T_cam_world[:3, 3]
        pixels, visible = camera.project(points)
        assert visible.all()
        reach = max(reach, np.abs(pixels - 31.5).max())
    assert reach == pytest.approx(FILLED * 32)
