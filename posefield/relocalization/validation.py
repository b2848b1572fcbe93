"""The photos that a new map is calibrated with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from posefield.data.scene import Frame, Scene
from posefield.geometry.images import undistort
from posefield.relocalization.ladder import HeldOut
from posefield.relocalization.map_bundle import MapBundle
from posefield.relocalization.photos import SizedImage
from posefield.relocalization.query import Query
from posefield.relocalization.sparse_map import SparseMap, sparse_index
from posefield.relocalization.triangulation import View


@dataclass(frozen=True)
class ValidationPhoto:
    """A photo of known pose (field frame) and what it must not see of itself."""

    query: Query
    T_field_cam: np.ndarray
    held_out: HeldOut


def held_out_photos(
    bundle: MapBundle,
    frames: Sequence[Frame],
    keyframe_rows: np.ndarray,
    sparse: SparseMap,
    views: list[View],
    count: int,
    device: torch.device,
) -> list[ValidationPhoto]:
    """Return keyframes spread over the map, to be localized as if never seen.

    Args:
        bundle: of the map.
        frames: training frames; a frame's row is also its reference view's.
        keyframe_rows: row of each keyframe.
        sparse: of the keyframes; views: their cameras.
        count: photos wanted.
        device: of the queries.
    """
    chosen = _spread(np.arange(len(keyframe_rows)), count)
    photos = []
    for keyframe in chosen.tolist():
        row = int(keyframe_rows[keyframe])
        held_out = HeldOut(
            frozenset({keyframe}),
            frozenset({row}),
            sparse_index(sparse.without_frame(keyframe, views), bundle.transform),
        )
        photos.append(_photo(bundle, frames[row], held_out, device))
    return photos


def split_photos(
    bundle: MapBundle, scene: Scene, count: int, device: torch.device
) -> list[ValidationPhoto]:
    """Return photos spread over the scene's `val` split; none where it has no such split."""
    if 'val' not in scene.splits:
        return []
    frames = [frame for frame in scene.split('val') if frame.T_map_cam is not None]
    chosen = _spread(np.arange(len(frames)), count)
    return [_photo(bundle, frames[row], HeldOut(), device) for row in chosen.tolist()]


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]


def _photo(
    bundle: MapBundle, frame: Frame, held_out: HeldOut, device: torch.device
) -> ValidationPhoto:
    image = SizedImage(*undistort(frame.read_image(), frame.camera))
    return ValidationPhoto(
        Query(image, bundle.extractor, device),
        bundle.transform.camera_to_field(frame.T_map_cam),
        held_out,
    )
