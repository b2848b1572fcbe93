"""Where a moving thing can be: the space that all masks agree on, and the scene frame from it.

Only cameras and moments to learn from are used.  Pixels that are unreliable or outside an image
rule nothing out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from posefield.data.multiview import Multiview
from posefield.data.rig_camera import BACKGROUND, LEAST_CAMERAS, OBJECT, RigCamera
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.errors import DataError
from posefield.geometry.poses import invert

# Grid for finding the bounds of the hull, and how often they may be doubled.
COARSE_RESOLUTION = 40
DOUBLINGS = 4
NORMALISATION_FRAMES = 24
# A mask of which more than this is object shows no outline.
FULL_SHARE = 0.999


@dataclass(frozen=True, eq=False)
class VisualHull:
    """The N voxels that can hold the thing in at least one of F frames.

    Attributes:
        points_N3: centres of the voxels in the world.
        occupied_FN: bool; in which frame a voxel can hold the thing.
        frames: indices of the F frames.
        voxel: edge of a voxel in world units.
    """

    points_N3: np.ndarray
    occupied_FN: np.ndarray
    frames: tuple[int, ...]
    voxel: float

    @property
    def centre_3(self) -> np.ndarray:
        """The centroid over frames, in the world."""
        weights_N = self.occupied_FN.sum(axis=0, dtype=np.float64)
        return weights_N @ self.points_N3 / weights_N.sum()

    def radius_about(self, centre_3: np.ndarray) -> float:
        """Return the distance of the furthest voxel's outside from a point, in world units."""
        return float(np.linalg.norm(self.points_N3 - centre_3, axis=1).max()) + self.voxel / 2


@dataclass(frozen=True, eq=False)
class _Views:
    """Training cameras with, per frame, how far each pixel is from where the thing can be.

    Attributes:
        cameras: V of them.
        distances: per frame, per view: (H, W) float32, pixels to the nearest one that is not
            background.
        masks: per frame, per view: (H, W) uint8.
    """

    cameras: tuple[RigCamera, ...]
    distances: list[list[np.ndarray]]
    masks: list[list[np.ndarray]]


def normalise(
    multiview: Multiview, *, radius: float = 1.0, frames: Sequence[int] | None = None
) -> SceneNormalisation:
    """Return the scene frame: the visual hull's centroid over frames is its origin.

    Args:
        multiview: the recording.
        radius: of the sphere about the origin that the hull of all frames together fills.
        frames: which to use; None spreads 24 over those to learn from.

    Raises:
        DataError: as `visual_hull` does.
    """
    hull = visual_hull(multiview, frames)
    centre_3 = hull.centre_3
    return SceneNormalisation(centre_3, radius / hull.radius_about(centre_3))


def visual_hull(
    multiview: Multiview, frames: Sequence[int] | None = None, resolution: int = 64
) -> VisualHull:
    """Carve space by the masks of the training cameras.

    Args:
        multiview: the recording.
        frames: which to use; None spreads 24 over those to learn from.
        resolution: voxels along the longest side of the hull.

    Raises:
        DataError: when a camera sees nothing or its masks are full, or when the masks do not
            meet in space.
    """
    frames = spread(multiview.training_frames) if frames is None else tuple(frames)
    views = _read_views(multiview, frames)
    low_3, high_3 = _bounds(views, str(multiview.root))
    voxel = float((high_3 - low_3).max()) / resolution
    points_N3 = _grid(low_3, high_3, voxel)
    occupied_FN = _carve(views, points_N3, 0.5 * voxel)
    inside_N = occupied_FN.any(axis=0)
    if not inside_N.any():
        raise _no_hull(str(multiview.root))
    _check_all_see(views, points_N3[inside_N], str(multiview.root))
    return VisualHull(points_N3[inside_N], occupied_FN[:, inside_N], frames, voxel)


def spread(frames: Sequence[int], count: int = NORMALISATION_FRAMES) -> tuple[int, ...]:
    """Return at most `count` of the frames, spread evenly from the first to the last."""
    if len(frames) <= count:
        return tuple(frames)
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    return tuple(frames[index] for index in chosen)


def _read_views(multiview: Multiview, frames: tuple[int, ...]) -> _Views:
    """Read the masks and refuse those that outline nothing."""
    views = multiview.training_views
    masks = [[multiview.read_mask(view, frame) for view in views] for frame in frames]
    shares_FV = np.array([[(mask == OBJECT).mean() for mask in row] for row in masks])
    _check_shares(multiview, shares_FV)
    distances = [
        [
            cv2.distanceTransform((mask == BACKGROUND).astype(np.uint8), cv2.DIST_L2, 5)
            for mask in r
        ]
        for r in masks
    ]
    return _Views(tuple(multiview.cameras[view] for view in views), distances, masks)


def _check_shares(multiview: Multiview, shares_FV: np.ndarray) -> None:
    """Raise a DataError for cameras of which no mask has an outline."""
    frames = len(shares_FV)
    if not shares_FV.any():
        raise DataError(
            f'All masks of {multiview.root} are empty ({frames} frames looked at), expected '
            'pixels of 255 at the object.'
        )
    if (shares_FV > FULL_SHARE).all():
        raise DataError(
            f'All masks of {multiview.root} are full ({frames} frames looked at), expected '
            'background of 0 around the object.'
        )
    for view, shares_F in zip(multiview.training_views, shares_FV.T, strict=True):
        name = multiview.cameras[view].name
        if not shares_F.any():
            raise DataError(
                f'The camera {name} of {multiview.root} sees nothing: its masks are empty in all '
                f'{frames} frames looked at; leave it out.'
            )
        if (shares_F > FULL_SHARE).all():
            raise DataError(
                f'The masks of camera {name} of {multiview.root} are full in all {frames} frames '
                'looked at; leave it out or mask its background.'
            )


def _bounds(views: _Views, whose: str) -> tuple[np.ndarray, np.ndarray]:
    """Return opposite corners (3), (3) of a box in the world that the hull just fits in."""
    centre_3, half = _first_guess(views, whose)
    for _ in range(DOUBLINGS):
        voxel = 2 * half / COARSE_RESOLUTION
        points_N3 = _grid(centre_3 - half, centre_3 + half, voxel)
        inside_N = _carve(views, points_N3, 0.5 * np.sqrt(3) * voxel).any(axis=0)
        if not inside_N.any():
            raise _no_hull(whose)
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


def _first_guess(views: _Views, whose: str) -> tuple[np.ndarray, float]:
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


def _grid(low_3: np.ndarray, high_3: np.ndarray, voxel: float) -> np.ndarray:
    """Return the centres (N, 3) of the voxels that cover a box."""
    counts = np.maximum(np.ceil((high_3 - low_3) / voxel - 1e-9).astype(int), 1)
    axes = [low + voxel * (np.arange(n) + 0.5) for low, n in zip(low_3, counts, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1).reshape(-1, 3)


def _carve(views: _Views, points_N3: np.ndarray, reach: float) -> np.ndarray:
    """Return in which frames a ball of this radius about a point can touch the thing, (F, N).

    No camera may see it on background only, and two must see it at all.
    """
    frames = len(views.masks)
    possible_FN = np.ones((frames, len(points_N3)), bool)
    seen_FN = np.zeros((frames, len(points_N3)), np.uint8)
    for view, rig in enumerate(views.cameras):
        in_camera_N3 = _in_camera(rig, points_N3)
        pixels_N2, visible_N = rig.camera.project(in_camera_N3)
        columns, rows = np.rint(pixels_N2[visible_N]).astype(int).T
        # A pixel more: points are looked up, and outlines drawn, to the nearest pixel.
        reach_N = reach * rig.camera.fx / in_camera_N3[visible_N, 2] + 1.0
        for frame in range(frames):
            touches = views.distances[frame][view][rows, columns] <= reach_N
            possible_FN[frame, visible_N] &= touches
            seen_FN[frame, visible_N] += touches
    return possible_FN & (seen_FN >= LEAST_CAMERAS)


def _check_all_see(views: _Views, points_N3: np.ndarray, whose: str) -> None:
    """Raise a DataError for a camera in whose images nothing of the hull is."""
    for rig in views.cameras:
        _, visible_N = rig.camera.project(_in_camera(rig, points_N3))
        if not visible_N.any():
            raise DataError(
                f'The camera {rig.name} of {whose} has an object in its masks, but looks past the '
                'one that the other cameras see; its pose or its masks are wrong.'
            )


def _in_camera(rig: RigCamera, points_N3: np.ndarray) -> np.ndarray:
    T_cam_world = invert(rig.T_world_cam)
    return points_N3 @ T_cam_world[:3, :3].T + T_cam_world[:3, 3]


def _no_hull(whose: str) -> DataError:
    return DataError(
        f'The masks of {whose} meet nowhere in space: its calibration, the times of its frames '
        'or its masks do not fit together.'
    )
