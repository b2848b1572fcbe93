"""Calibrations of several cameras in one frame: Qualisys (.qca.txt) and OpenCV YAML.

Qualisys: pixels come in 64ths; the rows of the `transform` are the axes of the camera in the
world (x right, y up, z backwards), its position is in millimetres.

OpenCV: matrices `K_<name>`, `dist_<name>`, and world-to-camera `Rot_<name>` (or the vector
`R_<name>`) and `T_<name>`, in one file or, as EasyMocap writes them, in `intri.yml` and
`extri.yml`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np

from posefield.data.transforms_json import GL_FROM_CV
from posefield.errors import CameraError, DataError
from posefield.geometry.camera import Camera
from posefield.geometry.poses import as_rigid, invert

PIXEL_PARTS = 64.0
MILLIMETRES = 1000.0
QUALISYS_SUFFIX = '.qca.txt'
YAML_SUFFIXES = ('.yml', '.yaml')
EASYMOCAP_FILES = ('intri.yml', 'extri.yml')
# Video codecs leave out or fill up less than one block of pixels.
CODEC_BLOCK = 16


@dataclass(frozen=True, eq=False)
class CalibratedCamera:
    """One camera of a calibration.

    Attributes:
        name: of the camera, and of its video.
        intrinsics: fx, fy, cx, cy in pixels.
        distortion: as `plumb_bob` has it.
        size: (width, height) of its pictures, or None where the calibration does not say.
        T_world_cam: (4, 4) pose, optical axes, in metres.
    """

    name: str
    intrinsics: Mapping[str, float]
    distortion: tuple[float, ...]
    size: tuple[int, int] | None
    T_world_cam: np.ndarray

    def at_size(self, width: int, height: int) -> Camera:
        """Return the camera for pictures of this size.

        A codec may leave out a few columns or rows, on the right or below.

        Raises:
            CameraError, DataError: when the size is another one.
        """
        expected = self.size or (width, height)
        gaps = expected[0] - width, expected[1] - height
        if not all(0 <= gap < CODEC_BLOCK for gap in gaps):
            raise DataError(
                f'The pictures of camera {self.name} are {width}x{height} but its calibration is '
                f'for {expected[0]}x{expected[1]}.'
            )
        return Camera(
            width, height, **self.intrinsics, model='plumb_bob', distortion=self.distortion
        )


def find_calibration(source: Path) -> Path:
    """Return the calibration in a folder or one folder below it.

    Raises:
        DataError: when there is none, or more than one.
    """
    files = sorted([*source.glob('*'), *source.glob('*/*')])
    found = [path for path in files if path.name.endswith(QUALISYS_SUFFIX)]
    found += [path.parent for path in files if path.name == EASYMOCAP_FILES[0]]
    if not found:
        found = [path for path in files if path.suffix in YAML_SUFFIXES]
    if len(found) != 1:
        raise DataError(
            f'{source} must have one calibration (*.qca.txt, or *.yml of OpenCV) unless '
            f'--calibration names it, found {", ".join(map(str, found)) or "none"}.'
        )
    return found[0]


def read_calibration(path: Path) -> tuple[CalibratedCamera, ...]:
    """Read a Qualisys file, an OpenCV YAML file, or a folder with intri.yml and extri.yml.

    Raises:
        DataError, CameraError, PoseError: when it cannot be used.
    """
    if path.is_dir():
        files = [path / name for name in EASYMOCAP_FILES]
        return _read_opencv([file for file in files if file.is_file()], path)
    if path.suffix in YAML_SUFFIXES:
        return _read_opencv([path], path)
    return _read_qualisys(path)


def _read_qualisys(path: Path) -> tuple[CalibratedCamera, ...]:
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise DataError(f'The calibration {path} cannot be read: {error.strerror}.') from error
    except ElementTree.ParseError as error:
        raise DataError(f'The calibration {path} is no whole XML: {error}.') from error
    cameras = tuple(_qualisys_camera(entry, path) for entry in root.iter('camera'))
    if not cameras:
        raise DataError(f'The calibration {path} has no camera.')
    return cameras


def _qualisys_camera(entry: ElementTree.Element, path: Path) -> CalibratedCamera:
    name = entry.get('serial', '?')
    try:
        transform, intrinsic, view = (
            entry.find(tag).attrib for tag in ('transform', 'intrinsic', 'fov_video')
        )
        size = (
            int(view['right']) - int(view['left']) + 1,
            int(view['bottom']) - int(view['top']) + 1,
        )
        axes_33 = np.array([[float(transform[f'r{i}{j}']) for j in '123'] for i in '123'])
        position = [float(transform[key]) / MILLIMETRES for key in 'xyz']
        intrinsics = {
            'fx': float(intrinsic['focalLengthU']) / PIXEL_PARTS,
            'fy': float(intrinsic['focalLengthV']) / PIXEL_PARTS,
            'cx': float(intrinsic['centerPointU']) / PIXEL_PARTS - int(view['left']),
            'cy': float(intrinsic['centerPointV']) / PIXEL_PARTS - int(view['top']),
        }
        keys = (
            'radialDistortion1',
            'radialDistortion2',
            'tangentalDistortion1',
            'tangentalDistortion2',
            'radialDistortion3',
        )
        distortion = tuple(float(intrinsic[key]) for key in keys)
    except (AttributeError, KeyError, ValueError) as error:
        raise DataError(
            f'The camera {name} of the calibration {path} lacks a number: {error!r}.'
        ) from error
    pose = np.eye(4)
    pose[:3, :3] = axes_33.T
    pose[:3, 3] = position
    pose = as_rigid(pose, f'The transform of camera {name} in {path}') @ GL_FROM_CV
    return CalibratedCamera(name, intrinsics, distortion, size, pose)


def _read_opencv(files: list[Path], source: Path) -> tuple[CalibratedCamera, ...]:
    nodes: dict[str, np.ndarray] = {}
    for file in files:
        nodes.update(_yaml_matrices(file))
    names = [key.removeprefix('K_') for key in nodes if key.startswith('K_')]
    if not names:
        raise DataError(
            f'The calibration {source} has no matrix K_<camera>, found '
            f'{", ".join(sorted(nodes)) or "nothing"}.'
        )
    return tuple(_opencv_camera(nodes, name, source) for name in names)


def _yaml_matrices(file: Path) -> dict[str, np.ndarray]:
    """Return the matrices at the top of an OpenCV YAML file."""
    if not file.is_file():
        raise DataError(f'The calibration {file} does not exist.')
    try:
        storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_READ)
        root = storage.root()
        matrices = {}
        for key in root.keys() if root.isMap() else ():
            node = root.getNode(key)
            matrix = node.mat() if node.isMap() else None
            if matrix is not None:
                matrices[key] = matrix
        storage.release()
    except (cv2.error, SystemError) as error:
        raise DataError(f'The calibration {file} is no OpenCV YAML: {error}.') from error
    return matrices


def _opencv_camera(nodes: Mapping[str, Any], name: str, source: Path) -> CalibratedCamera:
    try:
        K_33 = nodes[f'K_{name}'].reshape(3, 3)
        translation_3 = nodes[f'T_{name}'].reshape(3)
        if f'Rot_{name}' in nodes:
            R_33 = nodes[f'Rot_{name}'].reshape(3, 3)
        else:
            R_33 = cv2.Rodrigues(nodes[f'R_{name}'].reshape(3))[0]
    except KeyError as error:
        raise DataError(f'The calibration {source} has no matrix {error}.') from error
    except ValueError as error:
        raise DataError(f'A matrix of camera {name} in {source} is wrong: {error}.') from error
    distortion = nodes.get(f'dist_{name}', np.zeros(5)).ravel()
    if len(distortion) not in (4, 5):
        raise CameraError(
            f'The camera {name} of {source} has {len(distortion)} numbers of distortion, expected '
            '4 or 5.'
        )
    T_cam_world = as_rigid(
        np.hstack([R_33, translation_3[:, None]]), f'The pose of camera {name} in {source}'
    )
    intrinsics = {'fx': K_33[0, 0], 'fy': K_33[1, 1], 'cx': K_33[0, 2], 'cy': K_33[1, 2]}
    return CalibratedCamera(
        name,
        {key: float(value) for key, value in intrinsics.items()},
        tuple(float(value) for value in distortion),
        None,
        invert(T_cam_world),
    )
