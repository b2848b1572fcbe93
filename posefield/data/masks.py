"""Masks of static pixels: which pixels of a photo show the place and not what passes by.

A mask is a picture of its photo's size, brighter than 127 where the place is seen (nerfstudio and
COLMAP have it so too).  The mask of `images/a/1.jpg` is `masks/a/1.jpg.png` or `masks/a/1.png`.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from posefield.data.image_files import image_size
from posefield.errors import DataError

MASK_FOLDER = 'masks'
STATIC_ABOVE = 127


def find_masks(source: Path, names: Iterable[str]) -> dict[str, Path]:
    """Return the masks of those images that have one, by the names of the images.

    Args:
        source: folder that may hold a folder `masks`.
        names: of the images.

    Raises:
        DataError: when there is such a folder, but no mask of any of the images in it.
    """
    folder = source / MASK_FOLDER
    names = list(names)
    if not folder.is_dir() or not names:
        return {}
    masks = {}
    for name in names:
        candidates = (folder / f'{name}.png', folder / PurePosixPath(name).with_suffix('.png'))
        found = next((path for path in candidates if path.is_file()), None)
        if found is not None:
            masks[name] = found
    if not masks:
        raise DataError(
            f'The folder {folder} has no mask of any of the {len(names)} images, expected '
            f'{names[0]}.png for the first.'
        )
    return masks


def check_mask_size(path: Path, size: tuple[int, int]) -> None:
    """Check a mask's header alone.

    Args:
        path: the mask.
        size: (width, height) of its image in pixels.

    Raises:
        DataError: when it is missing, no picture (such as an empty file), or of another size.
    """
    try:
        found = image_size(path)
    except DataError as error:
        raise DataError(
            f'The mask {path} does not open: it is missing, empty or no picture.'
        ) from error
    if found != size:
        raise DataError(
            f'The mask {path} is {found[0]}x{found[1]} but its image is {size[0]}x{size[1]}.'
        )


def read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return the static pixels, (H, W) bool.

    Args:
        path: the mask.
        size: (width, height) of its image in pixels.

    Raises:
        DataError: when it is missing, no picture, of another size, or without a static pixel.
    """
    check_mask_size(path, size)
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
    brightness = cv2.imread(str(path), flags)
    if brightness is None:
        raise DataError(f'The mask {path} does not open: it is cut short or no picture.')
    static = brightness > STATIC_ABOVE
    if not static.any():
        raise DataError(
            f'The mask {path} has no static pixel: none is brighter than {STATIC_ABOVE}, the '
            f'brightest is {brightness.max()}.'
        )
    return static
