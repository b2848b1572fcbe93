"""The entries of NeRF-style transforms.json files, as nerfstudio and instant-ngp write them.

These files hold camera-to-world matrices with OpenGL camera axes (x right, y up, z backward)
and pixels whose top-left corner is (0, 0), so their principal point is half a pixel more.
"""

from collections.abc import Mapping
import math
from pathlib import Path
from typing import Any

import numpy as np

from posefield.errors import DataError, PoseError
from posefield.geometry.camera import Camera
from posefield.geometry.poses import as_rigid

GL_FROM_CV = np.diag([1.0, -1.0, -1.0, 1.0])

PLUMB_BOB_KEYS = ('k1', 'k2', 'p1', 'p2', 'k3')
RATIONAL_KEYS = ('k1', 'k2', 'p1', 'p2', 'k3', 'k4', 'k5', 'k6', 's1', 's2', 's3', 's4')
TILTED_KEYS = (*RATIONAL_KEYS, 'tau_x', 'tau_y')
EQUIDISTANT_KEYS = ('k1', 'k2', 'k3', 'k4')
CAMERA_MODELS = {
    'SIMPLE_PINHOLE': 'plumb_bob',
    'PINHOLE': 'plumb_bob',
    'SIMPLE_RADIAL': 'plumb_bob',
    'RADIAL': 'plumb_bob',
    'OPENCV': 'plumb_bob',
    'FULL_OPENCV': 'rational_polynomial',
    'OPENCV_FISHEYE': 'equidistant',
}


def pose_from_entry(entry: Mapping[str, Any], name: str) -> np.ndarray:
    """Return T_map_cam (4, 4), optical axes, of a frame's `transform_matrix`.

    Raises:
        PoseError: when it is no rigid 4x4 matrix of numbers.
    """
    try:
        matrix = np.array(entry['transform_matrix'], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PoseError(f'The transform_matrix of {name} is not a 4x4 matrix: {error}.') from error
    return as_rigid(matrix, f'The transform_matrix of {name}') @ GL_FROM_CV


def pose_to_entry(T_map_cam: np.ndarray) -> list[list[float]]:
    """Return the `transform_matrix` of a camera pose with optical axes."""
    return (T_map_cam @ GL_FROM_CV).tolist()


def camera_from_entry(entry: Mapping[str, Any], size: tuple[int, int], name: str) -> Camera:
    """Return the camera that the intrinsics of a frame or of the whole file describe.

    Args:
        entry: the file's keys, overlaid by the frame's own.
        size: (width, height) in pixels of the image file.
        name: the image file, for messages.

    Raises:
        DataError: when focal lengths are missing, a key is not a number, or the image's size is
            not the one that the intrinsics are for.
    """
    width, height = (
        int(_number(entry, key, name, default)) for key, default in zip('wh', size, strict=True)
    )
    if (width, height) != size:
        raise DataError(
            f'The image {name} is {size[0]}x{size[1]} but its intrinsics are for {width}x{height}.'
        )
    fx = _focal(entry, 'x', width, name)
    if fx is None:
        raise DataError(f'The file has neither fl_x nor camera_angle_x for the image {name}.')
    fy = _focal(entry, 'y', height, name)
    model, distortion = _distortion(entry, name)
    return Camera(
        width=width,
        height=height,
        fx=fx,
        fy=fx if fy is None else fy,
        cx=_number(entry, 'cx', name, width / 2) - 0.5,
        cy=_number(entry, 'cy', name, height / 2) - 0.5,
        model=model,
        distortion=distortion,
    )


def camera_to_entry(camera: Camera) -> dict[str, Any]:
    """Return the keys of a camera as nerfstudio names them."""
    entry: dict[str, Any] = {
        'w': camera.width,
        'h': camera.height,
        'fl_x': camera.fx,
        'fl_y': camera.fy,
        'cx': camera.cx + 0.5,
        'cy': camera.cy + 0.5,
    }
    model, keys = {
        'pinhole': ('PINHOLE', ()),
        'plumb_bob': ('OPENCV', PLUMB_BOB_KEYS),
        'rational_polynomial': ('FULL_OPENCV', TILTED_KEYS),
        'equidistant': ('OPENCV_FISHEYE', EQUIDISTANT_KEYS),
    }[camera.model]
    entry['camera_model'] = model
    entry.update(zip(keys, camera.distortion, strict=False))
    return entry


def _number(entry: Mapping[str, Any], key: str, name: str, default: float | None = None) -> float:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DataError(f'The key {key} of {name} must be a number, found {value!r}.')
    return value


def _focal(entry: Mapping[str, Any], axis: str, size: int, name: str) -> float | None:
    if f'fl_{axis}' in entry:
        return _number(entry, f'fl_{axis}', name)
    if f'camera_angle_{axis}' in entry:
        return 0.5 * size / math.tan(0.5 * _number(entry, f'camera_angle_{axis}', name))
    return None


def _distortion(entry: Mapping[str, Any], name: str) -> tuple[str, tuple[float, ...]]:
    file_model = entry.get('camera_model', 'OPENCV')
    if file_model not in CAMERA_MODELS:
        raise DataError(
            f'Unknown camera_model {file_model!r} of {name}, '
            f'expected one of {", ".join(CAMERA_MODELS)}.'
        )
    model = 'equidistant' if entry.get('is_fisheye') else CAMERA_MODELS[file_model]
    keys = {
        'plumb_bob': PLUMB_BOB_KEYS,
        'equidistant': EQUIDISTANT_KEYS,
        'rational_polynomial': _rational_keys(entry),
    }[model]
    distortion = tuple(float(_number(entry, key, name, 0.0)) for key in keys)
    unused = [key for key in TILTED_KEYS if key not in keys and entry.get(key)]
    if unused:
        raise DataError(
            f'The distortion {", ".join(unused)} of {name} is not part of the model {file_model}.'
        )
    if model != 'equidistant' and not any(distortion):
        return 'pinhole', ()
    return model, distortion


def _rational_keys(entry: Mapping[str, Any]) -> tuple[str, ...]:
    if 'tau_x' in entry:
        return TILTED_KEYS
    return RATIONAL_KEYS if 's1' in entry else RATIONAL_KEYS[:8]


def find_image(folder: Path, file_path: str) -> Path | None:
    """Return the image that a `file_path` names, with a suffix added if left out, or None."""
    path = folder / file_path
    candidates = (path, *(path.with_name(path.name + suffix) for suffix in ('.png', '.jpg')))
    return next((candidate for candidate in candidates if candidate.is_file()), None)
