"""Importer of COLMAP models, text and binary.

COLMAP holds world-to-camera poses as quaternions (w, x, y, z) with optical axes, and pixels whose
top-left corner is (0, 0), so its principal points are half a pixel more than ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
import struct
from typing import Literal

import numpy as np

from posefield.data.image_files import image_size
from posefield.data.masks import MASK_FOLDER
from posefield.data.scene import Frame, Scene, check_image_size, frame_name, with_found_masks
from posefield.data.splits import DEFAULT_HOLD_OUT, hold_out
from posefield.errors import DataError, PoseError
from posefield.geometry.camera import Camera
from posefield.geometry.poses import from_quat_xyzw, invert

NORM_TOLERANCE = 1e-2
POINT_BYTES = 24


@dataclass(frozen=True)
class _Model:
    """How COLMAP's parameters become ours.

    Attributes:
        parameters: how many there are.
        shared_focal: whether there is one focal length for both axes.
        distortion: our distortion model.
        coefficients: how many coefficients ours takes; those that COLMAP has not are 0.
    """

    parameters: int
    shared_focal: bool = False
    distortion: str = 'pinhole'
    coefficients: int = 0


MODELS = {
    'SIMPLE_PINHOLE': _Model(3, shared_focal=True),
    'PINHOLE': _Model(4),
    'SIMPLE_RADIAL': _Model(4, True, 'plumb_bob', 4),
    'RADIAL': _Model(5, True, 'plumb_bob', 4),
    'OPENCV': _Model(8, False, 'plumb_bob', 4),
    'OPENCV_FISHEYE': _Model(8, False, 'equidistant', 4),
    'FULL_OPENCV': _Model(12, False, 'rational_polynomial', 8),
    'SIMPLE_RADIAL_FISHEYE': _Model(4, True, 'equidistant', 4),
    'RADIAL_FISHEYE': _Model(5, True, 'equidistant', 4),
}
# By the number that binary files hold; those not in MODELS cannot be read.
MODEL_NAMES = (
    'SIMPLE_PINHOLE',
    'PINHOLE',
    'SIMPLE_RADIAL',
    'RADIAL',
    'OPENCV',
    'OPENCV_FISHEYE',
    'FULL_OPENCV',
    'FOV',
    'SIMPLE_RADIAL_FISHEYE',
    'RADIAL_FISHEYE',
    'THIN_PRISM_FISHEYE',
)


@dataclass(frozen=True, eq=False)
class PosedImage:
    """One entry of a model's list of images.

    Attributes:
        name: path of the image below the folder of images.
        camera_id: which camera took it.
        T_map_cam: (4, 4) pose, optical axes.
    """

    name: str
    camera_id: int
    T_map_cam: np.ndarray


def model_folders(source: Path | str) -> tuple[Path, ...]:
    """Return the folders of COLMAP models in a model's or project's folder, sorted."""
    source = Path(source)
    candidates = (source, source / 'sparse', *sorted(source.glob('sparse/*')))
    return tuple(folder for folder in candidates if _suffix(folder) is not None)


def read_colmap(
    source: Path | str,
    *,
    images: Path | str | None = None,
    every: int | None = None,
    units: Literal['metres', 'arbitrary'] = 'arbitrary',
) -> Scene:
    """Read a COLMAP model, the largest one where the project has several.

    Images without a file are skipped and listed.  Masks are looked for in `masks` in the source,
    else beside the folder of images.

    Args:
        source: folder of the model, or project folder with `sparse/0`.
        images: folder of the images; None looks for `images` in the source and above it.
        every: hold out every N-th image; None is every 6th.
        units: of the poses, which the model does not say.

    Raises:
        DataError, PoseError, CameraError: when what is there cannot be used.
    """
    source = Path(source)
    folders = model_folders(source)
    if not folders:
        raise DataError(
            f'{source} has no COLMAP model, expected cameras and images as .bin or .txt there, '
            'in sparse/ or in sparse/0/.'
        )
    models = {folder: read_model(folder) for folder in folders}
    folder = max(models, key=lambda candidate: len(models[candidate][1]))
    cameras, posed = models[folder]
    image_folder = _image_folder(images, source, folder)
    frames = []
    skipped = []
    for image in posed:
        path = image_folder / image.name
        if not path.is_file():
            skipped.append(image.name)
            continue
        camera = cameras[image.camera_id]
        check_image_size(image_size(path), camera, path)
        frames.append(Frame(frame_name(image.name), path, camera, image.T_map_cam))
    if posed and not frames:
        raise DataError(
            f'None of the {len(posed)} images of the model {folder} is in {image_folder} '
            f'(the first is {posed[0].name}); name their folder with --images.'
        )
    frames.sort(key=lambda frame: frame.name)
    return Scene(
        root=source,
        frames=_with_masks(source, image_folder, frames),
        splits=hold_out(
            (frame.name for frame in frames), DEFAULT_HOLD_OUT if every is None else every
        ),
        units=units,
        skipped=tuple(skipped),
        provenance={'format': 'colmap', 'source': source.resolve().name},
    )


def read_model(folder: Path) -> tuple[dict[int, Camera], list[PosedImage]]:
    """Return the cameras by id, and the posed images in the order of the file.

    Raises:
        DataError, PoseError, CameraError: when a file is damaged or of an unknown camera model.
    """
    suffix = _suffix(folder)
    if suffix is None:
        raise DataError(f'{folder} has no COLMAP model (cameras and images as .bin or .txt).')
    read_cameras, read_images = {
        'bin': (_cameras_binary, _images_binary),
        'txt': (_cameras_text, _images_text),
    }[suffix]
    cameras = dict(read_cameras(folder / f'cameras.{suffix}'))
    path = folder / f'images.{suffix}'
    images = list(read_images(path))
    for image in images:
        if image.camera_id not in cameras:
            raise DataError(
                f'The image {image.name} in {path} has the unknown camera {image.camera_id}.'
            )
    return cameras, images


def _suffix(folder: Path) -> str | None:
    """Return which kind of model a folder holds; binary goes first, as in COLMAP."""
    for suffix in ('bin', 'txt'):
        if all((folder / f'{name}.{suffix}').is_file() for name in ('cameras', 'images')):
            return suffix
    return None


def _image_folder(images: Path | str | None, source: Path, model: Path) -> Path:
    """Return the folder as given, or `images` beside the model or up to two folders above."""
    if images is not None:
        if not Path(images).is_dir():
            raise DataError(f'The folder of images {images} does not exist.')
        return Path(images)
    model = model.resolve()
    candidates = [folder / 'images' for folder in (source, model, *model.parents[:2])]
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])


def _with_masks(source: Path, images: Path, frames: list[Frame]) -> tuple[Frame, ...]:
    folder = source if (source / MASK_FOLDER).is_dir() else images.resolve().parent
    return with_found_masks(folder, frames)


def _camera(name: str, width: int, height: int, parameters: list[float], where: str) -> Camera:
    """Return our camera of COLMAP's model name and parameters.

    Raises:
        DataError: for a model that is not known, or a wrong number of parameters.
    """
    model = _known_model(name, where)
    if len(parameters) != model.parameters:
        raise DataError(
            f'{where}: the camera model {name} takes {model.parameters} parameters, '
            f'found {len(parameters)}.'
        )
    if model.shared_focal:
        parameters = [parameters[0], *parameters]
    fx, fy, cx, cy, *distortion = parameters
    distortion += [0.0] * (model.coefficients - len(distortion))
    kind = model.distortion
    if kind != 'equidistant' and not any(distortion):
        kind, distortion = 'pinhole', []
    return Camera(width, height, fx, fy, cx - 0.5, cy - 0.5, kind, tuple(distortion))


def _known_model(name: str, where: str) -> _Model:
    if name not in MODELS:
        raise DataError(
            f'{where}: the COLMAP camera model {name} cannot be used, expected one of '
            f'{", ".join(MODELS)}.'
        )
    return MODELS[name]


def _posed_image(
    name: str, camera_id: int, numbers: list[float] | tuple[float, ...], path: Path
) -> PosedImage:
    """Return an image from qw qx qy qz tx ty tz, world-to-camera."""
    qw, qx, qy, qz, *translation = numbers
    norm = float(np.linalg.norm(numbers[:4]))
    if not (abs(norm - 1.0) < NORM_TOLERANCE and np.isfinite(translation).all()):
        raise PoseError(
            f'The image {name} in {path} has no rigid pose: the quaternion has norm {norm:.3g} '
            f'and the translation is {translation}.'
        )
    T_cam_map = from_quat_xyzw(np.array([qx, qy, qz, qw]), np.array(translation))
    return PosedImage(name, camera_id, invert(T_cam_map))


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the numbered lines of a text file that are no comments, with empty ones."""
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'The file {path} cannot be read: {error}.') from error
    numbered = enumerate(text.splitlines(), start=1)
    return [(number, line) for number, line in numbered if not line.startswith('#')]


def _cameras_text(path: Path) -> Iterator[tuple[int, Camera]]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            camera_id, name, width, height, *parameters = line.split()
            ids = int(camera_id), int(width), int(height)
            values = [float(parameter) for parameter in parameters]
        except ValueError as error:
            raise DataError(
                f'Line {number} of {path} must be "id MODEL width height parameters", '
                f'found {line[:80]!r}.'
            ) from error
        yield ids[0], _camera(name, ids[1], ids[2], values, f'Line {number} of {path}')


def _images_text(path: Path) -> Iterator[PosedImage]:
    """Read pairs of lines, the image and its points; the second may be empty."""
    lines = _lines(path)
    while lines and not lines[0][1].strip():
        lines.pop(0)
    for number, line in lines[::2]:
        words = line.split(maxsplit=9)
        if not words:
            continue
        try:
            numbers = [float(word) for word in words[1:8]]
            camera_id, name = int(words[8]), words[9].strip()
        except (ValueError, IndexError) as error:
            raise DataError(
                f'Line {number} of {path} must be "id qw qx qy qz tx ty tz camera name", '
                f'found {line[:80]!r}.'
            ) from error
        yield _posed_image(name, camera_id, numbers, path)


class _Bytes:
    """A binary file read from front to back."""

    def __init__(self, path: Path):
        self._path = path
        try:
            self._content = path.read_bytes()
        except OSError as error:
            raise DataError(f'The file {path} cannot be read: {error}.') from error
        self._at = 0

    def take(self, layout: str) -> tuple:
        """Return the next little-endian values; a cut file is a DataError."""
        layout = '<' + layout
        self.skip(struct.calcsize(layout))
        return struct.unpack_from(layout, self._content, self._at - struct.calcsize(layout))

    def skip(self, count: int) -> None:
        """Go on by some bytes."""
        self._at += count
        if self._at > len(self._content):
            raise self._cut_short()

    def take_name(self) -> str:
        """Return the next text, which ends with a zero byte."""
        end = self._content.find(b'\0', self._at)
        if end < 0:
            raise self._cut_short()
        name = self._content[self._at : end].decode('utf-8', errors='replace')
        self._at = end + 1
        return name

    def _cut_short(self) -> DataError:
        return DataError(
            f'The file {self._path} is cut short or no COLMAP file: it has '
            f'{len(self._content)} bytes, its content needs more.'
        )


def _cameras_binary(path: Path) -> Iterator[tuple[int, Camera]]:
    file = _Bytes(path)
    (count,) = file.take('Q')
    for _ in range(count):
        camera_id, number, width, height = file.take('iiQQ')
        known = 0 <= number < len(MODEL_NAMES)
        name = MODEL_NAMES[number] if known else f'number {number}'
        where = f'Camera {camera_id} in {path}'
        parameters = list(file.take(f'{_known_model(name, where).parameters}d'))
        yield camera_id, _camera(name, width, height, parameters, where)


def _images_binary(path: Path) -> Iterator[PosedImage]:
    file = _Bytes(path)
    (count,) = file.take('Q')
    for _ in range(count):
        _, *numbers, camera_id = file.take('i7di')
        name = file.take_name()
        (points,) = file.take('Q')
        file.skip(POINT_BYTES * points)
        yield _posed_image(name, camera_id, numbers, path)
