"""Part poses from the joints or vertices of another body model, by linear regression.

The supplement of Watch It Move, A.10: every part is 7 points, its centre and 6 candidate joints,
and each point a linear combination of the other model's points, the same in x, y and z.
"""

from dataclasses import dataclass
from pathlib import Path
import zipfile

import numpy as np

from posefield.errors import ArticulationError

# Candidates are this share of each radius out along every axis, both ways.
CANDIDATE_SHARE = 0.75
# Ridges for a scene about one unit in size (watch_it_move 8.2).
VERTEX_RIDGE, JOINT_RIDGE = 0.5, 0.1
# More points than this are the vertices of a mesh, not joints.
MOST_JOINTS = 200


@dataclass(frozen=True)
class PartRegression:
    """What gives part poses from points.

    Attributes:
        weights_KN: of N points for K = 7 P points of the parts.
        part_points_P73: the 7 points of each part in its frame; they sum to zero.
    """

    weights_KN: np.ndarray
    part_points_P73: np.ndarray

    def part_poses(self, points_N3: np.ndarray) -> np.ndarray:
        """Return the poses (..., P, 4, 4) of the parts for points (..., N, 3).

        Raises:
            ArticulationError: for another number of points.
        """
        points = np.asarray(points_N3, dtype=np.float64)
        if points.ndim < 2 or points.shape[-2:] != (self.weights_KN.shape[1], 3):
            raise ArticulationError(
                f'The points must have shape (..., {self.weights_KN.shape[1]}, 3) as those that '
                f'the regression was fitted to, found {points.shape}.'
            )
        targets = self.weights_KN @ points
        targets = targets.reshape(*points.shape[:-2], *self.part_points_P73.shape)
        return rigid_fits(self.part_points_P73, targets)


def part_points(radii_P3: np.ndarray) -> np.ndarray:
    """Return the centre and the 6 candidate joints (P, 7, 3) of parts, in their frames."""
    signs = np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    return CANDIDATE_SHARE * np.asarray(radii_P3, dtype=np.float64)[:, None] * signs


def fit_regression(
    points_FN3: np.ndarray,
    T_scene_part_FP44: np.ndarray,
    radii_P3: np.ndarray,
    ridge: float | None = None,
) -> PartRegression:
    """Return the regression from points to parts that F frames show.

    X = argmin sum_f |X V(f) - P(f)|^2 + ridge |X|^2, without bias.

    Args:
        points_FN3: joints or vertices of the other model, in the frame of the parts.
        T_scene_part_FP44: poses of the parts in the same frames.
        radii_P3: of the parts' ellipsoids.
        ridge: for points about one unit in size; by default that of the supplement for joints or,
            when there are many points, vertices.

    Raises:
        ArticulationError: for arrays that do not fit, are empty or not finite, or a ridge that
            is not positive.
    """
    points = np.asarray(points_FN3, dtype=np.float64)
    frames, parts = T_scene_part_FP44.shape[:2]
    if points.ndim != 3 or points.shape[0] != frames or points.shape[2] != 3 or not points.size:
        raise ArticulationError(
            f'The points must have shape ({frames}, N, 3) as the parts have {frames} frames, '
            f'found {points.shape}.'
        )
    if not np.isfinite(points).all() or not np.isfinite(T_scene_part_FP44).all():
        raise ArticulationError('Points and part poses must be finite, found NaN or infinity.')
    if ridge is None:
        ridge = JOINT_RIDGE if points.shape[1] <= MOST_JOINTS else VERTEX_RIDGE
    if not ridge > 0.0:
        raise ArticulationError(f'The ridge must be positive, found {ridge}.')
    local = part_points(radii_P3)
    R, t = T_scene_part_FP44[..., :3, :3], T_scene_part_FP44[..., None, :3, 3]
    targets = np.einsum('fpij,pkj->fpki', R, local) + t
    V = np.moveaxis(points, 1, 0).reshape(points.shape[1], -1)
    P = np.moveaxis(targets.reshape(frames, parts * 7, 3), 1, 0).reshape(parts * 7, -1)
    return PartRegression(_ridge_solution(V, P, ridge), local)


def _ridge_solution(V_NM: np.ndarray, P_KM: np.ndarray, ridge: float) -> np.ndarray:
    """Return X (K, N) of min |X V - P|^2 + ridge |X|^2, by the smaller Gram matrix."""
    count, samples = V_NM.shape
    if count <= samples:
        return np.linalg.solve(V_NM @ V_NM.T + ridge * np.eye(count), V_NM @ P_KM.T).T
    return np.linalg.solve(V_NM.T @ V_NM + ridge * np.eye(samples), P_KM.T).T @ V_NM.T


def rigid_fits(from_P73: np.ndarray, to_P73: np.ndarray) -> np.ndarray:
    """Return the rigid transforms (..., P, 4, 4) nearest to the points' moves (Kabsch).

    The origin goes to the first point, and from_P73 sums to zero over each part's points.
    """
    centres = to_P73[..., 0, :]
    M = np.swapaxes(to_P73 - centres[..., None, :], -1, -2) @ from_P73
    U, _, Vt = np.linalg.svd(M)
    signs = np.ones(centres.shape)
    signs[..., 2] = np.sign(np.linalg.det(U @ Vt))
    T = np.zeros((*centres.shape[:-1], 4, 4))
    T[..., :3, :3] = (U * signs[..., None, :]) @ Vt
    T[..., :3, 3] = centres
    T[..., 3, 3] = 1.0
    return T


def read_points(path: str | Path, key: str | None = None) -> np.ndarray:
    """Read joints or vertices (F, N, 3) that a user brings, in a .npy or .npz file.

    Args:
        path: the file.
        key: of the array in an .npz file; by default its `joints`, else its `vertices`.

    Raises:
        ArticulationError: when the file does not open, or holds no such array.
    """
    path = Path(path)
    try:
        content = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ArticulationError(f'The file {path} does not open as .npy or .npz: {error}.') from (
            error
        )
    if isinstance(content, np.ndarray):
        points = content
    else:
        with content:
            wanted = [key] if key else ['joints', 'vertices']
            found = [name for name in wanted if name in content.files]
            if not found:
                raise ArticulationError(
                    f'The file {path} must hold {" or ".join(wanted)}, found '
                    f'{", ".join(content.files) or "nothing"}.'
                )
            points = content[found[0]]
    if points.ndim != 3 or points.shape[2] != 3 or not np.issubdtype(points.dtype, np.number):
        raise ArticulationError(
            f'The points in {path} must be numbers of shape (F, N, 3), found {points.dtype} of '
            f'shape {points.shape}.'
        )
    if not np.isfinite(points).all():
        raise ArticulationError(f'The points in {path} must be finite, found NaN or infinity.')
    return points.astype(np.float64)
