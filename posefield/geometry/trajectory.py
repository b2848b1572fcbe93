"""Poses over time, interpolated between their stamps."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from posefield.errors import DataError

# Between poses further away than this, nothing is assumed about the motion.
MAX_GAP_S = 0.05


@dataclass(frozen=True)
class Trajectory:
    """Poses over time.

    Attributes:
        stamps_N: seconds, strictly increasing, float64.
        poses_N44: rigid transforms, such as T_map_cam.
    """

    stamps_N: np.ndarray
    poses_N44: np.ndarray

    def __post_init__(self):
        if self.poses_N44.shape != (len(self.stamps_N), 4, 4):
            raise DataError(
                f'A trajectory needs one 4x4 pose per stamp, found {len(self.stamps_N)} stamps '
                f'and poses of shape {self.poses_N44.shape}.'
            )
        if (np.diff(self.stamps_N) <= 0).any():
            raise DataError('The stamps of a trajectory must increase strictly.')

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[float, np.ndarray]]) -> 'Trajectory':
        """Return the trajectory of (stamp, pose) pairs, sorted; the last of equal stamps wins."""
        by_stamp = dict(pairs)
        stamps = sorted(by_stamp)
        poses = [by_stamp[stamp] for stamp in stamps]
        return cls(np.array(stamps, dtype=np.float64), np.array(poses).reshape(-1, 4, 4))

    def __len__(self) -> int:
        return len(self.stamps_N)

    def at(self, stamp_s: float, max_gap_s: float = MAX_GAP_S) -> np.ndarray | None:
        """Return the pose (4, 4) at a stamp: linear in position, slerp in rotation.

        Returns:
            None where no pose is at most `max_gap_s` away on both sides (one side suffices
            for a stamp that is exactly there).
        """
        after = int(np.searchsorted(self.stamps_N, stamp_s))
        for index in (after, after - 1):
            if 0 <= index < len(self) and abs(self.stamps_N[index] - stamp_s) < 1e-6:
                return self.poses_N44[index]
        if after == 0 or after == len(self):
            return None
        before = after - 1
        stamps = self.stamps_N[before : after + 1]
        if stamps[1] - stamp_s > max_gap_s or stamp_s - stamps[0] > max_gap_s:
            return None
        share = (stamp_s - stamps[0]) / (stamps[1] - stamps[0])
        pose = np.eye(4)
        rotations = Rotation.from_matrix(self.poses_N44[before : after + 1, :3, :3])
        pose[:3, :3] = Slerp([0.0, 1.0], rotations)(share).as_matrix()
        ends = self.poses_N44[before : after + 1, :3, 3]
        pose[:3, 3] = (1 - share) * ends[0] + share * ends[1]
        return pose
