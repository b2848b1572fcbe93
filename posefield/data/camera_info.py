"""sensor_msgs/CameraInfo to Camera, for messages of rclpy and of bags, without ROS."""

from typing import Any

import numpy as np

from posefield.errors import CameraError
from posefield.geometry.camera import Camera


def camera_from_info(info: Any, *, rectified: bool = False) -> Camera:
    """Return the camera of the images that come with this calibration.

    Args:
        info: sensor_msgs/CameraInfo of ROS 2 or ROS 1 for the full resolution; its region of
            interest and binning are applied.
        rectified: whether the images are rectified: then P holds and there is no distortion.

    Raises:
        CameraError: for an uncalibrated camera and for numbers that describe none.
    """
    K, P = _numbers(info, 'k'), _numbers(info, 'p')
    if K[0] == 0.0:
        raise CameraError(
            'The camera is not calibrated: camera_info has K[0] = 0, expected a focal length.'
        )
    if info.width == 0 or info.height == 0:
        raise CameraError(f'camera_info has the size {info.width}x{info.height}.')
    if rectified:
        fx, fy, cx, cy = P[0], P[5], P[2], P[6]
        model, distortion = 'pinhole', ()
    else:
        fx, fy, cx, cy = K[0], K[4], K[2], K[5]
        model, distortion = _distortion(info)
    camera = Camera(int(info.width), int(info.height), fx, fy, cx, cy, model, distortion)
    return _binned(_windowed(camera, info), info)


def _numbers(info: Any, name: str) -> list[float]:
    """Return an array of the message; ROS 1 writes its name in capitals."""
    values = getattr(info, name) if hasattr(info, name) else getattr(info, name.upper())
    return np.asarray(values, dtype=np.float64).ravel().tolist()


def _distortion(info: Any) -> tuple[str, tuple[float, ...]]:
    """Return model and coefficients; drivers send all zeros, of any number, for no distortion."""
    coefficients = _numbers(info, 'd')
    if info.distortion_model != 'equidistant' and not any(coefficients):
        return 'pinhole', ()
    return info.distortion_model, tuple(coefficients)


def _windowed(camera: Camera, info: Any) -> Camera:
    roi = info.roi
    if roi.width == 0 and roi.height == 0:
        return camera
    if (
        min(roi.width, roi.height) == 0
        or roi.x_offset + roi.width > info.width
        or roi.y_offset + roi.height > info.height
    ):
        raise CameraError(
            f'The region of interest of camera_info, {roi.width}x{roi.height} at '
            f'({roi.x_offset}, {roi.y_offset}), is not inside {info.width}x{info.height}.'
        )
    return camera.cropped(roi.x_offset, roi.y_offset, roi.width, roi.height)


def _binned(camera: Camera, info: Any) -> Camera:
    """Return the camera with binning_x times binning_y pixels made one (0 means 1)."""
    x, y = max(info.binning_x, 1), max(info.binning_y, 1)
    if x == 1 and y == 1:
        return camera
    if camera.width < x or camera.height < y:
        raise CameraError(f'camera_info bins {x}x{y} pixels of {camera.width}x{camera.height}.')
    return camera.cropped(0, 0, camera.width // x * x, camera.height // y * y).resized(
        camera.width // x, camera.height // y
    )
