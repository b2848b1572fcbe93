"""Driving a found skeleton to poses of the true one that the model has never seen.

Every found link rides on the true link against which it moved least while the model learned.
In a new frame the true links say where its points should be, and joint positions and the root's
pose are fitted to them: the parts reach the new pose through the found joints only.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from posefield.evaluation.articulation_truth_scores import FoundMotion

STEP = 1e-6


@dataclass(frozen=True)
class DrivenPose:
    """A pose of the found skeleton.

    Attributes:
        positions_D: of the movable joints.
        T_world_root: (4, 4).
        residual: root mean square distance of the points that were fitted, world units.
    """

    positions_D: np.ndarray
    T_world_root: np.ndarray
    residual: float


class PoseTransfer:
    """Turns poses of true links into poses of a found skeleton."""

    def __init__(self, motion: FoundMotion, T_world_true_FL44: np.ndarray):
        """Attach the links.

        Args:
            motion: over F frames.
            T_world_true_FL44: poses of the true links in the same frames.
        """
        self.motion = motion
        skeleton = motion.skeleton
        T_world_link = skeleton.forward(motion.positions_FD, motion.T_world_root_F44)
        points_FP73 = motion.points_FK3.reshape(len(motion.frames), -1, 7, 3)
        self._links, self._points, self._carriers, self._targets = [], [], [], []
        for index, link in enumerate(skeleton.links):
            if not link.parts:
                continue
            world_FK3 = points_FP73[:, list(link.parts)].reshape(len(motion.frames), -1, 3)
            own_FK3 = _seen_from(T_world_link[:, index], world_FK3)
            carrier, target_K3 = _carrier(T_world_true_FL44, world_FK3)
            self._links.append(np.full(len(target_K3), index))
            self._points.append(own_FK3.mean(axis=0))
            self._carriers.append(np.full(len(target_K3), carrier))
            self._targets.append(target_K3)
        self._links, self._carriers = (
            np.concatenate(group) for group in (self._links, self._carriers)
        )
        self._points, self._targets = (
            np.concatenate(group) for group in (self._points, self._targets)
        )

    def drive(self, T_world_true_L44: np.ndarray) -> DrivenPose:
        """Return the pose of the found skeleton for poses of the true links."""
        T = T_world_true_L44[self._carriers]
        wanted_K3 = np.einsum('kij,kj->ki', T[:, :3, :3], self._targets) + T[:, :3, 3]
        known = self._points_at(self.motion.positions_FD, self.motion.T_world_root_F44)
        nearest = np.square(known - wanted_K3).sum(axis=(1, 2)).argmin()
        start, T_start = self.motion.positions_FD[nearest], self.motion.T_world_root_F44[nearest]

        def residuals(x_MN: np.ndarray) -> np.ndarray:
            T_root = _moved(T_start, x_MN[:, :6])
            return (self._points_at(x_MN[:, 6:], T_root) - wanted_K3).reshape(len(x_MN), -1)

        def jacobian(x_N: np.ndarray) -> np.ndarray:
            ends = residuals(
                np.concatenate([x_N + STEP * np.eye(len(x_N)), x_N - STEP * np.eye(len(x_N))])
            )
            return ((ends[: len(x_N)] - ends[len(x_N) :]) / (2 * STEP)).T

        x_N = np.concatenate([np.zeros(6), start])
        solved = least_squares(lambda x: residuals(x[None])[0], x_N, jacobian)
        return DrivenPose(
            solved.x[6:],
            _moved(T_start, solved.x[None, :6])[0],
            float(np.sqrt(2.0 * solved.cost / len(wanted_K3))),
        )

    def _points_at(self, positions_MD: np.ndarray, T_world_root_M44: np.ndarray) -> np.ndarray:
        """Return all points (M, K, 3) in the world."""
        T = self.motion.skeleton.forward(positions_MD, T_world_root_M44)[:, self._links]
        return np.einsum('mkij,kj->mki', T[..., :3, :3], self._points) + T[..., :3, 3]


def _seen_from(T_world_frame_F44: np.ndarray, world_FK3: np.ndarray) -> np.ndarray:
    """Return world points in moving frames."""
    offsets = world_FK3 - T_world_frame_F44[:, None, :3, 3]
    return np.einsum('fji,fkj->fki', T_world_frame_F44[:, :3, :3], offsets)


def _carrier(T_world_true_FL44: np.ndarray, world_FK3: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the true link in whose frame points stay best, and their mean (K, 3) there."""
    seen = [
        _seen_from(T_world_true_FL44[:, link], world_FK3)
        for link in range(T_world_true_FL44.shape[1])
    ]
    carrier = int(np.argmin([points.var(axis=0).sum() for points in seen]))
    return carrier, seen[carrier].mean(axis=0)


def _moved(T: np.ndarray, steps_M6: np.ndarray) -> np.ndarray:
    """Return a pose (M, 4, 4) moved by translations and turned by rotation vectors, world axes."""
    moved = np.broadcast_to(T, (len(steps_M6), 4, 4)).copy()
    moved[:, :3, 3] += steps_M6[:, :3]
    moved[:, :3, :3] = Rotation.from_rotvec(steps_M6[:, 3:]).as_matrix() @ T[:3, :3]
    return moved
