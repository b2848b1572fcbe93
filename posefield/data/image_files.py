"""Image files: their size from the header alone, and their pixels as stored."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from posefield.errors import DataError

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg')


def image_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels of an image file without decoding it.

    Raises:
        DataError: when the file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f'The image {path} does not open: {error}.') from error


def read_rgb(path: Path) -> np.ndarray:
    """Return the pixels of an image file, (H, W, 3) uint8 RGB.

    An orientation noted in the file is ignored: intrinsics are for the pixels as stored.

    Raises:
        DataError: when the file is missing, cut short or not an image.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image_bgr = cv2.imread(str(path), flags) if Path(path).is_file() else None
    if image_bgr is None:
        raise DataError(f'The image {path} does not open: it is missing, cut short or no image.')
    return cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)


def write_rgb(path: Path, image: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 RGB image; the suffix of the name says the format.

    Raises:
        DataError: when the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise DataError(f'The image {path} could not be written.')
