"""The one small view that regressor and retrieval look at, whatever camera took the image."""

import cv2
import numpy as np

from posefield.geometry.camera import Camera
from posefield.relocalization.photos import SizedImage


def reference_camera(cameras: list[Camera], short_side: int) -> Camera:
    """Return the median pinhole of the training photos at a small size."""
    widths = sorted(camera.width / camera.height for camera in cameras)
    middle = widths[len(widths) // 2]
    chosen = next(camera for camera in cameras if camera.width / camera.height == middle)
    return chosen.pinhole().with_short_side(short_side)


def to_reference_view(image: SizedImage, camera: Camera) -> np.ndarray:
    """Return the image as `camera` would see it, (h, w, 3) float32; unseen parts repeat the edge.

    Both are pinholes, so this is a scaling and a shift.
    """
    ratio = min(1.0, 2.0 * camera.fx / image.camera.fx, 2.0 * camera.fy / image.camera.fy)
    # First to at most twice the size by area averaging, against aliasing.
    short_side = round(min(image.camera.width, image.camera.height) * ratio)
    image = image.with_short_side(max(short_side, 2))
    source = image.camera
    sx, sy = source.fx / camera.fx, source.fy / camera.fy
    matrix = np.array(
        [[sx, 0.0, source.cx - sx * camera.cx], [0.0, sy, source.cy - sy * camera.cy]]
    )
    blurred = cv2.GaussianBlur(image.image_HW3, (0, 0), 0.5 * max(sx, sy))
    return cv2.warpAffine(
        blurred,
        matrix,
        (camera.width, camera.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
