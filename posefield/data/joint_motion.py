"""Joints that wander: each goes to a random goal, and when it is there to the next."""

from collections.abc import Sequence
import math

import numpy as np

from posefield.data.simulated_robot import RobotJoint
from posefield.errors import DataError

# A goal is at least this share of the range away, so that every joint moves visibly.
LEAST_STEP = 0.25
# A joint chooses its top speed anew for every goal, from this share of what is allowed.
LEAST_SPEED = 0.5
# Joints speed up and slow down on a cubic; in its middle it is this much faster than on average.
PEAK_SPEED = 1.5


def random_motion(
    joints: Sequence[RobotJoint],
    times_F: np.ndarray,
    *,
    max_joint_speed: float,
    seed: int,
) -> np.ndarray:
    """Return positions (F, J) of joints that reach random goals, each at its own pace.

    A joint keeps to its limits and moves within `motion_range`.  Every joint has random numbers of
    its own, so that its motion depends on nothing but the seed and its index.

    Args:
        joints: J joints that can move.
        times_F: rising, in seconds from 0.
        max_joint_speed: rad/s; a sliding joint crosses its range in the time of half a turn.
        seed: of the motion.
    """
    if not max_joint_speed > 0:
        raise DataError(f'The max_joint_speed must be positive, found {max_joint_speed}.')
    positions_FJ = np.empty((len(times_F), len(joints)))
    for index, joint in enumerate(joints):
        lower, upper = motion_range(joint)
        speed = max_joint_speed
        if joint.kind == 'prismatic':
            speed *= (upper - lower) / math.pi
        if joint.max_speed > 0:
            speed = min(speed, joint.max_speed)
        generator = np.random.default_rng([seed, 0, index])
        positions_FJ[:, index] = _wander(times_F, lower, upper, speed, generator)
    return positions_FJ


def motion_range(joint: RobotJoint) -> tuple[float, float]:
    """Return where a joint may go: its limits, or one turn about 0 where they allow more."""
    if joint.kind != 'prismatic':
        if joint.lower == joint.upper:
            return -math.pi, math.pi
        if joint.upper - joint.lower > 2.0 * math.pi:
            middle = float(np.clip(0.0, joint.lower + math.pi, joint.upper - math.pi))
            return middle - math.pi, middle + math.pi
    return joint.lower, joint.upper


def _wander(
    times_F: np.ndarray,
    lower: float,
    upper: float,
    speed: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return the positions (F,) of one joint that starts at rest near the middle of its range."""
    span = upper - lower
    positions_F = np.empty(len(times_F))
    position, begin = lower + span * generator.uniform(0.25, 0.75), 0.0
    done = 0
    while done < len(times_F):
        goal = lower + span * generator.uniform()
        if abs(goal - position) < LEAST_STEP * span:
            continue
        top_speed = speed * generator.uniform(LEAST_SPEED, 1.0)
        end = begin + PEAK_SPEED * abs(goal - position) / top_speed
        reached = int(np.searchsorted(times_F, end))
        share = (times_F[done:reached] - begin) / (end - begin)
        positions_F[done:reached] = position + (goal - position) * share**2 * (3.0 - 2.0 * share)
        position, begin, done = goal, end, reached
    return positions_F
