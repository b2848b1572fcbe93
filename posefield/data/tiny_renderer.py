"""PyBullet's software renderer with exact cameras.

Worker processes import this: nothing in it may need torch, which takes seconds to import.
"""

from collections.abc import Callable, Iterator
import contextlib
import ctypes
from dataclasses import dataclass
import os
import sys
import tempfile
from typing import TYPE_CHECKING

import numpy as np

from posefield.errors import DataError

if TYPE_CHECKING:
    from posefield.geometry.camera import Camera

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2


@dataclass(frozen=True)
class GlView:
    """A camera at a place, as `pybullet.getCameraImage` takes it.

    Attributes:
        width, height: pixels.
        view_matrix, projection_matrix: 16 numbers each, column by column.
    """

    width: int
    height: int
    view_matrix: tuple[float, ...]
    projection_matrix: tuple[float, ...]

    @classmethod
    def of(cls, camera: 'Camera', T_world_cam: np.ndarray, *, near: float, far: float) -> 'GlView':
        """Return the view of a pinhole camera, which sees from `near` to `far` along its axis."""
        return cls(
            camera.width,
            camera.height,
            tuple(_view_matrix(T_world_cam)),
            tuple(_projection_matrix(camera, near, far)),
        )


def import_pybullet():
    """Return the module `pybullet`.

    Raises:
        DataError: when it is not installed.
    """
    try:
        with captured(STANDARD_ERROR):
            import pybullet
    except ImportError as error:
        raise DataError(
            'Simulating needs PyBullet, which is not installed: pip install "posefield[sim]".'
        ) from error
    return pybullet


@contextlib.contextmanager
def captured(descriptor: int) -> Iterator[Callable[[], str]]:
    """Keep what PyBullet prints away from people; gives a function that returns it.

    Args:
        descriptor: `STANDARD_OUTPUT` or `STANDARD_ERROR`, of the whole process.
    """
    flush = ctypes.CDLL(None).fflush
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    flush(None)
    before = os.dup(descriptor)
    with tempfile.TemporaryFile() as file:

        def printed() -> str:
            flush(None)
            file.seek(0)
            return file.read().decode(errors='replace')

        os.dup2(file.fileno(), descriptor)
        try:
            yield printed
        finally:
            flush(None)
            os.dup2(before, descriptor)
            os.close(before)


def _view_matrix(T_world_cam: np.ndarray) -> list[float]:
    """Return the OpenGL view matrix, column by column, of a pose (4, 4) with optical axes."""
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    return (flip @ np.linalg.inv(T_world_cam)).T.ravel().tolist()


def _projection_matrix(camera: 'Camera', near: float, far: float) -> list[float]:
    """Return the OpenGL projection of a pinhole camera for TinyRenderer, column by column.

    TinyRenderer samples a pixel at its corner that is left in x and lower in y, where OpenGL
    samples its centre: the principal point takes the place of that half pixel.
    """
    P = np.zeros((4, 4))
    P[0, 0] = 2.0 * camera.fx / camera.width
    P[1, 1] = 2.0 * camera.fy / camera.height
    P[0, 2] = 1.0 - 2.0 * camera.cx / camera.width
    P[1, 2] = 2.0 * (camera.cy + 1.0) / camera.height - 1.0
    P[2, 2] = -(far + near) / (far - near)
    P[2, 3] = -2.0 * far * near / (far - near)
    P[3, 2] = -1.0
    return P.T.ravel().tolist()
