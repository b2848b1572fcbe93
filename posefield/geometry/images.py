"""Resampling of images under the one pixel convention of geometry/camera.py."""

import cv2
import numpy as np

from posefield.errors import CameraError
from posefield.geometry.camera import Camera


def undistort(image: np.ndarray, camera: Camera) -> tuple[np.ndarray, Camera]:
    """Return the image as the ideal pinhole camera of the same intrinsics would see it.

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
    distortion = np.asarray(camera.distortion)
    size = (width, height)
    initialise = (
        cv2.fisheye.initUndistortRectifyMap
        if camera.model == 'equidistant'
        else cv2.initUndistortRectifyMap
    )
    map_x, map_y = initialise(
        camera.K_33, distortion, np.eye(3), camera.K_33, size, cv2.CV_32FC1
    )
    return cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR), camera.pinhole()


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
