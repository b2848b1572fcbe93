"""Poses, covariances and stamps to and from messages; the only place that knows both sides.

Quaternions are x, y, z, w in messages and w, x, y, z in transforms3d.
"""

from geometry_msgs.msg import Pose, PoseWithCovariance, Transform, TransformStamped
import numpy as np
from std_msgs.msg import Header
from transforms3d.affines import compose
from transforms3d.euler import mat2euler
from transforms3d.quaternions import mat2quat, quat2mat

from posefield.errors import PoseError

NANOSECONDS = 1_000_000_000
# A quaternion whose norm is off by more than this was not meant as a rotation.
NORM_TOLERANCE = 0.1
# What a variance of 0 in `initialpose` stands for where nothing else tells: (0.5 m)^2, (15 deg)^2.
DEFAULT_VARIANCES = (0.25, 0.07)


def stamp_ns(stamp) -> int:
    """Return a builtin_interfaces/Time in nanoseconds."""
    return stamp.sec * NANOSECONDS + stamp.nanosec


def seconds(stamp) -> float:
    """Return a builtin_interfaces/Time in seconds."""
    return stamp_ns(stamp) / NANOSECONDS


def rotation_from_message(quaternion, name: str) -> np.ndarray:
    """Return the (3, 3) rotation of a geometry_msgs/Quaternion.

    Raises:
        PoseError: for NaN, or for a norm that is not 1, such as the all-zero default.
    """
    quat_wxyz = np.array([quaternion.w, quaternion.x, quaternion.y, quaternion.z])
    norm = float(np.linalg.norm(quat_wxyz))
    if not abs(norm - 1.0) <= NORM_TOLERANCE:
        raise PoseError(f'The orientation of {name} must have norm 1, found {norm:.3g}.')
    return quat2mat(quat_wxyz)


def pose_from_message(pose: Pose, name: str) -> np.ndarray:
    """Return the (4, 4) transform of a geometry_msgs/Pose.

    Raises:
        PoseError: naming what the pose is, for numbers that are not a pose.
    """
    return _transform(pose.position, pose.orientation, name)


def transform_from_message(transform: Transform, name: str) -> np.ndarray:
    """Return the (4, 4) transform of a geometry_msgs/Transform.

    Raises:
        PoseError: naming the transform, for numbers that are not one.
    """
    return _transform(transform.translation, transform.rotation, name)


def _transform(vector, quaternion, name: str) -> np.ndarray:
    translation = np.array([vector.x, vector.y, vector.z])
    if not np.isfinite(translation).all():
        raise PoseError(f'The position of {name} must be finite, found {translation.tolist()}.')
    return compose(translation, rotation_from_message(quaternion, name), np.ones(3))


def pose_to_message(T: np.ndarray) -> Pose:
    """Return a (4, 4) transform as geometry_msgs/Pose."""
    pose = Pose()
    _fill(pose.position, pose.orientation, T)
    return pose


def transform_to_message(T_a_b: np.ndarray, a: str, b: str, stamp) -> TransformStamped:
    """Return T_a_b as the transform from parent frame a to child frame b."""
    message = TransformStamped()
    message.header = Header(stamp=stamp, frame_id=a)
    message.child_frame_id = b
    _fill(message.transform.translation, message.transform.rotation, T_a_b)
    return message


def _fill(vector, quaternion, T: np.ndarray) -> None:
    vector.x, vector.y, vector.z = (float(x) for x in T[:3, 3])
    w, x, y, z = (float(q) for q in mat2quat(T[:3, :3]))
    quaternion.x, quaternion.y, quaternion.z, quaternion.w = x, y, z, w


def pose_with_covariance(T: np.ndarray, covariance: np.ndarray) -> PoseWithCovariance:
    """Return a pose with its (6, 6) covariance, row-major: x, y, z, rotation about x, y, z."""
    return PoseWithCovariance(
        pose=pose_to_message(T),
        covariance=np.asarray(covariance, dtype=np.float64).ravel().tolist(),
    )


def covariance_from_message(covariance, name: str) -> np.ndarray:
    """Return the (6, 6) covariance of a hint; 0 on the diagonal means that nobody filled it in.

    RViz leaves z, roll and pitch at 0: they get the largest variance given for a translation or
    a rotation, or half a metre and 15 degrees where none is.

    Raises:
        PoseError: for numbers that are no covariance.
    """
    matrix = np.array(covariance, dtype=np.float64).reshape(6, 6)
    if not np.isfinite(matrix).all() or (np.diag(matrix) < 0).any():
        raise PoseError(f'The covariance of {name} must be finite with a diagonal >= 0.')
    matrix = (matrix + matrix.T) / 2.0
    for block, default in zip((slice(0, 3), slice(3, 6)), DEFAULT_VARIANCES, strict=True):
        variances = np.diag(matrix)[block]
        fallback = variances.max() if variances.any() else default
        filled = np.where(variances > 0, variances, fallback)
        matrix[range(block.start, block.stop), range(block.start, block.stop)] = filled
    if np.linalg.eigvalsh(matrix)[0] <= 0:
        raise PoseError(f'The covariance of {name} must be positive definite.')
    return matrix


def roll_pitch_yaw(T: np.ndarray) -> tuple[float, float, float]:
    """Return the fixed-axis angles of a transform in radians."""
    return mat2euler(T[:3, :3], axes='sxyz')
