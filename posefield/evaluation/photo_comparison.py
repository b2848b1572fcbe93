"""Comparing what a method shows with the photos that were held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from posefield.data.multiview import Multiview
from posefield.data.rig_camera import RigCamera
from posefield.data.visual_hull import spread
from posefield.errors import DataError
from posefield.evaluation.image_metrics import ImageScore, Lpips, score_image

SEGMENTATION_FOLDER = 'segmentation'


class Rendered(Protocol):
    """The part of a rendering that evaluation reads: parts are -1 where nothing is."""

    colours_HW3: np.ndarray
    opacities_HW: np.ndarray
    parts_HW: np.ndarray


# What a method shows of a frame in a camera.
ShowFrame = Callable[[RigCamera, int], Rendered]
# Told the view, the frame and the rendering of every photo.
Watch = Callable[[int, int, Rendered], None]


@dataclass(frozen=True)
class Photos:
    """Which photos a model is measured on, as (view, frame).

    Attributes:
        views: of held-out cameras, at frames that were learned.
        poses: of held-out frames; by held-out cameras, or by all where none is held out.
    """

    views: tuple[tuple[int, int], ...]
    poses: tuple[tuple[int, int], ...]


def choose_photos(multiview: Multiview, learned: Sequence[int], per_camera: int) -> Photos:
    """Return photos spread evenly over the frames.

    Args:
        multiview: where they are from.
        learned: frames that the model learned.
        per_camera: photos of each camera, in each of the two sets.
    """
    everyone = tuple(range(len(multiview.cameras)))
    at_learned = spread(learned, per_camera)
    at_held_out = spread(multiview.held_out_frames_sorted, per_camera)
    return Photos(
        tuple((view, frame) for view in multiview.held_out_views for frame in at_learned),
        tuple(
            (view, frame) for view in multiview.held_out_views or everyone for frame in at_held_out
        ),
    )


def compare_photos(
    multiview: Multiview,
    photos: Sequence[tuple[int, int]],
    show: ShowFrame,
    lpips: Lpips | None = None,
    watch: Watch | None = None,
) -> list[ImageScore]:
    """Return the score of every photo."""
    scores = []
    for view, frame in photos:
        rendered = show(multiview.cameras[view], frame)
        photo = multiview.read_masked(view, frame)
        shown = (rendered.colours_HW3, rendered.opacities_HW)
        scores.append(score_image(view, frame, shown, photo, lpips))
        if watch is not None:
            watch(view, frame, rendered)
    return scores


def segmentation_path(multiview: Multiview, view: int, frame: int) -> Path:
    """Return where the true links of a photo lie."""
    name = multiview.cameras[view].name
    return multiview.root / SEGMENTATION_FOLDER / name / f'{frame:06d}.png'


def read_links(multiview: Multiview, view: int, frame: int) -> np.ndarray:
    """Return the true link of every pixel, (H, W); -1 is the background.

    Raises:
        DataError: when the file does not open.
    """
    path = segmentation_path(multiview, view, frame)
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if image is None or image.ndim != 2:
        raise DataError(f'The segmentation {path} does not open as an image of link numbers.')
    return image.astype(np.int64) - 1
