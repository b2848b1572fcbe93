"""Reading a camera's intrinsics from the files that people have."""

import json
from pathlib import Path

import yaml

from posefield.data.transforms_json import camera_from_entry
from posefield.errors import CameraError, DataError
from posefield.geometry.camera import Camera


def read_camera(path: Path) -> Camera:
    """Read intrinsics from a ROS calibration (YAML) or a NeRF-style transforms file (JSON).

    Args:
        path: `camera_info` YAML as camera_calibration writes it (`image_width`,
            `camera_matrix`, `distortion_model`, ...), or JSON with `w`, `h`, `fl_x`, ....

    Raises:
        DataError, CameraError: when the file cannot be read or is no camera.
    """
    try:
        text = path.read_text(encoding='utf-8')
        content = json.loads(text) if path.suffix == '.json' else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise DataError(f'The camera file {path} cannot be read: {reason}.') from error
    if not isinstance(content, dict):
        raise DataError(f'The camera file {path} must hold named values, found {content!r:.60}.')
    if 'camera_matrix' in content:
        return _from_calibration(content, path)
    if not {'w', 'h'} <= content.keys():
        raise DataError(
            f'The camera file {path} has neither camera_matrix (ROS calibration) nor w and h '
            '(transforms.json).'
        )
    return camera_from_entry(content, (content['w'], content['h']), str(path))


def _from_calibration(content: dict, path: Path) -> Camera:
    """Return the camera of a ROS calibration file."""
    try:
        fx, _, cx, _, fy, cy, *_ = map(float, content['camera_matrix']['data'])
        distortion = tuple(map(float, content.get('distortion_coefficients', {}).get('data', ())))
        width, height = int(content['image_width']), int(content['image_height'])
        model = str(content.get('distortion_model') or 'plumb_bob')
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f'The camera file {path} lacks or garbles {error}.') from error
    if not distortion:
        model = 'pinhole'
    try:
        return Camera(width, height, fx, fy, cx, cy, model, distortion)
    except CameraError as error:
        raise CameraError(f'{path}: {error}') from error
