"""Backgrounds on disk: `backgrounds/<camera>.png`, transparent where nothing is known."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from posefield.data.background import Background
from posefield.errors import DataError

BACKGROUND_FOLDER = 'backgrounds'


def write_backgrounds(folder: Path, backgrounds: Mapping[str, Background]) -> None:
    """Write backgrounds into a folder that exists.

    Raises:
        DataError: for a file that cannot be written.
    """
    for name, background in backgrounds.items():
        path = folder / BACKGROUND_FOLDER / f'{name}.png'
        path.parent.mkdir(exist_ok=True)
        colours = np.rint(background.colours_HW3).clip(0, 255).astype(np.uint8)
        alpha = 255 * background.known_HW.astype(np.uint8)
        if not cv2.imwrite(str(path), np.dstack([colours[..., ::-1], alpha])):
            raise DataError(f'The background {path} could not be written.')


def read_backgrounds(folder: Path) -> dict[str, Background]:
    """Return the backgrounds that lie in a folder, by camera; none where there are none.

    Raises:
        DataError: for a picture that does not open.
    """
    backgrounds = {}
    for path in sorted((folder / BACKGROUND_FOLDER).glob('*.png')):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.ndim != 3 or pixels.dtype != np.uint8:
            raise DataError(f'The background {path} does not open as a colour picture.')
        known_HW = np.ones(pixels.shape[:2], bool)
        if pixels.shape[2] == 4:
            known_HW = pixels[..., 3] > 127
        backgrounds[path.stem] = Background(pixels[..., 2::-1].astype(np.float32), known_HW)
    return backgrounds
