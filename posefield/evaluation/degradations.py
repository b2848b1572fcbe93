"""What a robot's camera does to images: blur, darkness, noise, occlusion, a narrow view.

Sizes are pixels of an image whose short side has 240 and scale with the image, so that a
degradation hides the same part of the scene at every resolution.
"""

from collections.abc import Callable
from functools import partial
import math

import cv2
import numpy as np

from posefield.errors import DataError
from posefield.features.blur import line_kernel
from posefield.geometry.camera import Camera

REFERENCE_SHORT_SIDE = 240

Degradation = Callable[[np.ndarray, Camera, np.random.Generator], tuple[np.ndarray, Camera]]


def _scale(image: np.ndarray) -> float:
    return min(image.shape[:2]) / REFERENCE_SHORT_SIDE


def _motion_blur(
    image: np.ndarray, camera: Camera, generator: np.random.Generator, length: float
) -> tuple[np.ndarray, Camera]:
    """Average along a line of random direction."""
    length = length * _scale(image)
    angle = generator.uniform(0.0, math.pi)
    kernel = line_kernel(length, angle)
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE), camera


def _defocus(
    image: np.ndarray, camera: Camera, generator: np.random.Generator, sigma: float
) -> tuple[np.ndarray, Camera]:
    blurred = cv2.GaussianBlur(
        image, (0, 0), sigma * _scale(image), borderType=cv2.BORDER_REPLICATE
    )
    return blurred, camera


def _noise(
    image: np.ndarray, camera: Camera, generator: np.random.Generator, sigma: float
) -> tuple[np.ndarray, Camera]:
    """Add grain of `sigma` grey levels (of 255), one grain a pixel at the reference size."""
    height, width = image.shape[:2]
    scale = max(1.0, _scale(image))
    grains = (max(1, round(height / scale)), max(1, round(width / scale)), 3)
    grain = generator.normal(0.0, sigma / 255.0, grains).astype(np.float32)
    grain = cv2.resize(grain, (width, height), interpolation=cv2.INTER_NEAREST)
    return _quantised(image + grain), camera


def _dark_noise(
    image: np.ndarray, camera: Camera, generator: np.random.Generator
) -> tuple[np.ndarray, Camera]:
    """Keep one eighth of the light and add noise of 4 grey levels."""
    return _noise(image / 8.0, camera, generator, sigma=4.0)


def _gamma(
    image: np.ndarray, camera: Camera, generator: np.random.Generator
) -> tuple[np.ndarray, Camera]:
    return _quantised(image**2.2), camera


def _occlusion(
    image: np.ndarray, camera: Camera, generator: np.random.Generator
) -> tuple[np.ndarray, Camera]:
    """Hide a quarter of the image behind a flat block at a random place."""
    height, width = image.shape[:2]
    block_height, block_width = height // 2, width // 2
    top = int(generator.integers(0, height - block_height + 1))
    left = int(generator.integers(0, width - block_width + 1))
    occluded = image.copy()
    occluded[top : top + block_height, left : left + block_width] = generator.uniform(0.2, 0.8, 3)
    return occluded, camera


def _jpeg(
    image: np.ndarray, camera: Camera, generator: np.random.Generator, quality: int
) -> tuple[np.ndarray, Camera]:
    """Compress at the reference size, so that a block hides as much of every image."""
    height, width = image.shape[:2]
    scale = max(1.0, _scale(image))
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    small = cv2.resize(np.round(image * 255).astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    large = cv2.resize(decoded, (width, height), interpolation=cv2.INTER_LINEAR)
    return large.astype(np.float32) / 255.0, camera


def _crop(
    image: np.ndarray, camera: Camera, generator: np.random.Generator, share: float
) -> tuple[np.ndarray, Camera]:
    """Keep the middle of the image, as a longer lens would."""
    height, width = (max(1, round(size * share)) for size in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    window = np.ascontiguousarray(image[top : top + height, left : left + width])
    return window, camera.cropped(left, top, width, height)


def _quantised(image: np.ndarray) -> np.ndarray:
    """Return the image as 8-bit values would hold it."""
    return (np.round(np.clip(image, 0.0, 1.0) * 255) / 255).astype(np.float32)


DEGRADATIONS: dict[str, Degradation] = {
    'motion_blur_9': partial(_motion_blur, length=9),
    'motion_blur_15': partial(_motion_blur, length=15),
    'motion_blur_21': partial(_motion_blur, length=21),
    'defocus_3': partial(_defocus, sigma=3.0),
    'dark_noise': _dark_noise,
    'noise_30': partial(_noise, sigma=30.0),
    'gamma': _gamma,
    'occlusion': _occlusion,
    'jpeg_10': partial(_jpeg, quality=10),
    'crop_40': partial(_crop, share=0.4),
}


def degradation(name: str) -> Degradation:
    """Return the degradation of this name.

    It takes an (H, W, 3) float32 RGB image in [0, 1], its camera and a generator and returns
    a new image and its camera.

    Raises:
        DataError: for a name that does not exist.
    """
    if name not in DEGRADATIONS:
        raise DataError(
            f'Unknown degradation {name!r}, expected one of {", ".join(DEGRADATIONS)}.'
        )
    return DEGRADATIONS[name]
