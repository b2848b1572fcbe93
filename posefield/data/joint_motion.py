"""Joints that wander: each goes to a random goal, and when it is there to the next."""

from collections.abc import Callable, Sequence
import math

import numpy as np

from posefield.data.simulated_robot import RobotJoint
from posefield.errors import DataError

# A goal is at least this share of the range away, so that every joint moves visibly.
LEAST_STEP = 0.1
# Joints speed up to their top speed in this time, and slow down in it before a goal.
RAMP_S = 0.25


def random_motion(
    joints: Sequence[RobotJoint],
    times_F: np.ndarray,
    *,
    max_joint_speed: float,
    seed: int,
) -> np.ndarray:
    """Return positions (F, J) of joints that go to random goals at full speed, each on its own.

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
        lasts, travel = _travel(abs(goal - position), speed)
        reached = int(np.searchsorted(times_F, begin + lasts))
        signed = math.copysign(1.0, goal - position)
        positions_F[done:reached] = position + signed * travel(times_F[done:reached] - begin)
        position, begin, done = goal, begin + lasts, reached
    return positions_F


def _travel(distance: float, top_speed: float) -> tuple[float, Callable[[np.ndarray], np.ndarray]]:
    """Return how long a joint takes from rest to rest, and how far it is after some time.

    It accelerates, keeps its top speed and brakes; a short way is over before top speed.
    """
    acceleration = top_speed / RAMP_S
    ramp = min(RAMP_S, math.sqrt(distance / acceleration))
    cruise = distance / (acceleration * ramp) - ramp
    lasts = cruise + 2.0 * ramp

    def travelled(times: np.ndarray) -> np.ndarray:
        speeding, braking = np.minimum(times, ramp), np.maximum(times - ramp - cruise, 0.0)
        cruising = np.clip(times - ramp, 0.0, cruise)
        slowed = ramp * braking - 0.5 * braking**2
        return acceleration * (0.5 * speeding**2 + ramp * cruising + slowed)

    return lasts, travelled
