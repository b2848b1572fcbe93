"""Importer of the Watch-It-Move robots: `frame_00000_cam_000.png` and `cam_000.json`.

The JSON files hold matrices for row vectors (translation in the last row) with OpenGL camera
axes, and pixels whose top-left corner is (0, 0).
"""

from collections.abc import Mapping
import json
from pathlib import Path
import re
from typing import Any

import cv2
import numpy as np

from posefield.data.recording import Recording
from posefield.data.rig_camera import BACKGROUND, OBJECT, RigCamera
from posefield.errors import CameraError, DataError
from posefield.geometry.camera import Camera
from posefield.geometry.poses import as_rigid, invert

FRAME_NAME = re.compile(r'frame_(\d{5})_cam_(\d{3})\.png')
CAMERA_NAME = re.compile(r'cam_(\d{3})\.json')
OPAQUE_ABOVE = 127


def read_robots(folder: Path, *, rate_hz: float = 15.0) -> Recording:
    """Read a folder of one robot.

    Args:
        folder: with the pictures and a JSON file for each camera.
        rate_hz: frames a second; the files do not say.

    Raises:
        DataError, CameraError, PoseError: when a file is missing or cannot be used.
    """
    pictures = _pictures(folder)
    frames = _common_frames(folder, pictures)
    cameras = tuple(_read_camera(folder / f'cam_{number}.json') for number in pictures)
    numbers = list(pictures)

    def read(view: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        return _read_picture(pictures[numbers[view]][frames[frame]], cameras[view].camera)

    return Recording(
        source=folder,
        cameras=cameras,
        stamps_s=tuple((frame - frames[0]) / rate_hz for frame in frames),
        read=read,
        units='arbitrary',
        background='white',
        provenance={'format': 'wim-robots', 'rate_hz': rate_hz},
    )


def _pictures(folder: Path) -> dict[str, dict[int, Path]]:
    """Return camera number -> frame number -> picture, sorted."""
    pictures: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := CAMERA_NAME.fullmatch(path.name):
            pictures.setdefault(match[1], {})
        elif match := FRAME_NAME.fullmatch(path.name):
            pictures.setdefault(match[2], {})[int(match[1])] = path
    if not pictures:
        raise DataError(
            f'{folder} has no pictures of a robot, expected frame_00000_cam_000.png and so on and '
            'cam_000.json.'
        )
    return dict(sorted(pictures.items()))


def _common_frames(folder: Path, pictures: Mapping[str, Mapping[int, Path]]) -> list[int]:
    """Return the frame numbers, which must be the same for all cameras."""
    first, *others = pictures
    for other in others:
        different = set(pictures[first]) ^ set(pictures[other])
        if different:
            raise DataError(
                f'The cameras of {folder} have different frames: camera {first} has '
                f'{len(pictures[first])}, camera {other} has {len(pictures[other])}; frame '
                f'{min(different)} is missing for one of them.'
            )
    return sorted(pictures[first])


def _read_camera(path: Path) -> RigCamera:
    try:
        data = json.loads(path.read_text())['camera_data']
        return _camera(data, path)
    except OSError as error:
        raise DataError(f'The camera file {path} cannot be read: {error.strerror}.') from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f'The camera file {path} has no usable camera_data: {error!r}.') from error
    except CameraError as error:
        raise CameraError(f'The camera file {path}: {error}') from error


def _camera(data: Mapping[str, Any], path: Path) -> RigCamera:
    intrinsics = data['intrinsics']
    camera = Camera(
        width=int(data['width']),
        height=int(data['height']),
        fx=float(intrinsics['fx']),
        fy=float(intrinsics['fy']),
        cx=float(intrinsics['cx']) - 0.5,
        cy=float(intrinsics['cy']) - 0.5,
    )
    rows_44 = np.array(data['camera_view_matrix'], dtype=np.float64)
    if rows_44.shape != (4, 4):
        raise DataError(
            f'The camera_view_matrix of {path} has the shape {rows_44.shape}, expected (4, 4).'
        )
    # To columns, then from OpenGL to optical axes: y and z of the camera turn round.
    T_cam_world = np.diag([1.0, -1.0, -1.0, 1.0]) @ rows_44.T
    T_cam_world = as_rigid(T_cam_world, f'The camera_view_matrix of {path}')
    return RigCamera(path.stem, camera, invert(T_cam_world))


def _read_picture(path: Path, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture (H, W, 3) uint8 RGB and its mask (H, W), the opaque pixels."""
    rgba = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if rgba is None or rgba.ndim != 3 or rgba.shape[2] != 4:
        raise DataError(f'The picture {path} does not open with an alpha channel.')
    if rgba.shape[:2] != (camera.height, camera.width):
        raise DataError(
            f'The picture {path} is {rgba.shape[1]}x{rgba.shape[0]} but its camera is '
            f'{camera.width}x{camera.height}.'
        )
    mask = np.where(rgba[..., 3] > OPAQUE_ABOVE, OBJECT, BACKGROUND).astype(np.uint8)
    return cv2.cvtColor(rgba[..., :3], cv2.COLOR_BGR2RGB), mask
