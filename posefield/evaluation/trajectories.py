"""Trajectories: TUM files, and their errors by stamp."""

from pathlib import Path

import numpy as np

from posefield.errors import DataError
from posefield.geometry.poses import from_quat_xyzw, pose_errors, to_quat_xyzw
from posefield.geometry.trajectory import Trajectory
from posefield.storage import atomic_write_text


def read_tum(path: Path) -> Trajectory:
    """Read `stamp tx ty tz qx qy qz qw` lines; empty lines and those starting with # are skipped.

    Raises:
        DataError: for a file that cannot be read, a line that is not 8 finite numbers, a zero
            quaternion, or no pose at all.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'Cannot read the trajectory {path}: {error}.') from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith('#'):
            continue
        pairs.append(_parse_line(line, f'{path}, line {number}'))
    if not pairs:
        raise DataError(f'{path} has no pose, expected lines of: stamp tx ty tz qx qy qz qw.')
    return Trajectory.from_pairs(pairs)


def _parse_line(line: str, where: str) -> tuple[float, np.ndarray]:
    try:
        values = np.array([float(word) for word in line.split()])
    except ValueError as error:
        raise DataError(f'{where} is not numbers: {error}.') from error
    if len(values) != 8 or not np.isfinite(values).all():
        raise DataError(
            f'{where} must be 8 finite numbers (stamp tx ty tz qx qy qz qw), found {line!r}.'
        )
    if np.linalg.norm(values[4:]) < 1e-6:
        raise DataError(f'{where} has a quaternion of length 0.')
    return float(values[0]), from_quat_xyzw(values[4:], values[1:4])


def write_tum(path: Path, trajectory: Trajectory, comment: str) -> None:
    """Write a TUM file; the comment says whose pose it is and in which frame."""
    lines = [f'# {comment}', '# timestamp tx ty tz qx qy qz qw']
    for stamp_s, pose in zip(trajectory.stamps_N, trajectory.poses_N44, strict=True):
        lines.append(tum_line(stamp_s, pose))
    atomic_write_text(Path(path), '\n'.join(lines) + '\n')


def tum_line(stamp_s: float, pose: np.ndarray) -> str:
    """Return one line of a TUM file."""
    numbers = (*pose[:3, 3], *to_quat_xyzw(pose))
    return ' '.join([f'{stamp_s:.9f}', *(f'{number:.9f}' for number in numbers)])


def trajectory_errors(estimate: Trajectory, truth: Trajectory) -> dict:
    """Return the absolute trajectory error of the stamps that both cover, without alignment.

    Returns:
        matched, unmatched (counts), rmse, mean, median, max of `translation` (map units) and
        `rotation_deg`; the figures are None when nothing matches.
    """
    errors = []
    for stamp_s, pose in zip(estimate.stamps_N, estimate.poses_N44, strict=True):
        true_pose = truth.at(stamp_s)
        if true_pose is not None:
            errors.append(pose_errors(pose, true_pose))
    figures = {'matched': len(errors), 'unmatched': len(estimate) - len(errors)}
    for name in ('translation', 'rotation_deg'):
        values = np.array([getattr(error, name) for error in errors])
        figures[name] = statistics(values) if len(values) else None
    return figures


def statistics(values_N: np.ndarray) -> dict[str, float]:
    """Return rmse, mean, median and max of at least one value."""
    return {
        'rmse': float(np.sqrt(np.mean(values_N**2))),
        'mean': float(values_N.mean()),
        'median': float(np.median(values_N)),
        'max': float(values_N.max()),
    }
