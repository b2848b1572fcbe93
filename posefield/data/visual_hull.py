"""Where a moving thing can be: the space that all masks agree on, and the scene frame from it.

Only cameras and moments to learn from are used.  Pixels that are unreliable or outside an image
rule nothing out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posefield.data.multiview import Multiview
from posefield.data.rig_camera import OBJECT
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.data.space_carving import Views, carve, find_bounds, grid, in_camera, no_hull
from posefield.errors import DataError

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
    low_3, high_3 = find_bounds(views, str(multiview.root))
    voxel = float((high_3 - low_3).max()) / resolution
    points_N3 = grid(low_3, high_3, voxel)
    occupied_FN = carve(views, points_N3, 0.5 * voxel)
    inside_N = occupied_FN.any(axis=0)
    if not inside_N.any():
        raise no_hull(str(multiview.root))
    _check_all_see(views, points_N3[inside_N], str(multiview.root))
    return VisualHull(points_N3[inside_N], occupied_FN[:, inside_N], frames, voxel)


def spread(frames: Sequence[int], count: int = NORMALISATION_FRAMES) -> tuple[int, ...]:
    """Return at most `count` of the frames, spread evenly from the first to the last."""
    if len(frames) <= count:
        return tuple(frames)
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    return tuple(frames[index] for index in chosen)


def _read_views(multiview: Multiview, frames: tuple[int, ...]) -> Views:
    """Read the masks and refuse those that outline nothing."""
    views = multiview.training_views
    masks = [[multiview.read_mask(view, frame) for view in views] for frame in frames]
    shares_FV = np.array([[(mask == OBJECT).mean() for mask in row] for row in masks])
    _check_shares(multiview, shares_FV)
    return Views.of_masks([multiview.cameras[view] for view in views], masks)


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


def _check_all_see(views: Views, points_N3: np.ndarray, whose: str) -> None:
    """Raise a DataError for a camera in whose images nothing of the hull is."""
    for rig in views.cameras:
        _, visible_N = rig.camera.project(in_camera(rig, points_N3))
        if not visible_N.any():
            raise DataError(
                f'The camera {rig.name} of {whose} has an object in its masks, but looks past the '
                'one that the other cameras see; its pose or its masks are wrong.'
            )
