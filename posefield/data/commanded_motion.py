"""A robot's joints that go where they are told, no faster than allowed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posefield.data.joint_motion import motion_range
from posefield.data.simulated_robot import RobotJoint
from posefield.errors import DataError


@dataclass(frozen=True)
class _Way:
    """Positions (K, J) at rising times (K,), between which joints go straight."""

    times_K: np.ndarray
    positions_KJ: np.ndarray

    def at(self, now_s: float) -> np.ndarray:
        """Return the positions (J,) at a time; before and after the way, its ends."""
        return np.array([np.interp(now_s, self.times_K, column) for column in self.positions_KJ.T])


class CommandedMotion:
    """Where joints are that follow goals and trajectories; times are seconds of any clock.

    Args:
        joints: J joints that can move; they begin in the middle of their range.
        max_joint_speed: rad/s; a sliding joint crosses its range in the time of half a turn.
    """

    def __init__(self, joints: Sequence[RobotJoint], max_joint_speed: float):
        self._names = [joint.name for joint in joints]
        ranges = np.array([motion_range(joint) for joint in joints]).reshape(-1, 2)
        self._lower_J, self._upper_J = ranges.T
        slides = np.array([joint.kind == 'prismatic' for joint in joints], dtype=bool)
        self._speeds_J = np.where(
            slides, max_joint_speed * (self._upper_J - self._lower_J) / np.pi, max_joint_speed
        )
        middle = (self._lower_J + self._upper_J) / 2.0
        self._way = _Way(np.zeros(1), middle[None])

    def positions(self, now_s: float) -> np.ndarray:
        """Return the positions (J,) at a time."""
        return self._way.at(now_s)

    def stand_at(self, positions_J: np.ndarray) -> None:
        """Be at positions (J,) at once, and stay."""
        self._way = _Way(np.zeros(1), np.asarray(positions_J, dtype=np.float64)[None])

    def go_to(self, names: Sequence[str], positions: Sequence[float], now_s: float) -> None:
        """Go from here to positions, all joints arriving together; others stop where they are.

        Positions beyond a joint's range are cut to it.

        Raises:
            DataError: for unknown joints, another number of positions than names, or a NaN.
        """
        start = self.positions(now_s)
        goal = start.copy()
        columns = self._columns(names)
        goal[columns] = self._checked(names, positions)
        goal = np.clip(goal, self._lower_J, self._upper_J)
        lasts = float((np.abs(goal - start) / self._speeds_J).max(initial=0.0))
        self._way = _Way(np.array([now_s, now_s + max(lasts, 1e-6)]), np.stack([start, goal]))

    def follow(
        self,
        names: Sequence[str],
        times_K: Sequence[float],
        positions_KN: Sequence[Sequence[float]],
        now_s: float,
    ) -> None:
        """Go through points at given times, as the trajectory says, however fast that is.

        Args:
            names: of the N joints that move; others stop where they are.
            times_K: seconds after `now_s`, rising, not negative.
            positions_KN: cut to the joints' ranges.
            now_s: the time that it begins.

        Raises:
            DataError: for unknown joints, no points, times that do not rise, or a NaN.
        """
        times = np.asarray(times_K, dtype=np.float64)
        rises = len(times) > 0 and times[0] >= 0.0 and bool((np.diff(times) > 0).all())
        if not rises or not np.isfinite(times).all():
            raise DataError(
                'The times of a trajectory must rise from 0 or later, found '
                f'{times.tolist() or "no point"}.'
            )
        start = self.positions(now_s)
        ways = np.tile(start, (len(times), 1))
        columns = self._columns(names)
        for row, positions in zip(ways, positions_KN, strict=True):
            row[columns] = self._checked(names, positions)
        ways = np.clip(ways, self._lower_J, self._upper_J)
        if times[0] > 0.0:
            times, ways = np.append(0.0, times), np.concatenate([start[None], ways])
        self._way = _Way(now_s + times, ways)

    def _columns(self, names: Sequence[str]) -> list[int]:
        unknown = [name for name in names if name not in self._names]
        if unknown:
            raise DataError(
                f'There is no movable joint {unknown[0]!r} among {", ".join(self._names)}.'
            )
        return [self._names.index(name) for name in names]

    @staticmethod
    def _checked(names: Sequence[str], positions: Sequence[float]) -> np.ndarray:
        values = np.asarray(positions, dtype=np.float64)
        if values.shape != (len(names),):
            raise DataError(
                f'A command for {len(names)} joints must have as many positions, found '
                f'{values.size}.'
            )
        if not np.isfinite(values).all():
            raise DataError(f'The positions of a command must be finite, found {values.tolist()}.')
        return values
