"""The size of a scene as its cameras see it."""

from collections.abc import Sequence

import numpy as np

from posefield.errors import DataError


def point_of_interest(poses_N44: np.ndarray) -> np.ndarray:
    """Return the point (3,) with the least squared distance to all optical axes.

    Args:
        poses_N44: T_map_cam of at least two cameras.

    Raises:
        DataError: when all cameras look the same way, so that the axes never meet.
    """
    centres_N3 = poses_N44[:, :3, 3]
    axes_N3 = poses_N44[:, :3, 2]
    across_N33 = np.eye(3) - axes_N3[:, :, None] * axes_N3[:, None, :]
    normal_33 = across_N33.sum(axis=0)
    if np.linalg.cond(normal_33) > 1e6:
        raise DataError(
            'The cameras all look the same way, so the scene has no scale: their optical axes '
            'must cross somewhere.'
        )
    return np.linalg.solve(normal_33, (across_N33 @ centres_N3[:, :, None]).sum(axis=0)[:, 0])


def scene_scale(poses: Sequence[np.ndarray]) -> float:
    """Return the mean distance from cameras to the point they look at, in map units.

    Args:
        poses: T_map_cam (4, 4) of the training cameras.
    """
    poses_N44 = np.asarray(poses, dtype=np.float64)
    if len(poses_N44) < 2:
        raise DataError(f'The scale of a scene needs at least 2 cameras, found {len(poses_N44)}.')
    distances = np.linalg.norm(poses_N44[:, :3, 3] - point_of_interest(poses_N44), axis=1)
    return float(distances.mean())
