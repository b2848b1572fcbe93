"""Importer of the pickles that Watch It Move is trained on, without running what is in them.

Only dicts, lists, tuples, numbers, strings, bytes and numpy arrays of such are built; a pickle
that asks for anything else is refused, and so is one that is packed in its images.
"""

from collections.abc import Mapping
import importlib
import io
from pathlib import Path
import pickle
from typing import Any

import numpy as np

from posefield.data.recording import Recording
from posefield.data.rig_camera import BACKGROUND, OBJECT, UNRELIABLE, RigCamera
from posefield.errors import DataError
from posefield.geometry.camera import Camera
from posefield.geometry.poses import as_rigid, invert

KEYS = (
    'frame_id',
    'camera_id',
    'img',
    'mask',
    'camera_intrinsic',
    'camera_rotation',
    'camera_translation',
)
# Of what is the same for all images of a camera, as a share of its size.
SAME = 1e-5
# Stands for the type of arrays in a pickle, which must not be called by it.
ARRAY = 'numpy.ndarray'
BROKEN_PICKLE = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)


def read_pickle(path: Path, *, rate_hz: float = 15.0) -> Recording:
    """Read a pickle of the reference, such as cache.pickle.

    Args:
        path: the file.
        rate_hz: frames a second; the file does not say.

    Raises:
        DataError, CameraError, PoseError: when it would build anything but plain data, or when
            what is in it cannot be used.
    """
    try:
        content = load_plain(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f'The pickle {path} cannot be read: {error.strerror}.') from error
    arrays = _arrays(content, path)
    images, names = _image_table(arrays, path)
    cameras = tuple(
        _camera(arrays, indices, name, path) for indices, name in zip(images, names, strict=True)
    )

    def read(view: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        index = images[view][frame]
        return _picture(arrays, index, path)

    return Recording(
        source=path,
        cameras=cameras,
        stamps_s=tuple(frame / rate_hz for frame in range(images.shape[1])),
        read=read,
        units='arbitrary',
        background='black',
        provenance={'format': 'wim-pickle', 'rate_hz': rate_hz},
    )


def load_plain(content: bytes, name: str) -> Any:
    """Return what a pickle holds, if it is plain data.

    Args:
        content: of the pickle.
        name: of the pickle, for messages.

    Raises:
        DataError: when it is damaged or asks for anything that is not plain data.
    """
    try:
        return _PlainUnpickler(io.BytesIO(content), name).load()
    except BROKEN_PICKLE as error:
        raise DataError(f'{name} is no whole pickle of plain data: {error}.') from error


class _PlainUnpickler(pickle.Unpickler):
    """Builds plain data and numpy arrays only."""

    def __init__(self, file: io.BytesIO, name: str):
        super().__init__(file)
        self._name = name

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few things that plain data needs.

        Raises:
            DataError: for everything else.
        """
        # numpy 2 moved its core; files of both are read by both.
        allowed = {
            ('numpy', 'ndarray'): ARRAY,
            ('numpy', 'dtype'): np.dtype,
            ('_codecs', 'encode'): _encode_latin1,
        }
        for core in ('numpy.core', 'numpy._core'):
            allowed[f'{core}.multiarray', '_reconstruct'] = _empty_array
            allowed[f'{core}.multiarray', 'scalar'] = _scalar
            allowed[f'{core}.numeric', '_frombuffer'] = _array_from_buffer
        if (module, name) not in allowed:
            raise DataError(
                f'The pickle {self._name} asks for {module}.{name}, expected plain data and numpy '
                'arrays only; it was not loaded, because a pickle can run any program.'
            )
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to things outside of the pickle."""
        raise DataError(f'The pickle {self._name} refers to {pid!r:.80} outside of it.')


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Return bytes that old pickles hold as text."""
    if encoding != 'latin1':
        raise ValueError(f'bytes in the encoding {encoding!r:.40}, expected latin1')
    return text.encode('latin1')


def _empty_array(kind: Any, shape: tuple[int, ...], _type_code: bytes) -> np.ndarray:
    """Return the array that a pickle then fills."""
    if kind is not ARRAY:
        raise ValueError(f'an array of the type {kind!r:.40}, expected numpy.ndarray')
    return np.ndarray(shape, 'b')


def _scalar(dtype: np.dtype, content: bytes) -> Any:
    if dtype.hasobject:
        raise ValueError('a number that is an object')
    return np.frombuffer(content, dtype)[0]


def _array_from_buffer(
    buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str
) -> np.ndarray:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _arrays(content: Any, path: Path) -> dict[str, Any]:
    """Return the arrays of the dict, each with one entry an image."""
    if not isinstance(content, dict):
        raise DataError(f'The pickle {path} holds a {type(content).__name__}, expected a dict.')
    missing = [key for key in KEYS if key not in content]
    if missing:
        raise DataError(
            f'The pickle {path} has no key {missing[0]}, found '
            f'{", ".join(sorted(map(str, content)))}.'
        )
    counts = {key: len(content[key]) for key in KEYS}
    if len(set(counts.values())) != 1:
        raise DataError(f'The arrays of {path} have different lengths: {counts}.')
    return {key: content[key] for key in KEYS}


def _image_table(arrays: Mapping[str, Any], path: Path) -> tuple[np.ndarray, list[str]]:
    """Return the index of the image of each view and frame (V, T), and the cameras' names."""
    camera_ids = np.asarray(arrays['camera_id']).astype(np.int64)
    frame_ids = np.asarray(arrays['frame_id']).astype(np.int64)
    rows = []
    for camera_id in np.unique(camera_ids):
        indices = np.flatnonzero(camera_ids == camera_id)
        rows.append(indices[np.argsort(frame_ids[indices], kind='stable')])
        first, own = frame_ids[rows[0]], frame_ids[rows[-1]]
        if len(first) != len(own) or (first != own).any() or (np.diff(own) <= 0).any():
            raise DataError(
                f'The cameras of {path} do not have the same frames: camera {camera_id} has '
                f'{len(own)}, the first has {len(first)}.'
            )
    return np.array(rows), [f'cam_{camera_id:03d}' for camera_id in np.unique(camera_ids)]


def _camera(arrays: Mapping[str, Any], indices: np.ndarray, name: str, path: Path) -> RigCamera:
    """Return a camera, which must be the same in all its images."""
    K_33, R_33, t_3 = (
        _constant(arrays[key], indices, shape, f'The {key} of {name} in {path}')
        for key, shape in (
            ('camera_intrinsic', (3, 3)),
            ('camera_rotation', (3, 3)),
            ('camera_translation', (3,)),
        )
    )
    image, _ = _picture(arrays, indices[0], path)
    camera = Camera(
        width=image.shape[1],
        height=image.shape[0],
        fx=float(K_33[0, 0]),
        fy=float(K_33[1, 1]),
        cx=float(K_33[0, 2]) - 0.5,
        cy=float(K_33[1, 2]) - 0.5,
    )
    T_cam_world = as_rigid(np.hstack([R_33, t_3[:, None]]), f'The pose of camera {name} in {path}')
    return RigCamera(name, camera, invert(T_cam_world))


def _constant(values: Any, indices: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Return the value of all these images, float64."""
    try:
        all_N = np.stack(
            [np.asarray(values[index], dtype=np.float64).reshape(shape) for index in indices]
        )
    except (TypeError, ValueError) as error:
        raise DataError(f'{what} must be numbers of shape {shape}: {error}.') from error
    change = float(np.abs(all_N - all_N[0]).max())
    if not change <= SAME * max(1.0, float(np.abs(all_N[0]).max())):
        raise DataError(
            f'{what} changes by {change:.3g} over the frames, expected a camera that stands still '
            'and one crop for all frames.'
        )
    return all_N[0]


def _picture(arrays: Mapping[str, Any], index: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (H, W, 3) uint8 RGB and its mask (H, W) of 0, 1 and 2."""
    image = _unpacked(arrays['img'][index], f'Image {index} of {path}')
    mask = _unpacked(arrays['mask'][index], f'Mask {index} of {path}')
    if image.ndim != 3 or image.shape[0] != 3 or mask.shape != image.shape[1:]:
        raise DataError(
            f'Image {index} of {path} has the shape {image.shape} and its mask {mask.shape}, '
            'expected (3, H, W) and (H, W).'
        )
    values = np.full(mask.shape, UNRELIABLE, np.uint8)
    values[mask == 0] = BACKGROUND
    values[mask == 1] = OBJECT
    return np.ascontiguousarray(np.moveaxis(image.astype(np.uint8), 0, -1)), values


def _unpacked(value: Any, what: str) -> np.ndarray:
    """Return an array, unpacked where blosc packed it.

    What blosc packs is itself a pickle, so blosc may only decompress it.
    """
    if isinstance(value, bytes):
        try:
            blosc = importlib.import_module('blosc')
        except ImportError as error:
            raise DataError(
                f'{what} is packed by blosc, which is not installed (pip install blosc).'
            ) from error
        try:
            value = blosc.decompress(value)
        except (blosc.error, TypeError, ValueError) as error:
            raise DataError(f'{what} is packed, but not by blosc: {error}.') from error
        value = load_plain(value, what)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in 'ubi':
        raise DataError(f'{what} is a {type(value).__name__}, expected an array of whole numbers.')
    return value
