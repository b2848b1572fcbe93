"""What several cameras that see one moment say about each other's masks."""

from collections.abc import Sequence

import cv2
import numpy as np

from posefield.data.rig_camera import RigCamera
from posefield.data.space_carving import Views, carve, find_bounds, grid, in_camera
from posefield.errors import DataError

RESOLUTION = 56


def disagreeing(
    cameras: Sequence[RigCamera], masks: Sequence[np.ndarray], resolution: int = RESOLUTION
) -> list[np.ndarray]:
    """Return the pixels of each mask (H, W) bool at which the other cameras see no object.

    With four cameras or more, one of them may be wrong about a point in space.

    Args:
        cameras: V of them, of the sizes of the masks.
        masks: (H, W) of 0, 1 and 2 of the same moment.
        resolution: voxels along the longest side of the object.
    """
    views = Views.of_masks(cameras, [list(masks)])
    doubters = 1 if len(cameras) >= 4 else 0
    try:
        low_3, high_3 = find_bounds(views, 'the recording', doubters)
    except DataError:
        # Without a common object nothing can be said.
        return [np.zeros(mask.shape, bool) for mask in masks]
    voxel = float((high_3 - low_3).max()) / resolution
    points_N3 = grid(low_3, high_3, voxel)
    points_N3 = points_N3[carve(views, points_N3, 0.5 * voxel, doubters)[0]]
    return [~_shadow_of(points_N3, rig, voxel) for rig in cameras]


def _shadow_of(points_N3: np.ndarray, rig: RigCamera, voxel: float) -> np.ndarray:
    """Return the pixels (H, W) bool that voxels about these points cover."""
    camera = rig.camera
    covered = np.zeros((camera.height, camera.width), np.uint8)
    in_camera_N3 = in_camera(rig, points_N3)
    pixels_N2, visible_N = camera.project(in_camera_N3)
    if not visible_N.any():
        return covered > 0
    columns, rows = np.rint(pixels_N2[visible_N]).astype(int).T
    covered[rows, columns] = 1
    reach = voxel * camera.fx / float(np.median(in_camera_N3[visible_N, 2]))
    size = 2 * int(np.ceil(reach)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.dilate(covered, kernel) > 0
