"""From what a camera sends to what tracking compares: undistorted, small, with a mask."""

import numpy as np

from posefield.articulation.tracking import TrackedView
from posefield.data.background import Background, subtract
from posefield.data.rig_camera import mask_of_grey
from posefield.geometry.camera import Camera
from posefield.geometry.images import resize, to_float_rgb, undistort


def live_view(
    image: np.ndarray,
    mask_grey: np.ndarray | None,
    camera: Camera,
    T_world_cam: np.ndarray,
    *,
    short_side: int,
    background: Background | None = None,
) -> TrackedView:
    """Return a view to track in.

    Args:
        image: (H, W, 3) uint8 RGB as it came.
        mask_grey: (H, W) uint8: 0 background, 255 object, 128 unknown; None where none came.
        camera: of both.
        T_world_cam: (4, 4).
        short_side: pixels that the view has at most on its short side.
        background: what the camera sees without the thing, undistorted and whole, at any size;
            where there is neither mask nor background, the background must be plain and as in the
            images that were learned.

    Raises:
        CameraError: when the image's size is not the camera's.
    """
    picture, pinhole = undistort(image, camera)
    small = pinhole
    if min(pinhole.width, pinhole.height) > short_side:
        small = pinhole.with_short_side(short_side)
    size = small.width, small.height
    picture = resize(picture, *size)
    mask_HW = None
    if mask_grey is not None:
        mask_HW = mask_of_grey(resize(undistort(mask_grey, camera)[0], *size))
    elif background is not None:
        mask_HW = subtract(picture, background.resized(*size))
    return TrackedView(to_float_rgb(picture), mask_HW, small, T_world_cam)
