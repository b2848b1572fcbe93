"""Importing transforms.json files, and holding images out."""

import json
import math

import numpy as np
import pytest

from posefield.data.nerf import read_nerf
from posefield.data.splits import hold_out
from posefield.errors import DataError, PoseError
from support.scenes import nerf_content, pose, write_nerf, write_picture


def test_poses_and_pixels_get_our_conventions(tmp_path):
    scene = read_nerf(write_nerf(tmp_path, nerf_content()))
    assert [frame.name for frame in scene.frames] == ['000.png', '001.png', '002.png', '003.png']
    for index, frame in enumerate(scene.frames):
        np.testing.assert_allclose(frame.T_map_cam, pose(index), atol=1e-9)
    camera = scene.frames[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (20.0, 21.0, 7.25, 5.75)
    assert camera.model == 'pinhole'
    assert scene.units == 'arbitrary'
    assert read_nerf(tmp_path / 'transforms.json', units='metres').units == 'metres'


def test_missing_images_and_poses_are_skipped_and_listed(tmp_path):
    content = nerf_content(6)
    del content['frames'][3]['transform_matrix']
    scene = read_nerf(write_nerf(tmp_path, content))
    assert [frame.name for frame in scene.frames] == ['000.png', '001.png', '002.png']
    assert scene.skipped == ('003.png', '004.png', '005.png')


def test_held_out_are_existing_images_only(tmp_path):
    content = nerf_content(10)
    write_nerf(tmp_path, content, pictures=10)
    (tmp_path / 'images' / '000.png').unlink()
    scene = read_nerf(tmp_path)
    assert scene.splits['test'] == ('001.png', '007.png')
    assert len(scene.splits['train']) == 7
    assert read_nerf(tmp_path, every=3).splits['test'] == ('001.png', '004.png', '007.png')
    assert set(read_nerf(tmp_path, every=0).splits) == {'train'}


def test_splits_of_the_file_come_first(tmp_path):
    content = nerf_content(
        train_filenames=['./images/000.png', 'images/001.png', 'images/009.png'],
        val_filenames=['images/002.png'],
        test_filenames=['images/003.png'],
    )
    scene = read_nerf(write_nerf(tmp_path, content))
    assert scene.splits == {
        'train': ('000.png', '001.png'), 'val': ('002.png',), 'test': ('003.png',),
    }  # fmt: skip
    assert read_nerf(tmp_path, every=2).splits['test'] == ('000.png', '002.png')


def test_test_images_do_not_validate(tmp_path):
    content = nerf_content(
        train_filenames=['images/000.png', 'images/001.png'],
        val_filenames=['images/002.png', 'images/003.png'],
        test_filenames=['images/003.png'],
    )
    assert read_nerf(write_nerf(tmp_path, content)).splits['val'] == ('002.png',)
    content['val_filenames'] = content['test_filenames']
    assert set(read_nerf(write_nerf(tmp_path, content)).splits) == {'train', 'test'}


def test_frames_may_have_intrinsics_of_their_own(tmp_path):
    content = nerf_content(k1=0.1, k2=0.02, p1=0.003, p2=0.004)
    content['frames'][1].update(fl_x=30.0, w=8, h=6)
    write_nerf(tmp_path, content)
    write_picture(tmp_path / 'images' / '001.png', size=(8, 6))
    first, second = (frame.camera for frame in read_nerf(tmp_path).frames[:2])
    assert (first.fx, second.fx, second.width) == (20.0, 30.0, 8)
    assert first.model == 'plumb_bob' and first.distortion == (0.1, 0.02, 0.003, 0.004, 0.0)


def test_an_angle_of_view_is_enough(tmp_path):
    content = nerf_content(camera_angle_x=math.radians(60.0))
    for key in ('fl_x', 'fl_y', 'cx', 'cy', 'w', 'h'):
        del content[key]
    camera = read_nerf(write_nerf(tmp_path, content)).frames[0].camera
    assert camera.fx == camera.fy == pytest.approx(8.0 / math.tan(math.radians(30.0)))
    assert (camera.width, camera.height, camera.cx, camera.cy) == (16, 12, 7.5, 5.5)


def test_a_fisheye_is_equidistant(tmp_path):
    scene = read_nerf(write_nerf(tmp_path, nerf_content(is_fisheye=True, k1=0.1)))
    camera = scene.frames[0].camera
    assert (camera.model, camera.distortion) == ('equidistant', (0.1, 0.0, 0.0, 0.0))


def test_left_out_suffixes_and_parent_folders_are_understood(tmp_path):
    content = nerf_content()
    for index, frame in enumerate(content['frames']):
        frame['file_path'] = f'../photos/{index:03d}'
        write_picture(tmp_path / 'photos' / f'{index:03d}.png', index)
    (tmp_path / 'model').mkdir()
    (tmp_path / 'model' / 'transforms.json').write_text(json.dumps(content))
    scene = read_nerf(tmp_path / 'model')
    assert scene.frames[0].name == 'photos/000.png'
    saved = scene.save(tmp_path / 'scene')
    assert saved.frames[0].image_path == tmp_path / 'scene/images/photos/000.png'
    assert saved.frames[0].read_image().shape == (12, 16, 3)


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(DataError, match=r'transforms.json cannot be read'):
        read_nerf(tmp_path)
    write_nerf(tmp_path, nerf_content(), pictures=0)
    with pytest.raises(DataError, match='no image with a pose .4 skipped.'):
        read_nerf(tmp_path)
    write_nerf(tmp_path, nerf_content(), pictures=1)
    with pytest.raises(DataError, match='only 1 image with a pose'):
        read_nerf(tmp_path)
    content = nerf_content()
    for key in ('fl_x', 'fl_y'):
        del content[key]
    write_nerf(tmp_path, content)
    with pytest.raises(DataError, match='neither fl_x nor camera_angle_x'):
        read_nerf(tmp_path)
    write_nerf(tmp_path, nerf_content(w=17))
    with pytest.raises(DataError, match='16x12 but its intrinsics are for 17x12'):
        read_nerf(tmp_path)
    content = nerf_content()
    content['frames'][2]['transform_matrix'][1][1] = math.nan
    write_nerf(tmp_path, content)
    with pytest.raises(PoseError, match=r'images/002.png in .* not finite'):
        read_nerf(tmp_path)


def test_a_poseless_file_has_no_scene(tmp_path):
    content = nerf_content()
    for frame in content['frames']:
        del frame['transform_matrix']
    with pytest.raises(DataError, match='no image with a pose'):
        read_nerf(write_nerf(tmp_path, content))


def test_holding_out_starts_with_the_first_name():
    assert hold_out('hgfedcba', 3) == {'train': ('b', 'c', 'e', 'f', 'h'), 'test': tuple('adg')}
    for every in (1, -2):
        with pytest.raises(DataError, match='at least 2'):
            hold_out('abc', every)
