"""The folder of a multi-view recording."""

from dataclasses import replace
import json

import cv2
import numpy as np
import pytest

from posefield.data.multiview import Multiview, MultiviewWriter
from posefield.data.rig_camera import RigCamera
from posefield.errors import BundleError, DataError, PoseError
from posefield.geometry.camera import Camera
from support.multiviews import ring_of_cameras, write_ball


def edit_index(multiview: Multiview, **changes) -> None:
    path = multiview.root / 'multiview.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def index_of(multiview: Multiview) -> dict:
    return json.loads((multiview.root / 'multiview.json').read_text())


def test_reads_back_what_was_written(tmp_path):
    rig = ring_of_cameras(2, held_out=1, size=16)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (3, 3, 16, 16, 3), dtype=np.uint8)
    masks = generator.integers(0, 3, (3, 3, 16, 16), dtype=np.uint8)
    with MultiviewWriter(tmp_path / 'a', rig, units='arbitrary', background='black') as writer:
        for frame in range(3):
            for view in range(3):
                writer.add(view, frame, images[frame, view], masks[frame, view])
        written = writer.finish([0.5, 0.6, 0.9], held_out_frames=[2])
    loaded = Multiview.load(tmp_path / 'a')
    assert written.root == loaded.root
    assert loaded.stamps_s == (0.5, 0.6, 0.9)
    assert (loaded.units, loaded.background, loaded.background_level) == ('arbitrary', 'black', 0)
    assert (loaded.training_views, loaded.held_out_views) == ((0, 1), (2,))
    assert (loaded.training_frames, loaded.held_out_frames_sorted) == ((0, 1), (2,))
    for rig_camera, read in zip(rig, loaded.cameras, strict=True):
        assert read.camera == rig_camera.camera
        np.testing.assert_allclose(read.T_world_cam, rig_camera.T_world_cam, atol=1e-12)
    np.testing.assert_array_equal(loaded.read_mask(2, 1), masks[1, 2])
    np.testing.assert_allclose(loaded.read_image(1, 2), images[2, 1] / 255.0, atol=1e-6)
    assert loaded.read_image(1, 2).dtype == np.float32


def test_masked_image_is_background_off_the_object(tmp_path):
    multiview = replace(write_ball(tmp_path / 'a'), background='white')
    image, mask = multiview.read_masked(0, 0)
    assert (image[mask != 1] == 1.0).all()
    np.testing.assert_array_equal(image[mask == 1], multiview.read_image(0, 0)[mask == 1])
    assert image.dtype == np.float32
    assert 0 < (mask == 1).mean() < 1


def test_grey_between_the_levels_is_unreliable(tmp_path):
    multiview = write_ball(tmp_path / 'a')
    pixels = np.zeros((48, 48), np.uint8)
    pixels[0, :5] = [10, 90, 128, 170, 240]
    cv2.imwrite(str(multiview.mask_path(0, 0)), pixels)
    assert multiview.read_mask(0, 0)[0, :5].tolist() == [0, 2, 2, 2, 1]


def test_save_copies_everything(tmp_path):
    multiview = write_ball(tmp_path / 'a', held_out=1, held_out_frames=(2,))
    copied = multiview.save(tmp_path / 'b')
    loaded = Multiview.load(tmp_path / 'b')
    assert copied.root == loaded.root == tmp_path / 'b'
    assert loaded.held_out_frames == {2}
    np.testing.assert_array_equal(loaded.read_mask(3, 2), multiview.read_mask(3, 2))


def test_writer_leaves_nothing_when_it_fails(tmp_path):
    with pytest.raises(DataError, match='was not finished'):
        with MultiviewWriter(tmp_path / 'a', ring_of_cameras(2)):
            pass
    with pytest.raises(DataError, match='camera cam0 of .* has 0 images, expected 2'):
        with MultiviewWriter(tmp_path / 'a', ring_of_cameras(2)) as writer:
            writer.finish([0.0, 0.1])
    assert list(tmp_path.iterdir()) == []


def test_writer_refuses_other_sizes_and_values(tmp_path):
    image, mask = np.zeros((48, 48, 3), np.uint8), np.zeros((48, 48), np.uint8)
    with pytest.raises(DataError, match='values up to 255'):
        with MultiviewWriter(tmp_path / 'a', ring_of_cameras(2)) as writer:
            writer.add(0, 0, image, mask + 255)
    with pytest.raises(DataError, match='an image of shape'):
        with MultiviewWriter(tmp_path / 'a', ring_of_cameras(2)) as writer:
            writer.add(0, 0, image[:40], mask)


def test_frame_counts_that_differ(tmp_path):
    multiview = write_ball(tmp_path / 'a')
    multiview.image_path(1, 2).unlink()
    with pytest.raises(DataError, match='camera cam1 of .* has 2 images, expected 3'):
        Multiview.load(multiview.root)
    (multiview.root / 'images/cam1/000007.png').write_bytes(b'')
    with pytest.raises(DataError, match='cam1/000002.png is missing'):
        Multiview.load(multiview.root)


@pytest.mark.parametrize(('cameras', 'held_out'), [(1, 0), (1, 2), (0, 3)])
def test_too_few_cameras(tmp_path, cameras, held_out):
    with pytest.raises(DataError, match=f'At least 2 cameras are needed .* found {cameras} in'):
        MultiviewWriter(tmp_path / 'a', ring_of_cameras(cameras, held_out))


def test_camera_matrix_that_is_not_rigid(tmp_path):
    multiview = write_ball(tmp_path / 'a')
    cameras = index_of(multiview)['cameras']
    cameras[1]['T_world_cam'][0][0] = 7.0
    edit_index(multiview, cameras=cameras)
    with pytest.raises(PoseError, match='T_world_cam of camera cam1 is not rigid'):
        Multiview.load(multiview.root)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'stamps_s': [0.0, 0.0, 0.1]}, 'must rise'),
        ({'stamps_s': [0.0, float('nan'), 0.1]}, 'finite'),
        ({'stamps_s': [0.0]}, '1 frames to learn from'),
        ({'held_out_frames': [1, 2]}, '1 frames to learn from'),
        ({'held_out_frames': [5]}, 'frame 5 of .* does not exist'),
        ({'units': 'feet'}, "units of .* found 'feet'"),
        ({'background': 'pink'}, 'background of'),
        ({'cameras': 3}, 'wrong type'),
    ],
)
def test_index_that_cannot_be_used(tmp_path, changes, message):
    multiview = write_ball(tmp_path / 'a')
    edit_index(multiview, **changes)
    with pytest.raises(DataError, match=message):
        Multiview.load(multiview.root)


def test_newer_schema_and_missing_key(tmp_path):
    multiview = write_ball(tmp_path / 'a')
    edit_index(multiview, schema=99)
    with pytest.raises(BundleError, match='schema 99'):
        Multiview.load(multiview.root)
    index = index_of(multiview)
    del index['stamps_s']
    (multiview.root / 'multiview.json').write_text(json.dumps({**index, 'schema': 1}))
    with pytest.raises(DataError, match="no key 'stamps_s'"):
        Multiview.load(multiview.root)
    with pytest.raises(DataError, match='is no multi-view recording'):
        Multiview.load(tmp_path)


def test_image_of_another_size(tmp_path):
    multiview = write_ball(tmp_path / 'a')
    cv2.imwrite(str(multiview.mask_path(0, 1)), np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError, match='000001.png is 9x9 but its camera is 48x48'):
        multiview.read_mask(0, 1)
    multiview.image_path(0, 0).write_bytes(multiview.mask_path(0, 1).read_bytes())
    with pytest.raises(DataError, match='000000.png is 9x9'):
        Multiview.load(multiview.root)


def test_cameras_that_cannot_be_stored():
    pinhole = Camera(8, 8, 9.0, 9.0, 3.5, 3.5)
    with pytest.raises(DataError, match='cannot name a folder'):
        RigCamera('../up', pinhole, np.eye(4))
    distorted = replace(pinhole, model='plumb_bob', distortion=(0.1, 0.0, 0.0, 0.0))
    with pytest.raises(DataError, match='undistorted already'):
        RigCamera('a', distorted, np.eye(4))


def test_cameras_of_one_name(tmp_path):
    rig = ring_of_cameras(2)
    with pytest.raises(DataError, match='two cameras with the name cam0'):
        MultiviewWriter(tmp_path / 'a', (rig[0], replace(rig[1], name='cam0')))


def test_view_named(tmp_path):
    multiview = write_ball(tmp_path / 'a')
    assert multiview.view_named('cam2') == 2
    with pytest.raises(DataError, match="no camera 'front', found cam0, cam1, cam2"):
        multiview.view_named('front')
