"""Rig files are read whole or refused with the camera and key that is wrong."""

import numpy as np
import pytest
import yaml

from posefield.data.rig_file import read_rig_file
from posefield.errors import DataError


def write(tmp_path, content):
    file = tmp_path / 'rig.yaml'
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def one(**camera):
    return {'cameras': [{'name': 'left', **camera}]}


def test_a_name_is_enough(tmp_path):
    rig = read_rig_file(write(tmp_path, {'cameras': [{'name': 'front/color'}]}))
    (camera,) = rig.cameras
    assert (rig.world_frame, rig.image_transport, rig.names) == ('world', 'raw', ('front/color',))
    assert camera.frame == 'front_color_optical_frame'
    assert camera.topics == {} and camera.T_world_cam is None and camera.driver is None


def test_everything_is_read(tmp_path):
    content = {
        'world_frame': 'lab',
        'image_transport': 'compressed',
        'cameras': [
            {
                'name': 'left',
                'image': '/a/image',
                'camera_info': '/a/info',
                'mask': '/a/mask',
                'frame': '/a_frame',
                'extrinsics': {'translation': [1, 2.5, 3], 'quat_xyzw': [0, 0, 1, 0]},
                'driver': {
                    'package': 'p',
                    'executable': 'e',
                    'parameters': {'rate': 15.0},
                    'remaps': {'image': 'image_raw'},
                },
            }
        ],
    }
    rig = read_rig_file(write(tmp_path, content))
    (camera,) = rig.cameras
    assert (rig.world_frame, rig.image_transport) == ('lab', 'compressed')
    assert camera.topics == {
        'image_raw': '/a/image',
        'camera_info': '/a/info',
        'mask': '/a/mask',
    }
    assert camera.frame == 'a_frame'
    expected = np.diag([-1.0, -1.0, 1.0, 1.0])
    expected[:3, 3] = [1, 2.5, 3]
    np.testing.assert_allclose(camera.T_world_cam, expected, atol=1e-12)
    assert camera.driver.parameters == {'rate': 15.0}
    assert camera.driver.remaps == {'image': 'image_raw'}


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ('a: [', 'no YAML'),
        ('[]', 'must be a mapping'),
        ({'cameras': []}, 'list of cameras'),
        ({'camera': []}, "unknown key 'camera'"),
        ({'cameras': [{'name': 'a'}, {'name': 'a'}]}, 'two cameras with the name a'),
        ({'cameras': [{'topic': 'a'}]}, "unknown key 'topic'"),
        ({'cameras': [{'name': 7}]}, 'The name .* must be a text, found 7'),
        ({**one(), 'image_transport': 'theora'}, "raw or compressed, found 'theora'"),
        (one(extrinsics={'translation': [0, 0]}), 'translation of camera left .* 3 numbers'),
        (
            one(extrinsics={'translation': [0, 0, 0], 'quat_xyzw': [0, 0, 0, 2]}),
            'quat_xyzw of camera left .* norm 1, found 2',
        ),
        (
            one(extrinsics={'translation': [0, 0, '1'], 'quat_xyzw': [0, 0, 0, 1]}),
            'translation of camera left',
        ),
        (one(driver={'package': 'p'}), 'executable of the driver of camera left'),
        (
            one(driver={'package': 'p', 'executable': 'e', 'parameters': []}),
            'parameters of the driver of camera left',
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, words):
    with pytest.raises(DataError, match=words):
        read_rig_file(write(tmp_path, content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match='none.yaml cannot be read'):
        read_rig_file(tmp_path / 'none.yaml')
