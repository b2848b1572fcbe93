"""A camera of a multi-view recording, and the files of its images and masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

import cv2
import numpy as np

from posefield.data.image_files import write_rgb
from posefield.errors import CameraError, DataError
from posefield.geometry.camera import Camera
from posefield.geometry.poses import as_rigid

LEAST_CAMERAS = 2

# Values of a mask in memory, and the grey levels that stand for them in a file.
BACKGROUND, OBJECT, UNRELIABLE = 0, 1, 2
GREY_LEVELS = np.array([0, 255, 128], np.uint8)

SAFE_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]*')
CAMERA_KEYS = ('width', 'height', 'fx', 'fy', 'cx', 'cy')


@dataclass(frozen=True, eq=False)
class RigCamera:
    """One camera that stands still.

    Attributes:
        name: of its folders of images and masks.
        camera: intrinsics without distortion, at the size of its images.
        T_world_cam: (4, 4) pose, optical axes.
        held_out: whether its images are for tests only.

    Raises:
        DataError, PoseError: for a name that is no folder's, a lens with distortion, or a pose
            that is not rigid.
    """

    name: str
    camera: Camera
    T_world_cam: np.ndarray
    held_out: bool = False

    def __post_init__(self):
        if not SAFE_NAME.fullmatch(self.name):
            raise DataError(
                f'The camera name {self.name!r} cannot name a folder, expected letters, digits, '
                'dots, - and _.'
            )
        if self.camera.is_distorted:
            raise DataError(
                f'The camera {self.name} has the distortion {self.camera.distortion}, expected '
                'images that are undistorted already.'
            )
        pose = as_rigid(self.T_world_cam, f'The pose T_world_cam of camera {self.name}')
        object.__setattr__(self, 'T_world_cam', pose)


def check_cameras(cameras: Sequence[RigCamera], whose: str) -> None:
    """Raise a DataError for too few cameras to learn from or two of one name."""
    training = sum(not camera.held_out for camera in cameras)
    if training < LEAST_CAMERAS:
        held_out = len(cameras) - training
        raise DataError(
            f'At least {LEAST_CAMERAS} cameras are needed to learn from, found {training} in '
            f'{whose}{f" ({held_out} held out)" if held_out else ""}.'
        )
    names = [camera.name for camera in cameras]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f'{whose} has two cameras with the name {name}.')


def write_view(
    folder: Path,
    camera: RigCamera,
    frame: int,
    image: np.ndarray,
    mask: np.ndarray,
    image_suffix: str = 'png',
) -> None:
    """Write one image and its mask into a recording that is being made.

    Args:
        folder: of the recording.
        camera: that took the image.
        frame: its index.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W): 0 background, 1 object, 2 unreliable.
        image_suffix: `png` or `jpg`.

    Raises:
        DataError: for another size than the camera's, another value in the mask, or a file that
            cannot be written.
    """
    size = (camera.camera.height, camera.camera.width)
    mask = np.asarray(mask)
    if image.shape != (*size, 3) or mask.shape != size:
        raise DataError(
            f'Frame {frame} of camera {camera.name} has an image of shape {image.shape} and a '
            f'mask of {mask.shape}, expected {(*size, 3)} and {size}.'
        )
    if mask.size and not 0 <= mask.min() <= mask.max() <= UNRELIABLE:
        raise DataError(
            f'The mask of frame {frame} of camera {camera.name} has values up to {mask.max()}, '
            'expected 0 (background), 1 (object) and 2 (unreliable).'
        )
    write_rgb(folder / image_file(camera.name, frame, image_suffix), image)
    path = folder / mask_file(camera.name, frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), GREY_LEVELS[mask.astype(np.uint8)]):
        raise DataError(f'The mask {path} could not be written.')


def mask_of_grey(grey: np.ndarray) -> np.ndarray:
    """Return the mask (H, W) of 0, 1 and 2 that a grey picture (H, W) uint8 stands for."""
    mask = np.full(grey.shape, UNRELIABLE, np.uint8)
    mask[grey < 64] = BACKGROUND
    mask[grey > 191] = OBJECT
    return mask


def image_file(camera: str, frame: int, image_suffix: str) -> str:
    """Return the path of an image in its recording."""
    return f'images/{camera}/{frame:06d}.{image_suffix}'


def mask_file(camera: str, frame: int) -> str:
    """Return the path of a mask in its recording."""
    return f'masks/{camera}/{frame:06d}.png'


def camera_to_json(rig: RigCamera) -> dict[str, Any]:
    """Return the entry of a camera in multiview.json."""
    return {
        'name': rig.name,
        **{key: getattr(rig.camera, key) for key in CAMERA_KEYS},
        'model': rig.camera.model,
        'distortion': list(rig.camera.distortion),
        'T_world_cam': rig.T_world_cam.tolist(),
        'held_out': rig.held_out,
    }


def camera_from_json(entry: Mapping[str, Any]) -> RigCamera:
    """Return the camera of an entry of multiview.json.

    Raises:
        KeyError, TypeError: when a key is missing or of another type.
        CameraError, DataError, PoseError: when it cannot describe a camera.
    """
    try:
        camera = Camera(
            **{key: entry[key] for key in CAMERA_KEYS},
            model=entry.get('model', 'pinhole'),
            distortion=tuple(entry.get('distortion', ())),
        )
    except CameraError as error:
        raise CameraError(f'The camera {entry["name"]}: {error}') from error
    return RigCamera(entry['name'], camera, entry['T_world_cam'], bool(entry['held_out']))
