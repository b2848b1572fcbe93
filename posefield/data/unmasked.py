"""From pictures of cameras that stand still to a recording with masks.

Pictures are undistorted and kept in a folder for the while.  Each camera's background is found,
the object is what differs from it, what the other cameras contradict is unreliable, and the
pictures are cut to where the object ever is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from posefield.data.background import Background, SubtractionConfig, subtract
from posefield.data.background_video import background_of_video
from posefield.data.image_files import read_rgb, write_rgb
from posefield.data.mask_agreement import disagreeing
from posefield.data.recording import ReadView, resize_mask
from posefield.data.rig_camera import OBJECT, UNRELIABLE, RigCamera
from posefield.errors import DataError
from posefield.geometry.camera import Camera
from posefield.geometry.images import resize, undistort

# Told how many of how many pictures have a mask.
OnMask = Callable[[int, int], None]


@dataclass(frozen=True)
class MaskingConfig:
    """How masks are made.

    Attributes:
        method: `video` finds the background of a video which the object never leaves, `median`
            takes the median over time.
        subtraction: how a picture is compared with the background.
        samples: pictures from which the background is found.
        side: pixels of the longer side of masks.
        margin: share of the longer side of the object's box that is kept around it.
        crop: whether pictures are cut to where the object is.

    Raises:
        DataError: for an unknown method.
    """

    method: str = 'video'
    subtraction: SubtractionConfig = SubtractionConfig()
    samples: int = 50
    side: int = 512
    margin: float = 0.08
    crop: bool = True

    def __post_init__(self):
        if self.method not in ('video', 'median'):
            raise DataError(
                f'The background must be found by video or median, got {self.method!r}.'
            )


@dataclass(frozen=True, eq=False)
class Unmasked:
    """Undistorted pictures in a folder.

    Attributes:
        folder: with `<camera>/<frame>.png`.
        cameras: V of them, undistorted.
        frames: T of each.
    """

    folder: Path
    cameras: tuple[RigCamera, ...]
    frames: int

    def picture(self, view: int, frame: int) -> np.ndarray:
        """Return a picture, (H, W, 3) uint8 RGB."""
        return read_rgb(kept_file(self.folder, self.cameras[view].name, frame))


def keep_pictures(
    folder: Path,
    name: str,
    pictures: Iterable[np.ndarray],
    camera: Camera,
    T_world_cam: np.ndarray,
    longest_side: int | None,
) -> tuple[RigCamera, int]:
    """Undistort pictures (H, W, 3) uint8 of one camera into a folder.

    Args:
        folder: where `<name>/<frame>.png` are written.
        name: of the camera.
        pictures: in order.
        camera: that took them.
        T_world_cam: (4, 4) its pose.
        longest_side: pixels that the longer side of what is kept has at most; None keeps all.

    Returns:
        the camera of what was written, and how many pictures there were.
    """
    kept, count = camera.pinhole(), 0
    for picture in pictures:
        picture, kept = plain_picture(picture, camera, longest_side)
        write_rgb(kept_file(folder, name, count), picture)
        count += 1
    return RigCamera(name, kept, T_world_cam), count


def plain_picture(
    picture: np.ndarray, camera: Camera, longest_side: int | None
) -> tuple[np.ndarray, Camera]:
    """Return a picture (H, W, 3) uint8 undistorted and not larger than wanted, and its camera."""
    picture, kept = undistort(picture, camera)
    if longest_side is not None and longest_side < max(kept.width, kept.height):
        scale = longest_side / max(kept.width, kept.height)
        kept = kept.resized(round(kept.width * scale), round(kept.height * scale))
    return resize(picture, kept.width, kept.height), kept


def kept_file(folder: Path, name: str, frame: int) -> Path:
    """Return where the picture of a camera lies while it is kept."""
    return folder / name / f'{frame:06d}.png'


def masked(
    unmasked: Unmasked,
    backgrounds: Mapping[str, Background],
    config: MaskingConfig,
    on_mask: OnMask | None = None,
) -> tuple[tuple[RigCamera, ...], ReadView]:
    """Return cameras cut to the object, and what gives their images and masks.

    Args:
        unmasked: the pictures.
        backgrounds: what cameras see without the object, undistorted; cameras without one have
            theirs found.
        config: how.
        on_mask: is told about progress.

    Raises:
        DataError: when nothing moves before a camera.
    """
    masks = [
        _masks_of_view(unmasked, view, backgrounds.get(rig.name), config, on_mask)
        for view, rig in enumerate(unmasked.cameras)
    ]
    small_cameras = [
        replace(rig, camera=rig.camera.resized(masks[view][0].shape[1], masks[view][0].shape[0]))
        for view, rig in enumerate(unmasked.cameras)
    ]
    for frame in range(unmasked.frames):
        of_frame = [masks_T[frame] for masks_T in masks]
        for mask, wrong in zip(of_frame, disagreeing(small_cameras, of_frame), strict=True):
            mask[wrong & (mask == OBJECT)] = UNRELIABLE
    windows = [
        _window(rig, masks_T, config) for rig, masks_T in zip(unmasked.cameras, masks, strict=True)
    ]
    cameras = tuple(
        replace(rig, camera=rig.camera.cropped(*window))
        for rig, window in zip(unmasked.cameras, windows, strict=True)
    )

    def read(view: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        x, y, width, height = windows[view]
        picture = unmasked.picture(view, frame)
        mask = masks[view][frame]
        mask = cv2.resize(mask, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        part = slice(y, y + height), slice(x, x + width)
        return picture[part], mask[part]

    return cameras, read


def _masks_of_view(
    unmasked: Unmasked,
    view: int,
    background: Background | None,
    config: MaskingConfig,
    on_mask: OnMask | None,
) -> list[np.ndarray]:
    """Return the masks of one camera at the size for masks."""
    rig, frames = unmasked.cameras[view], unmasked.frames
    if background is None:
        background = find_background(unmasked, view, config)
    size = _mask_size(rig, config)
    background = background.resized(*size)
    masks = []
    for frame in range(frames):
        picture = resize(unmasked.picture(view, frame), *size)
        masks.append(subtract(picture, background, config.subtraction))
        if on_mask is not None:
            on_mask(view * frames + frame + 1, len(unmasked.cameras) * frames)
    if not any((mask == OBJECT).any() for mask in masks):
        raise DataError(
            f'Nothing moves before the camera {rig.name}: none of its {frames} pictures differs '
            'from its background.'
        )
    return masks


def find_background(unmasked: Unmasked, view: int, config: MaskingConfig) -> Background:
    """Return what a camera sees without the object, at the size for masks."""
    count = min(config.samples, unmasked.frames)
    chosen = np.linspace(0, unmasked.frames - 1, count).round().astype(int)
    size = _mask_size(unmasked.cameras[view], config)
    samples_T = np.stack([resize(unmasked.picture(view, index), *size) for index in chosen])
    if config.method == 'median':
        return Background.of_median(samples_T)
    return background_of_video(samples_T)


def _mask_size(rig: RigCamera, config: MaskingConfig) -> tuple[int, int]:
    """Return width and height of the masks of a camera."""
    scale = min(1.0, config.side / max(rig.camera.width, rig.camera.height))
    return round(rig.camera.width * scale), round(rig.camera.height * scale)


def _window(
    rig: RigCamera, masks_T: Sequence[np.ndarray], config: MaskingConfig
) -> tuple[int, int, int, int]:
    """Return x, y, width, height in pixels of the pictures: where the object ever is."""
    camera = rig.camera
    if not config.crop:
        return 0, 0, camera.width, camera.height
    ever = np.any([mask == OBJECT for mask in masks_T], axis=0)
    full = resize_mask(ever.astype(np.uint8), camera.width, camera.height)
    rows, columns = np.nonzero(full == OBJECT)
    margin = round(config.margin * max(np.ptp(rows), np.ptp(columns))) + 1
    x, y = max(columns.min() - margin, 0), max(rows.min() - margin, 0)
    right = min(columns.max() + margin + 1, camera.width)
    bottom = min(rows.max() + margin + 1, camera.height)
    return int(x), int(y), int(right - x), int(bottom - y)
