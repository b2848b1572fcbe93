"""The photos that a new map is calibrated with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from posefield.data.scene import Frame, Scene
from posefield.geometry.images import undistort
from posefield.relocalization.hypotheses import HeldOut
from posefield.relocalization.map_bundle import MapBundle
from posefield.relocalization.photos import SizedImage
from posefield.relocalization.query import Query
from posefield.relocalization.sparse_map import SparseMap, sparse_index
from posefield.relocalization.triangulation import View

# Neighbours nearer than this share of the viewing distance are hidden too, photo by photo.
OFF_PATH = (0.0, 0.15, 0.3)
MAX_HIDDEN_SHARE = 0.4


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

    Most are also denied their neighbours, as if the query were off the mapped path: errors grow
    with the distance to the map's photos, and robots do not drive on rails.

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
    for number, keyframe in enumerate(chosen.tolist()):
        row = int(keyframe_rows[keyframe])
        reach = OFF_PATH[number % len(OFF_PATH)]
        hidden = _with_neighbours(bundle, keyframe, reach)
        held_out = HeldOut(
            hidden,
            frozenset(int(keyframe_rows[index]) for index in hidden),
            sparse_index(sparse.without_frames(hidden, views), bundle.transform),
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


def _with_neighbours(bundle: MapBundle, keyframe: int, reach: float) -> frozenset[int]:
    """Return a keyframe and those near it, unless hardly any would be left."""
    poses = np.stack([other.T_field_cam for other in bundle.keyframes])
    distances = np.linalg.norm(poses[:, :3, 3] - poses[keyframe, :3, 3], axis=1)
    near = np.nonzero(distances <= reach * bundle.scene_scale)[0]
    if len(near) > MAX_HIDDEN_SHARE * len(poses):
        return frozenset({keyframe})
    return frozenset(near.tolist())


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
