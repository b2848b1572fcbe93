"""Text files of camera poses in the formats that data sets are published in.

Whatever a file holds, what is read and written here is T_map_cam with optical axes.  Numbers are
written so that reading them gives the same floats again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import math
from pathlib import Path

import numpy as np

from posefield.data.recentring import Recentring
from posefield.errors import DataError, PoseError
from posefield.geometry.poses import as_rigid, from_quat_xyzw, invert, to_quat_xyzw
from posefield.storage import atomic_write_text

QUATERNION_TOLERANCE = 1e-2
# Rotations of published predictions were rounded on the way: |R R^T - I| goes up to 1.2e-3.
PUBLISHED_TOLERANCE = 5e-3
PGT_COLUMNS = 'image qw qx qy qz tx ty tz focal'
CAMBRIDGE_COLUMNS = 'image x y z qw qx qy qz'
CAMBRIDGE_HEADER = ('Visual Landmark Dataset V1', 'ImageFile, Camera Position [X Y Z W P Q R]', '')


@dataclass(frozen=True, eq=False)
class NamedPose:
    """The pose of one image in a list.

    Attributes:
        name: of the image, as the list has it.
        T_map_cam: (4, 4), optical axes.
        focal: pixels, where the list has it.
    """

    name: str
    T_map_cam: np.ndarray
    focal: float | None = None


def read_pose_matrix(path: Path | str) -> np.ndarray:
    """Return the (4, 4) rigid transform of a file that holds a 4x4 or 3x4 matrix.

    So are the `frame-XXXXXX.pose.txt` of 7-Scenes (camera-to-world, optical axes).

    Raises:
        PoseError: when it cannot be read, or is no rigid transform.
    """
    try:
        rows = [line.split() for line in Path(path).read_text().splitlines() if line.strip()]
        matrix = np.array(rows, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise PoseError(f'The pose file {path} is not a matrix of numbers: {error}.') from error
    return as_rigid(matrix, f'The pose in {path}')


def write_pose_matrix(path: Path | str, T: np.ndarray) -> None:
    """Write a (4, 4) transform, a row a line."""
    atomic_write_text(path, ''.join(f'{_text(row)}\n' for row in np.asarray(T)))


def read_pgt(path: Path | str) -> list[NamedPose]:
    """Read SfM pseudo ground truth (Brachmann et al., ICCV 2021).

    A line is `image qw qx qy qz tx ty tz focal`, world-to-camera with optical axes; the focal
    length is in pixels of the image as published.  Empty lines and comments (#) are skipped.

    Raises:
        DataError, PoseError: for a line that is not so, with its number.
    """
    poses = []
    for number, line in _numbered_lines(path):
        if not line.strip() or line.startswith('#'):
            continue
        name, numbers = _name_and_numbers(line, 8, PGT_COLUMNS, number, path)
        T_cam_map = _from_quat_wxyz(numbers[:4], numbers[4:7], number, path)
        poses.append(NamedPose(name, invert(T_cam_map), numbers[7]))
    return poses


def write_pgt(path: Path | str, poses: Iterable[NamedPose]) -> None:
    """Write the lines that `read_pgt` reads.

    Raises:
        DataError: when a pose has no focal length, which every line must have.
    """
    lines = []
    for pose in poses:
        if pose.focal is None:
            raise DataError(f'The pose of {pose.name} has no focal length, which {path} needs.')
        T_cam_map = invert(pose.T_map_cam)
        numbers = [*_quat_wxyz(T_cam_map), *T_cam_map[:3, 3], pose.focal]
        lines.append(f'{pose.name} {_text(numbers)}\n')
    atomic_write_text(path, ''.join(lines))


def read_cambridge_poses(path: Path | str) -> list[NamedPose]:
    """Read a dataset_train.txt or dataset_test.txt of Cambridge Landmarks.

    After three lines of header a line is `image x y z qw qx qy qz`: the camera's centre in the
    world, and the world-to-camera rotation.

    Raises:
        DataError, PoseError: for a line that is not so, with its number.
    """
    lines = _numbered_lines(path)
    for number, line in lines[: len(CAMBRIDGE_HEADER)]:
        if len(_numbers(line)) == 7:
            raise DataError(
                f'Line {number} of {path} must belong to the header of {len(CAMBRIDGE_HEADER)} '
                f'lines, found the pose {line[:80]!r}.'
            )
    poses = []
    for number, line in lines[len(CAMBRIDGE_HEADER) :]:
        if not line.strip():
            continue
        name, numbers = _name_and_numbers(line, 7, CAMBRIDGE_COLUMNS, number, path)
        T_map_cam = invert(_from_quat_wxyz(numbers[3:], (0.0, 0.0, 0.0), number, path))
        _check_translation(numbers[:3], number, path)
        T_map_cam[:3, 3] = numbers[:3]
        poses.append(NamedPose(name, T_map_cam))
    return poses


def write_cambridge_poses(path: Path | str, poses: Iterable[NamedPose]) -> None:
    """Write the header and lines that `read_cambridge_poses` reads."""
    lines = [f'{line}\n' for line in CAMBRIDGE_HEADER]
    for pose in poses:
        numbers = [*pose.T_map_cam[:3, 3], *_quat_wxyz(invert(pose.T_map_cam))]
        lines.append(f'{pose.name} {_text(numbers)}\n')
    atomic_write_text(path, ''.join(lines))


def read_published_poses(path: Path | str, recentring: Recentring) -> np.ndarray:
    """Read the poses that NeFeS and DFNet publish, T_map_cam (N, 4, 4).

    A line is the 3x4 matrix, row by row, of a re-centred pose with OpenGL axes (nefes.md 7.3).

    Args:
        path: the file, one pose a line.
        recentring: of its scene.

    Raises:
        DataError, PoseError: for a line that is not so, with its number.
    """
    poses = []
    for number, line in _numbered_lines(path):
        if not line.strip():
            continue
        try:
            matrix = np.array(line.split(), dtype=np.float64).reshape(3, 4)
        except ValueError as error:
            raise DataError(
                f'Line {number} of {path} must be the 12 numbers of a 3x4 matrix, '
                f'found {line[:80]!r}.'
            ) from error
        poses.append(as_rigid(matrix, f'Line {number} of {path}', PUBLISHED_TOLERANCE))
    if not poses:
        raise DataError(f'The pose file {path} has no pose.')
    return recentring.from_published(np.stack(poses))


def write_published_poses(
    path: Path | str, T_map_cam_N44: np.ndarray, recentring: Recentring
) -> None:
    """Write the lines that `read_published_poses` reads."""
    poses_N44 = recentring.to_published(T_map_cam_N44)
    atomic_write_text(path, ''.join(f'{_text(pose[:3].ravel())}\n' for pose in poses_N44))


def _numbered_lines(path: Path | str) -> list[tuple[int, str]]:
    try:
        return list(enumerate(Path(path).read_text().splitlines(), start=1))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'The pose file {path} cannot be read: {error}.') from error


def _numbers(line: str) -> list[float]:
    """Return the numbers after the name in a line; none where one of them is no number."""
    try:
        return [float(word) for word in line.split()[1:]]
    except ValueError:
        return []


def _name_and_numbers(
    line: str, count: int, columns: str, number: int, path: Path | str
) -> tuple[str, list[float]]:
    numbers = _numbers(line)
    if len(numbers) != count:
        raise DataError(
            f'Line {number} of {path} must be "{columns}", found {line.strip()[:80]!r}.'
        )
    return line.split()[0], numbers


def _from_quat_wxyz(
    quat_wxyz: Sequence[float], translation: Sequence[float], number: int, path: Path | str
) -> np.ndarray:
    norm = math.hypot(*quat_wxyz)
    if not abs(norm - 1.0) < QUATERNION_TOLERANCE:
        raise PoseError(
            f'Line {number} of {path} is no rigid pose: the quaternion has norm {norm:.3g}, '
            'expected 1.'
        )
    _check_translation(translation, number, path)
    qw, qx, qy, qz = quat_wxyz
    return from_quat_xyzw(np.array([qx, qy, qz, qw]), np.asarray(translation))


def _check_translation(translation: Sequence[float], number: int, path: Path | str) -> None:
    if not np.isfinite(translation).all():
        raise PoseError(
            f'Line {number} of {path} is no rigid pose: the position {list(translation)} is '
            'not finite.'
        )


def _quat_wxyz(T: np.ndarray) -> np.ndarray:
    return np.roll(to_quat_xyzw(T), 1)


def _text(numbers: Iterable[float]) -> str:
    return ' '.join(repr(float(number)) for number in numbers)
