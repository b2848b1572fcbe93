"""Joints that follow goals and trajectories."""

import math

import numpy as np
import pytest

from posefield.data.commanded_motion import CommandedMotion
from posefield.data.simulated_robot import RobotJoint
from posefield.errors import DataError

SPEED = 0.5


def joint(name: str, kind: str, lower: float, upper: float) -> RobotJoint:
    return RobotJoint(name, kind, 0, 1, np.array([0.0, 0, 1]), lower, upper, 0.0)


@pytest.fixture
def motion() -> CommandedMotion:
    joints = (joint('a', 'revolute', -2.0, 1.0), joint('b', 'prismatic', 0.0, 0.1 * math.pi))
    return CommandedMotion(joints, SPEED)


def test_joints_begin_in_the_middle_of_their_range(motion):
    np.testing.assert_allclose(motion.positions(0.0), [-0.5, 0.05 * math.pi])
    motion.stand_at(np.array([0.25, 0.0]))
    np.testing.assert_allclose(motion.positions(7.0), [0.25, 0.0])


def test_a_goal_is_reached_at_the_allowed_speed_by_all_joints_together(motion):
    motion.go_to(['b', 'a'], [0.04 * math.pi, 0.5], now_s=10.0)
    # Joint a has 1 rad to go: 2 s; joint b would be there sooner.
    np.testing.assert_allclose(motion.positions(11.0), [0.0, 0.045 * math.pi])
    np.testing.assert_allclose(motion.positions(12.0), [0.5, 0.04 * math.pi])
    np.testing.assert_allclose(motion.positions(99.0), [0.5, 0.04 * math.pi])


def test_a_new_goal_starts_from_where_the_joints_are_and_stops_the_others(motion):
    motion.go_to(['a', 'b'], [0.5, 0.0], now_s=0.0)
    half = motion.positions(1.0)
    motion.go_to(['a'], [-0.5], now_s=1.0)
    np.testing.assert_allclose(motion.positions(1.0), half)
    np.testing.assert_allclose(motion.positions(50.0), [-0.5, half[1]])


def test_goals_beyond_the_limits_are_cut_to_them(motion):
    motion.go_to(['a'], [50.0], now_s=0.0)
    assert motion.positions(100.0)[0] == 1.0


def test_a_trajectory_keeps_its_own_times(motion):
    motion.follow(['a'], [0.1, 0.3], [[0.0], [0.8]], now_s=5.0)
    np.testing.assert_allclose(motion.positions(5.05)[0], -0.25)
    np.testing.assert_allclose(motion.positions(5.2)[0], 0.4)
    np.testing.assert_allclose(motion.positions(6.0)[0], 0.8)
    motion.follow(['a'], [0.0, 1.0], [[-1.0], [-1.5]], now_s=6.0)
    np.testing.assert_allclose(motion.positions(6.0)[0], -1.0)


@pytest.mark.parametrize(
    ('names', 'positions', 'message'),
    [
        (['hip'], [0.0], "'hip' among a, b"),
        (['a', 'b'], [0.0], '2 joints must have as many positions, found 1'),
        (['a'], [math.nan], 'finite'),
    ],
)
def test_wrong_commands_are_refused_and_change_nothing(motion, names, positions, message):
    with pytest.raises(DataError, match=message):
        motion.go_to(names, positions, now_s=0.0)
    with pytest.raises(DataError, match=message):
        motion.follow(names, [1.0], [positions], now_s=0.0)
    np.testing.assert_allclose(motion.positions(9.0), [-0.5, 0.05 * math.pi])


@pytest.mark.parametrize('times', [[], [1.0, 1.0], [-1.0], [math.nan]])
def test_times_of_a_trajectory_must_rise(motion, times):
    with pytest.raises(DataError, match='rise'):
        motion.follow(['a'], times, [[0.0]] * len(times), now_s=0.0)
