"""Rigid transforms as (..., 4, 4) matrices, in numpy (boundaries) and torch (learning).

`T_a_b` takes coordinates of frame b to frame a.  Twists are (v, w): translation first.
"""

from dataclasses import dataclass
import math

import numpy as np
import roma
from scipy.spatial.transform import Rotation
import torch

from posefield.errors import PoseError

RIGID_TOLERANCE = 1e-3


@dataclass(frozen=True)
class PoseErrors:
    """Distance between camera centres (map units) and rotation angle (degrees)."""

    translation: float
    rotation_deg: float


def invert(T: np.ndarray) -> np.ndarray:
    """Return the inverse of rigid transforms (..., 4, 4)."""
    T = np.asarray(T)
    R_transposed = np.swapaxes(T[..., :3, :3], -1, -2)
    inverse = np.zeros_like(T)
    inverse[..., :3, :3] = R_transposed
    inverse[..., :3, 3] = -(R_transposed @ T[..., :3, 3:])[..., 0]
    inverse[..., 3, 3] = 1.0
    return inverse


def from_quat_xyzw(quat_xyzw: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Return the (4, 4) transform of a quaternion (x, y, z, w; any norm but 0) and translation."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat(np.asarray(quat_xyzw, dtype=np.float64)).as_matrix()
    T[:3, 3] = translation
    return T


def to_quat_xyzw(T: np.ndarray) -> np.ndarray:
    """Return the unit quaternion (x, y, z, w), w >= 0, of a (4, 4) or (3, 3) matrix."""
    quat_xyzw = Rotation.from_matrix(np.asarray(T)[:3, :3]).as_quat()
    return -quat_xyzw if quat_xyzw[3] < 0 else quat_xyzw


def as_rigid(matrix: np.ndarray, name: str, tolerance: float = RIGID_TOLERANCE) -> np.ndarray:
    """Return the nearest rigid transform (4, 4) of a matrix that is one up to rounding.

    Args:
        matrix: (4, 4) or (3, 4).
        name: what the matrix is, for the message.
        tolerance: of the entries of R R^T and of the last row.

    Raises:
        PoseError: for NaN, a scale, shear or reflection beyond it, or a wrong last row.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
    if matrix.shape != (4, 4):
        raise PoseError(f'{name} must be a 4x4 matrix, found shape {matrix.shape}.')
    if not np.isfinite(matrix).all():
        raise PoseError(f'{name} has entries that are not finite.')
    R = matrix[:3, :3]
    residual = float(np.abs(R @ R.T - np.eye(3)).max())
    if residual > tolerance:
        raise PoseError(f'{name} is not rigid: |R R^T - I| is {residual:.3g}, expected 0.')
    if np.linalg.det(R) < 0:
        raise PoseError(f'{name} is a reflection (determinant -1), expected a rotation.')
    if np.abs(matrix[3] - [0.0, 0.0, 0.0, 1.0]).max() > tolerance:
        raise PoseError(f'{name} must end with the row 0 0 0 1, found {matrix[3].tolist()}.')
    rigid = np.eye(4)
    U, _, Vt = np.linalg.svd(R)
    rigid[:3, :3] = U @ Vt
    rigid[:3, 3] = matrix[:3, 3]
    return rigid


def rotation_angle_deg(R: np.ndarray) -> float:
    """Return the angle of a (3, 3) rotation in degrees, exact near 0 and near 180."""
    return math.degrees(Rotation.from_matrix(np.asarray(R)[:3, :3]).magnitude())


def pose_errors(T_map_cam: np.ndarray, T_map_cam_true: np.ndarray) -> PoseErrors:
    """Return the distance between two camera poses, without any alignment."""
    translation = float(np.linalg.norm(T_map_cam[:3, 3] - T_map_cam_true[:3, 3]))
    R_error = T_map_cam[:3, :3].T @ T_map_cam_true[:3, :3]
    return PoseErrors(translation, rotation_angle_deg(R_error))


def perturbed(
    T_map_cam: np.ndarray,
    translation: float,
    rotation_deg: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return the pose moved by exactly this distance and angle in random directions."""
    direction, axis = generator.normal(size=(2, 3))
    T = T_map_cam.copy()
    T[:3, 3] += translation * direction / np.linalg.norm(direction)
    rotvec = math.radians(rotation_deg) * axis / np.linalg.norm(axis)
    T[:3, :3] = T[:3, :3] @ Rotation.from_rotvec(rotvec).as_matrix()
    return T


def skew(v: np.ndarray) -> np.ndarray:
    """Return the (3, 3) matrix [v]x with [v]x a = v x a."""
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


def retract(T_cam_map: torch.Tensor, twist_6: torch.Tensor) -> torch.Tensor:
    """Return T_cam_map (..., 4, 4) moved by X_cam <- Exp(w) X_cam + v, with twist (v, w).

    The update of feature_alignment: rotation about the camera centre, then translation.
    """
    moved = T_cam_map.clone()
    R = roma.rotvec_to_rotmat(twist_6[..., 3:])
    moved[..., :3, :3] = R @ T_cam_map[..., :3, :3]
    moved[..., :3, 3] = (R @ T_cam_map[..., :3, 3:])[..., 0] + twist_6[..., :3]
    return moved
