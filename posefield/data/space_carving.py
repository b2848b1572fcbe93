"""Carving space by masks: what no camera sees background through is left.

Pixels that are unreliable or outside an image rule nothing out, and show nothing either.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from posefield.data.rig_camera import BACKGROUND, LEAST_CAMERAS, OBJECT, RigCamera
from posefield.errors import DataError
from posefield.geometry.poses import invert

# Grid for finding the bounds of the hull, and how often they may be doubled.
COARSE_RESOLUTION = 40
DOUBLINGS = 4


@dataclass(frozen=True, eq=False)
class Views:
    """Cameras with, per frame, how far each pixel is from where the thing can be.

    Attributes:
        cameras: V of them.
        distances: per frame, per view: (H, W) float32, pixels to the nearest one that is not
            background.
        object_distances: the same to the nearest one that is the thing for sure.
        masks: per frame, per view: (H, W) uint8.
    """

    cameras: tuple[RigCamera, ...]
    distances: list[list[np.ndarray]]
    object_distances: list[list[np.ndarray]]
    masks: list[list[np.ndarray]]

    @classmethod
    def of_masks(cls, cameras: Sequence[RigCamera], masks: list[list[np.ndarray]]) -> 'Views':
        """Measure the distances in masks (H, W) of 0, 1 and 2, per frame, per view."""
        distances = [[_distance_to(mask != BACKGROUND) for mask in row] for row in masks]
        object_distances = [[_distance_to(mask == OBJECT) for mask in row] for row in masks]
        return cls(tuple(cameras), distances, object_distances, masks)


def _distance_to(flags_HW: np.ndarray) -> np.ndarray:
    """Return each pixel's distance to the nearest flag, (H, W); far where there is none."""
    if not flags_HW.any():
        return np.full(flags_HW.shape, np.inf, np.float32)
    return cv2.distanceTransform((~flags_HW).astype(np.uint8), cv2.DIST_L2, 5)


def find_bounds(views: Views, whose: str, doubters: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return opposite corners (3), (3) of a box in the world that the hull just fits in.

    Args:
        views: cameras and masks.
        whose: recording, for messages.
        doubters: how many cameras may be wrong about a point.

    Raises:
        DataError: when the masks do not meet in space, or do not bound it.
    """
    centre_3, half = _first_guess(views, whose)
    for _ in range(DOUBLINGS):
        voxel = 2 * half / COARSE_RESOLUTION
        points_N3 = grid(centre_3 - half, centre_3 + half, voxel)
        inside_N = carve(views, points_N3, 0.5 * np.sqrt(3) * voxel, doubters).any(axis=0)
        if not inside_N.any():
            raise no_hull(whose)
        low_3, high_3 = points_N3[inside_N].min(axis=0), points_N3[inside_N].max(axis=0)
        if (np.abs(np.stack([low_3, high_3]) - centre_3) < half - voxel).all():
            break
        half *= 2
    else:
        raise DataError(
            f'The masks of {whose} leave the size of the object open: cameras all around it, '
            'with background on all sides of it, are needed.'
        )
    return low_3 - 0.6 * voxel, high_3 + 0.6 * voxel


def _first_guess(views: Views, whose: str) -> tuple[np.ndarray, float]:
    """Return where the rays through the middles of the masks meet (3), and about how far it goes.

    The point is found by least squares per frame; the middle of the frames' points is taken.
    """
    centres, reaches = [], []
    for masks in views.masks:
        rays = [
            _middle_ray(rig, mask)
            for rig, mask in zip(views.cameras, masks, strict=True)
            if (mask == OBJECT).any()
        ]
        if len(rays) < LEAST_CAMERAS:
            continue
        origins_V3, directions_V3, widths_V = (
            np.array([ray[i] for ray in rays]) for i in range(3)
        )
        # Across each ray: I - d d^T projects onto the plane that it pierces.
        across_V33 = np.eye(3) - directions_V3[:, :, None] * directions_V3[:, None, :]
        right_3 = (across_V33 @ origins_V3[:, :, None]).sum(axis=0)[:, 0]
        centre_3 = np.linalg.lstsq(across_V33.sum(axis=0), right_3, rcond=None)[0]
        centres.append(centre_3)
        reaches.append((widths_V * np.linalg.norm(centre_3 - origins_V3, axis=1)).max())
    if not centres:
        raise DataError(
            f'In no frame of {whose} that was looked at do {LEAST_CAMERAS} cameras see the object.'
        )
    centres_F3 = np.array(centres)
    middle_3 = np.median(centres_F3, axis=0)
    away_F = np.linalg.norm(centres_F3 - middle_3, axis=1)
    return middle_3, 1.2 * float((away_F + np.array(reaches)).max())


def _middle_ray(rig: RigCamera, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the origin (3) and direction (3) through a mask's middle, and its half width.

    The half width is per unit of distance.
    """
    rows, columns = np.nonzero(mask == OBJECT)
    middle = [[columns.mean(), rows.mean()]]
    direction_3 = rig.T_world_cam[:3, :3] @ rig.camera.unproject(middle)[0]
    half_width = np.hypot(np.ptp(columns) + 1, np.ptp(rows) + 1) / 2
    focal = min(rig.camera.fx, rig.camera.fy)
    return rig.T_world_cam[:3, 3], direction_3 / np.linalg.norm(direction_3), half_width / focal


def grid(low_3: np.ndarray, high_3: np.ndarray, voxel: float) -> np.ndarray:
    """Return the centres (N, 3) of the voxels that cover a box."""
    counts = np.maximum(np.ceil((high_3 - low_3) / voxel - 1e-9).astype(int), 1)
    axes = [low + voxel * (np.arange(n) + 0.5) for low, n in zip(low_3, counts, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1).reshape(-1, 3)


def carve(views: Views, points_N3: np.ndarray, reach: float, doubters: int = 0) -> np.ndarray:
    """Return in which frames a ball about a point can touch the thing, (F, N) bool.

    No camera may see background only there, and most of them must see the thing.

    Args:
        views: cameras and masks.
        points_N3: centres of the balls in the world.
        reach: their radius in world units.
        doubters: how many cameras may see background all the same.
    """
    frames = len(views.masks)
    against_FN = np.zeros((frames, len(points_N3)), np.uint8)
    seen_FN = np.zeros((frames, len(points_N3)), np.uint8)
    for view, rig in enumerate(views.cameras):
        in_camera_N3 = in_camera(rig, points_N3)
        pixels_N2, visible_N = rig.camera.project(in_camera_N3)
        columns, rows = np.rint(pixels_N2[visible_N]).astype(int).T
        # A pixel more: points are looked up, and outlines drawn, to the nearest pixel.
        reach_N = reach * rig.camera.fx / in_camera_N3[visible_N, 2] + 1.0
        for frame in range(frames):
            touches = views.distances[frame][view][rows, columns] <= reach_N
            against_FN[frame, visible_N] += ~touches
            sure = views.object_distances[frame][view][rows, columns] <= reach_N
            seen_FN[frame, visible_N] += sure
    needed = max(LEAST_CAMERAS, len(views.cameras) // 2 + 1)
    return (against_FN <= doubters) & (seen_FN >= needed)


def in_camera(rig: RigCamera, points_N3: np.ndarray) -> np.ndarray:
    """Return world points (N, 3) in a camera's optical frame."""
    T_cam_world = invert(rig.T_world_cam)
    return points_N3 @ T_cam_world[:3, :3].T + T_cam_world[:3, 3]


def no_hull(whose: str) -> DataError:
    """Return the error for masks that leave nothing."""
    return DataError(
        f'The masks of {whose} meet nowhere in space: its calibration, the times of its frames '
        'or its masks do not fit together.'
    )
