"""Resampling of images under the one pixel convention of geometry/camera.py."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from posefield.errors import CameraError
from posefield.geometry.camera import Camera


@dataclass(frozen=True)
class _Remapping:
    """Where each pixel of the undistorted image comes from, cut to what the camera saw."""

    map_x_HW: np.ndarray
    map_y_HW: np.ndarray
    camera: Camera


def undistort(image: np.ndarray, camera: Camera) -> tuple[np.ndarray, Camera]:
    """Return the image as an ideal pinhole camera of the same focal lengths would see it.

    A border that the lens never saw is cut off, so every pixel returned is a real one; the
    returned camera has the size and principal point of what is left.

    Args:
        image: (H, W) or (H, W, C), any dtype OpenCV can remap.
        camera: the camera that took it.

    Raises:
        CameraError: when the image's size is not the camera's.
    """
    height, width = image.shape[:2]
    if (width, height) != (camera.width, camera.height):
        raise CameraError(
            f'The image is {width}x{height} but its intrinsics are for '
            f'{camera.width}x{camera.height}.'
        )
    if not camera.is_distorted:
        return image, camera.pinhole()
    remapping = _remapping(camera)
    undistorted = cv2.remap(
        image,
        remapping.map_x_HW,
        remapping.map_y_HW,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return undistorted, remapping.camera


@lru_cache(maxsize=8)
def _remapping(camera: Camera) -> _Remapping:
    distortion = np.asarray(camera.distortion)
    size = (camera.width, camera.height)
    initialise = (
        cv2.fisheye.initUndistortRectifyMap
        if camera.model == 'equidistant'
        else cv2.initUndistortRectifyMap
    )
    map_x, map_y = initialise(camera.K_33, distortion, np.eye(3), camera.K_33, size, cv2.CV_32FC1)
    seen = (
        (map_x >= -0.5)
        & (map_x <= camera.width - 0.5)
        & (map_y >= -0.5)
        & (map_y <= camera.height - 0.5)
    )
    top, bottom, left, right = _full_rectangle(seen)
    window = (slice(top, bottom), slice(left, right))
    return _Remapping(
        np.ascontiguousarray(map_x[window]),
        np.ascontiguousarray(map_y[window]),
        camera.pinhole().cropped(left, top, right - left, bottom - top),
    )


def _full_rectangle(seen_HW: np.ndarray) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) of a large window without an unseen pixel.

    Cuts, line by line, the side with the largest share of unseen pixels.
    """
    top, left = 0, 0
    bottom, right = seen_HW.shape
    while bottom - top > 1 and right - left > 1:
        window = seen_HW[top:bottom, left:right]
        unseen = {
            'top': 1.0 - window[0].mean(),
            'bottom': 1.0 - window[-1].mean(),
            'left': 1.0 - window[:, 0].mean(),
            'right': 1.0 - window[:, -1].mean(),
        }
        worst = max(unseen, key=unseen.get)
        if unseen[worst] == 0.0 and window.all():
            break
        top, bottom = top + (worst == 'top'), bottom - (worst == 'bottom')
        left, right = left + (worst == 'left'), right - (worst == 'right')
    return top, bottom, left, right


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize an image; pixel c maps to (c + 0.5)*s - 0.5 (area averaging when shrinking)."""
    if image.shape[1] == width and image.shape[0] == height:
        return image
    shrinks = width <= image.shape[1] and height <= image.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)


def to_float_rgb(image: np.ndarray) -> np.ndarray:
    """Return an (H, W, 3) float32 image in [0, 1] from uint8 or float, grey or RGB."""
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.dtype == np.uint8:
        return image.astype(np.float32) / 255.0
    return image.astype(np.float32, copy=False)
