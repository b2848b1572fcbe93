"""CameraInfo to Camera."""

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from posefield.data.camera_info import camera_from_info
from posefield.errors import CameraError


def info(**changes) -> CameraInfo:
    message = CameraInfo(width=640, height=480, distortion_model='plumb_bob', d=[0.0] * 5)
    message.k = [500.0, 0.0, 319.5, 0.0, 510.0, 239.5, 0.0, 0.0, 1.0]
    message.p = [450.0, 0.0, 300.0, 0.0, 0.0, 460.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_intrinsics():
    camera = camera_from_info(info())
    assert (camera.width, camera.height) == (640, 480)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (500.0, 510.0, 319.5, 239.5)
    assert camera.model == 'pinhole' and not camera.is_distorted


@pytest.mark.parametrize(
    ('model', 'd'),
    [
        ('plumb_bob', [0.1, -0.2, 0.001, 0.002, 0.05]),
        ('rational_polynomial', [0.1] * 8),
        ('equidistant', [0.0] * 4),
    ],
)
def test_distortion_models(model, d):
    camera = camera_from_info(info(distortion_model=model, d=d))
    assert camera.model == model and list(camera.distortion) == d and camera.is_distorted


@pytest.mark.parametrize(('model', 'd'), [('', []), ('plumb_bob', []), ('plumb_bob', [0.0] * 8)])
def test_no_distortion_in_the_ways_that_drivers_say_it(model, d):
    assert camera_from_info(info(distortion_model=model, d=d)).model == 'pinhole'


def test_rectified_images_take_p():
    camera = camera_from_info(info(d=[0.1] * 5), rectified=True)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (450.0, 460.0, 300.0, 230.0)
    assert camera.model == 'pinhole'


def test_region_of_interest_and_binning_are_applied():
    roi = RegionOfInterest(x_offset=100, y_offset=40, width=320, height=200)
    full = camera_from_info(info())
    camera = camera_from_info(info(roi=roi, binning_x=2, binning_y=4))
    assert (camera.width, camera.height) == (160, 50)
    point = np.array([[0.05, -0.1, 1.0]])
    pixel = full.project(point)[0][0]
    expected = (pixel - [100, 40] + 0.5) / [2, 4] - 0.5
    np.testing.assert_allclose(camera.project(point)[0][0], expected)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'k': [0.0] * 9}, 'K.0. = 0'),
        ({'width': 0}, '0x480'),
        ({'distortion_model': 'wavy', 'd': [0.1] * 5}, 'wavy'),
        ({'d': [0.1] * 3}, '4 or 5 coefficients, found 3'),
        ({'k': [500.0, 0, float('nan'), 0, 500.0, 240.0, 0, 0, 1.0]}, 'finite'),
        ({'roi': RegionOfInterest(x_offset=600, width=100, height=100)}, 'not inside 640x480'),
        ({'roi': RegionOfInterest(width=100, height=0)}, 'not inside'),
        ({'binning_x': 1000}, 'bins'),
    ],
)
def test_a_calibration_that_is_none_is_refused(changes, words):
    with pytest.raises(CameraError, match=words):
        camera_from_info(info(**changes))


def test_rectified_images_without_p_are_refused():
    with pytest.raises(CameraError, match='positive'):
        camera_from_info(info(p=[0.0] * 12), rectified=True)
