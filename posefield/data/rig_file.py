"""Rig files: YAML that names the cameras of a rig, their topics, frames, places and drivers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from posefield.errors import DataError
from posefield.geometry.poses import from_quat_xyzw

# A quaternion whose norm is off by more than this was not meant as a rotation.
NORM_TOLERANCE = 1e-3
RIG_KEYS = {'world_frame', 'image_transport', 'cameras'}
CAMERA_KEYS = {'name', 'image', 'camera_info', 'mask', 'frame', 'extrinsics', 'driver'}
EXTRINSICS_KEYS = {'translation', 'quat_xyzw'}
DRIVER_KEYS = {'package', 'executable', 'parameters', 'remaps'}
TRANSPORTS = ('raw', 'compressed')


@dataclass(frozen=True)
class Driver:
    """The node that gives a camera's images.

    Attributes:
        package, executable: of the node.
        parameters: of the node.
        remaps: from and to, in the namespace of the camera.
    """

    package: str
    executable: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remaps: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RigFileCamera:
    """One camera of a rig file.

    Attributes:
        name: of the camera.
        topics: where image_raw, camera_info and mask come from, for those that come from
            elsewhere than below the name of the camera.
        frame: TF frame of its images, optical axes.
        T_world_cam: (4, 4) where it stands, in metres; None where others tell TF.
        driver: to start; None where it runs already.
    """

    name: str
    topics: Mapping[str, str]
    frame: str
    T_world_cam: np.ndarray | None
    driver: Driver | None


@dataclass(frozen=True, eq=False)
class RigFile:
    """What a rig file says.

    Attributes:
        world_frame: TF frame in which the cameras stand.
        image_transport: raw or compressed, of all cameras.
        cameras: at least one.
    """

    world_frame: str
    image_transport: str
    cameras: tuple[RigFileCamera, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the cameras."""
        return tuple(camera.name for camera in self.cameras)


def read_rig_file(path: Path | str) -> RigFile:
    """Read a rig file.

    Raises:
        DataError: naming the file, the camera and the key where something is wrong.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise DataError(f'The rig file {path} cannot be read: {error.strerror}.') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f'The rig file {path} is no YAML: {error}.') from error
    content = _mapping(content, RIG_KEYS, f'The rig file {path}')
    entries = content.get('cameras')
    if not isinstance(entries, list) or not entries:
        raise DataError(f'The rig file {path} must have a list of cameras, found {entries!r}.')
    cameras = tuple(_camera(entry, f'of the rig file {path}') for entry in entries)
    names = [camera.name for camera in cameras]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f'The rig file {path} has two cameras with the name {twice[0]}.')
    transport = content.get('image_transport', 'raw')
    if transport not in TRANSPORTS:
        raise DataError(
            f'The image_transport of the rig file {path} must be {" or ".join(TRANSPORTS)}, found '
            f'{transport!r}.'
        )
    return RigFile(_text(content, 'world_frame', f'of {path}', 'world'), transport, cameras)


def _camera(entry: Any, whose: str) -> RigFileCamera:
    entry = _mapping(entry, CAMERA_KEYS, f'A camera {whose}')
    name = _text(entry, 'name', whose)
    whose = f'of camera {name} {whose}'
    topics = {
        topic: _text(entry, key, whose)
        for key, topic in (
            ('image', 'image_raw'),
            ('camera_info', 'camera_info'),
            ('mask', 'mask'),
        )
        if key in entry
    }
    frame = _text(entry, 'frame', whose, f'{name.replace("/", "_")}_optical_frame')
    return RigFileCamera(
        name,
        topics,
        frame.lstrip('/'),
        _extrinsics(entry['extrinsics'], whose) if 'extrinsics' in entry else None,
        _driver(entry['driver'], whose) if 'driver' in entry else None,
    )


def _extrinsics(entry: Any, whose: str) -> np.ndarray:
    entry = _mapping(entry, EXTRINSICS_KEYS, f'The extrinsics {whose}')
    translation = _numbers(entry, 'translation', 3, whose)
    quat_xyzw = _numbers(entry, 'quat_xyzw', 4, whose)
    norm = float(np.linalg.norm(quat_xyzw))
    if abs(norm - 1.0) > NORM_TOLERANCE:
        raise DataError(f'The quat_xyzw {whose} must have norm 1, found {norm:.4g}.')
    return from_quat_xyzw(quat_xyzw, translation)


def _driver(entry: Any, whose: str) -> Driver:
    entry = _mapping(entry, DRIVER_KEYS, f'The driver {whose}')
    parameters, remaps = entry.get('parameters', {}), entry.get('remaps', {})
    for key, value in (('parameters', parameters), ('remaps', remaps)):
        if not isinstance(value, dict):
            raise DataError(f'The {key} of the driver {whose} must be a mapping, found {value!r}.')
    return Driver(
        _text(entry, 'package', f'of the driver {whose}'),
        _text(entry, 'executable', f'of the driver {whose}'),
        parameters,
        {str(source): str(target) for source, target in remaps.items()},
    )


def _mapping(value: Any, keys: set[str], what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f'{what} must be a mapping, found {value!r}.')
    unknown = sorted(set(map(str, value)) - keys)
    if unknown:
        raise DataError(
            f'{what} has the unknown key {unknown[0]!r}, expected {", ".join(sorted(keys))}.'
        )
    return value


def _text(entry: Mapping[str, Any], key: str, whose: str, default: str | None = None) -> str:
    value = entry.get(key, default)
    if not isinstance(value, str) or not value:
        raise DataError(f'The {key} {whose} must be a text, found {value!r}.')
    return value


def _numbers(entry: Mapping[str, Any], key: str, count: int, whose: str) -> np.ndarray:
    value = entry.get(key)
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if not (
        is_list
        and len(value) == count
        and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value)
        and np.isfinite(value).all()
    ):
        raise DataError(f'The {key} {whose} must be {count} numbers, found {value!r}.')
    return np.array(value, dtype=np.float64)
