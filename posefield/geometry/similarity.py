"""The similarity that brings one set of camera centres onto another."""

from dataclasses import dataclass

import numpy as np

from posefield.errors import PoseError

# Centres whose second largest spread is below this share of the largest lie on a line.
LINE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Similarity:
    """x -> scale R x + t.

    Attributes:
        scale: 1 for a rigid motion.
        R: (3, 3) rotation.
        t: (3,) translation, in units of the target.
    """

    scale: float
    R: np.ndarray
    t: np.ndarray

    def poses(self, T_source_cam_N44: np.ndarray) -> np.ndarray:
        """Return camera poses (N, 4, 4) in the target frame: centres mapped, axes turned."""
        poses = np.array(T_source_cam_N44, dtype=np.float64)
        poses[:, :3, :3] = self.R @ poses[:, :3, :3]
        poses[:, :3, 3] = self.scale * poses[:, :3, 3] @ self.R.T + self.t
        return poses


def align_centres(sources_N3: np.ndarray, targets_N3: np.ndarray, with_scale: bool) -> Similarity:
    """Return the least-squares similarity from sources to targets (Umeyama 1991).

    Args:
        sources_N3, targets_N3: matching camera centres.
        with_scale: Sim(3); otherwise SE(3), with scale 1.

    Raises:
        PoseError: when the centres of one side lie on a line or in one place, so that the
            rotation is not determined.
    """
    sources, targets = (np.asarray(x, dtype=np.float64) for x in (sources_N3, targets_N3))
    mean_source, mean_target = sources.mean(axis=0), targets.mean(axis=0)
    sources, targets = sources - mean_source, targets - mean_target
    for centres in (sources, targets):
        spreads = np.linalg.svd(centres, compute_uv=False)
        if len(centres) < 3 or spreads[1] <= LINE_TOLERANCE * spreads[0]:
            raise PoseError(
                f'The {len(centres)} camera centres lie on a line or in one place, so no '
                'rotation can be found that aligns them; at least 3 off a line are needed.'
            )
    U, strengths, Vt = np.linalg.svd(targets.T @ sources)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
    R = U @ np.diag(signs) @ Vt
    scale = float((strengths * signs).sum() / (sources**2).sum()) if with_scale else 1.0
    return Similarity(scale, R, mean_target - scale * R @ mean_source)
