"""Pickles of Watch It Move: plain data comes through, programs do not."""

import os
import pickle
import sys
from types import SimpleNamespace
import zlib

import numpy as np
import pytest

from posefield.data.recording import Selection, write_recording
from posefield.data.wim_pickle import load_plain, read_pickle
from posefield.errors import DataError, PoseError
from support.multiviews import draw_ball, ring_of_cameras

SIZE = 24
FRAMES = 3


class RunsProgram:
    """What a hostile pickle holds."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def pack(array: np.ndarray) -> bytes:
    """Pack as blosc does: a pickle, compressed."""
    return zlib.compress(pickle.dumps(array))


@pytest.fixture
def blosc(monkeypatch):
    """A stand-in for blosc, which is not needed otherwise."""
    module = SimpleNamespace(decompress=zlib.decompress, error=zlib.error)
    monkeypatch.setitem(sys.modules, 'blosc', module)


def content(packed: bool = False) -> dict:
    """What the reference stores of three cameras, in the order of cameras."""
    rows = []
    for view, rig in enumerate(ring_of_cameras(3, size=SIZE)):
        T_cam_world = np.linalg.inv(rig.T_world_cam)
        K_33 = rig.camera.K_33 + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        for frame in range(FRAMES):
            image, mask = draw_ball(rig, np.array([0.1 * frame, 0.0, 0.0]))
            mask[0, 0] = 3
            image = np.moveaxis(image, -1, 0).copy()
            if packed:
                image, mask = pack(image), pack(mask)
            pose = T_cam_world[:3, :3], T_cam_world[:3, 3:]
            rows.append((frame, view, image, mask, K_33, *pose))
    frame_id, camera_id, images, masks, K, R, t = zip(*rows, strict=True)
    objects = [np.empty(len(rows), object) for _ in range(2)]
    for target, values in zip(objects, (images, masks), strict=True):
        for index, value in enumerate(values):
            target[index] = value
    return {
        'frame_id': np.array(frame_id),
        'camera_id': np.array(camera_id),
        'img': objects[0],
        'mask': objects[1],
        'camera_intrinsic': np.stack(K),
        'camera_rotation': np.stack(R),
        'camera_translation': np.stack(t),
    }


def written(tmp_path, stored, protocol: int = 4):
    path = tmp_path / 'cache.pickle'
    path.write_bytes(pickle.dumps(stored, protocol=protocol))
    return path


@pytest.mark.parametrize('protocol', [0, 2, 4, 5])
def test_cameras_and_pictures_come_back(tmp_path, protocol):
    recording = read_pickle(written(tmp_path, content(), protocol), rate_hz=10.0)
    multiview = write_recording(recording, tmp_path / 'out', Selection(held_out_frames=0.0))
    assert multiview.stamps_s == pytest.approx((0.0, 0.1, 0.2))
    assert multiview.background == 'black'
    for view, rig in enumerate(ring_of_cameras(3, size=SIZE)):
        read = multiview.cameras[view]
        np.testing.assert_allclose(read.T_world_cam, rig.T_world_cam, atol=1e-9)
        np.testing.assert_allclose(read.camera.K_33, rig.camera.K_33)
        image, mask = draw_ball(rig, np.array([0.2, 0.0, 0.0]))
        mask[0, 0] = 2
        np.testing.assert_array_equal(multiview.read_mask(view, 2), mask)
        np.testing.assert_allclose(multiview.read_image(view, 2), image / 255.0, atol=1e-6)


def test_packed_arrays(tmp_path, blosc):
    packed = read_pickle(written(tmp_path, content(packed=True)))
    plain = read_pickle(written(tmp_path, content()))
    for one, other in zip(packed.read(1, 2), plain.read(1, 2), strict=True):
        np.testing.assert_array_equal(one, other)


def test_packed_arrays_without_blosc(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'blosc', None)
    with pytest.raises(DataError, match='pip install blosc'):
        read_pickle(written(tmp_path, content(packed=True)))


@pytest.mark.parametrize('where', ['alone', 'in a dict', 'in an array'])
def test_program_is_not_run(tmp_path, where):
    hostile = RunsProgram(tmp_path / 'made')
    stored = content()
    if where == 'alone':
        stored = hostile
    elif where == 'in a dict':
        stored['extra'] = [hostile]
    else:
        stored['img'][0] = hostile
    with pytest.raises(DataError, match=r'asks for posix.mkdir.*not loaded'):
        read_pickle(written(tmp_path, stored))
    assert not (tmp_path / 'made').exists()


def test_program_in_a_packed_image_is_not_run(tmp_path, blosc):
    stored = content(packed=True)
    stored['img'][0] = zlib.compress(pickle.dumps(RunsProgram(tmp_path / 'made')))
    with pytest.raises(DataError, match='Image 0 of .* asks for posix.mkdir'):
        read_pickle(written(tmp_path, stored))
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize(
    'hostile',
    [
        b'cbuiltins\neval\n(Vprint(1)\ntR.',
        b'c_codecs\nencode\n(Vx\nVrot13\ntR.',
        b'cnumpy\nload\n(Vx\ntR.',
        b'cnumpy\nndarray\n(I9\ntR.',
        b'Pother\n.',
        b'not a pickle',
        b'',
    ],
)
def test_other_things_are_refused(hostile):
    with pytest.raises(DataError, match='the pickle'):
        load_plain(hostile, 'the pickle')


def test_plain_data_comes_through():
    plain = {'a': [1, 2.5, 'x', b'y', None, True], 'b': (np.float32(3), np.arange(4))}
    read = load_plain(pickle.dumps(plain), 'it')
    assert read['a'] == plain['a']
    assert read['b'][0] == 3
    np.testing.assert_array_equal(read['b'][1], np.arange(4))


def test_arrays_that_do_not_fit(tmp_path):
    stored = content()
    del stored['mask']
    with pytest.raises(DataError, match='has no key mask'):
        read_pickle(written(tmp_path, stored))
    stored = content()
    stored['frame_id'] = stored['frame_id'][:-1]
    with pytest.raises(DataError, match='different lengths'):
        read_pickle(written(tmp_path, stored))
    with pytest.raises(DataError, match='holds a list'):
        read_pickle(written(tmp_path, [1]))


def test_frames_that_differ_between_cameras(tmp_path):
    stored = {key: values[:-1] for key, values in content().items()}
    with pytest.raises(DataError, match='camera 2 has 2, the first has 3'):
        read_pickle(written(tmp_path, stored))


def test_camera_that_moves_or_is_not_rigid(tmp_path):
    stored = content()
    stored['camera_translation'][1] += 0.5
    with pytest.raises(DataError, match='camera_translation of cam_000 .* changes by 0.5'):
        read_pickle(written(tmp_path, stored))
    stored = content()
    stored['camera_rotation'][:FRAMES] *= 2
    with pytest.raises(PoseError, match='camera cam_000 .* is not rigid'):
        read_pickle(written(tmp_path, stored))


def test_image_of_another_shape(tmp_path):
    stored = content()
    stored['img'][0] = np.zeros((SIZE, SIZE, 3), np.uint8)
    with pytest.raises(DataError, match='expected \\(3, H, W\\)'):
        read_pickle(written(tmp_path, stored))
    stored['img'][0] = 'text'
    with pytest.raises(DataError, match='Image 0 of .* is a str'):
        read_pickle(written(tmp_path, stored))
