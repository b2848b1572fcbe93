"""Importing Cambridge Landmarks."""

from pathlib import Path

import numpy as np
import pytest

from posefield.data.cambridge import forward_distortion, read_cambridge, read_nvm_cameras
from posefield.data.pose_files import NamedPose, write_cambridge_poses
from posefield.errors import CameraError, DataError, PoseError
from posefield.geometry.camera import Camera
from posefield.geometry.poses import invert, to_quat_xyzw
from support.scenes import pose, write_picture

SIZE = (48, 27)
TRAIN = ['seq1/frame00001.png', 'seq1/frame00002.png', 'seq3/frame00001.png']
TEST = ['seq2/frame00001.png', 'seq2/frame00004.png']


def named(names: list[str], first: int = 0) -> list[NamedPose]:
    return [NamedPose(name, pose(first + index)) for index, name in enumerate(names)]


def nvm_lines(poses: list[NamedPose], radial: float = 0.0) -> str:
    """The model of the published scenes: JPEG names, focal lengths of 1920 pixels wide images."""
    lines = ['NVM_V3 ', '', str(len(poses))]
    for index, entry in enumerate(poses):
        x, y, z, w = to_quat_xyzw(invert(entry.T_map_cam))
        numbers = ' '.join(f'{number:.9f}' for number in (w, x, y, z, *entry.T_map_cam[:3, 3]))
        name = entry.name.replace('.png', '.jpg')
        lines.append(f'{name}\t{1600.0 + index} {numbers} {radial} 0 ')
    return '\n'.join([*lines, '', '1', '0 0 0 255 255 255 1 0 0 1.5 2.5', ''])


def write_scene(folder: Path, suffix: str = '.png', radial: float = 0.0) -> Path:
    train, test = named(TRAIN), named(TEST, 3)
    folder.mkdir(exist_ok=True)
    write_cambridge_poses(folder / 'dataset_train.txt', train)
    write_cambridge_poses(folder / 'dataset_test.txt', test)
    (folder / 'reconstruction.nvm').write_text(nvm_lines([*test, *train], radial))
    for index, name in enumerate(TRAIN + TEST):
        write_picture((folder / name).with_suffix(suffix), index, SIZE)
    return folder


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_lists_give_poses_and_splits_and_the_model_focal_lengths(tmp_path, suffix):
    scene = read_cambridge(write_scene(tmp_path, suffix))
    renamed = [name.replace('.png', suffix) for name in sorted(TRAIN + TEST)]
    assert [frame.name for frame in scene.frames] == renamed
    assert scene.splits == {
        'train': tuple(name.replace('.png', suffix) for name in TRAIN),
        'test': tuple(name.replace('.png', suffix) for name in TEST),
    }
    assert scene.units == 'metres' and scene.skipped == ()
    by_name = {frame.name: frame for frame in scene.frames}
    for index, name in enumerate(TRAIN + TEST):
        frame = by_name[name.replace('.png', suffix)]
        np.testing.assert_allclose(frame.T_map_cam, pose(index), atol=1e-12)
        focal = 1600.0 + (index + 2 if name in TRAIN else index - 3)
        assert frame.camera.fx == frame.camera.fy == pytest.approx(focal * 48 / 1920)
    assert (scene.frames[0].camera.cx, scene.frames[0].camera.cy) == (23.5, 13.0)
    assert scene.frames[0].camera.model == 'pinhole'


def test_one_focal_length_for_all_needs_no_model(tmp_path):
    write_scene(tmp_path, radial=0.1)
    (tmp_path / 'reconstruction.nvm').unlink()
    with pytest.raises(DataError, match=r'has no reconstruction.nvm.*give one with --focal'):
        read_cambridge(tmp_path)
    cameras = {frame.camera for frame in read_cambridge(tmp_path, focal=41.85).frames}
    assert cameras == {Camera(48, 27, 41.85, 41.85, 23.5, 13.0)}
    with pytest.raises(CameraError, match='fx=-1'):
        read_cambridge(tmp_path, focal=-1.0)


def test_the_distortion_of_the_model_is_turned_round(tmp_path):
    radial = -0.15
    camera = read_cambridge(write_scene(tmp_path, radial=radial)).frames[0].camera
    assert camera.model == 'plumb_bob'
    distorted = np.array([[0.3, 0.1], [-0.2, 0.25], [0.05, -0.3]])
    undistorted = distorted * (1.0 + radial * (distorted**2).sum(axis=1, keepdims=True))
    points = np.concatenate([undistorted, np.ones((3, 1))], axis=1)
    pixels, _ = camera.project(points)
    expected = distorted * camera.fx + [camera.cx, camera.cy]
    np.testing.assert_allclose(pixels, expected, atol=1e-3)
    ignored = points[:, :2] * camera.fx + [camera.cx, camera.cy]
    assert np.abs(ignored - expected).max() > 0.05


def test_no_distortion_is_a_pinhole():
    assert forward_distortion(0.0) == ()


def test_far_away_and_missing_images_are_skipped_with_a_note(tmp_path):
    write_scene(tmp_path)
    text = (tmp_path / 'dataset_train.txt').read_text()
    outlier = 'seq5/frame00297.png 3117382476.41 -137672612.29 -1240777531.79 1 0 0 0\n'
    (tmp_path / 'dataset_train.txt').write_text(text + outlier)
    (tmp_path / TRAIN[1]).unlink()
    scene = read_cambridge(tmp_path)
    assert scene.skipped == (TRAIN[1], 'seq5/frame00297.png (listed 3.36e+09 m away)')
    assert scene.splits['train'] == (TRAIN[0], TRAIN[2])


def test_a_split_without_images_is_left_out(tmp_path):
    write_scene(tmp_path)
    for name in TEST:
        (tmp_path / name).unlink()
    scene = read_cambridge(tmp_path)
    assert list(scene.splits) == ['train'] and scene.skipped == tuple(TEST)
    (tmp_path / 'dataset_test.txt').unlink()
    assert read_cambridge(tmp_path).skipped == ()
    for name in TRAIN:
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r'None of .*train.txt lists .*skipped: seq1/frame00001'):
        read_cambridge(tmp_path)
    write_cambridge_poses(tmp_path / 'dataset_train.txt', [])
    with pytest.raises(DataError, match=r'None of .*train.txt lists .*skipped: nothing'):
        read_cambridge(tmp_path)


def test_every_nth_image_can_be_held_out_instead(tmp_path):
    assert read_cambridge(write_scene(tmp_path), every=5).splits['test'] == (TRAIN[0],)


def test_masks_beside_the_lists_are_taken(tmp_path):
    write_scene(tmp_path)
    write_picture(tmp_path / 'masks' / 'seq1' / 'frame00002.png', 25, SIZE)
    frames = read_cambridge(tmp_path).frames
    assert [frame.name for frame in frames if frame.mask_path] == [TRAIN[1]]


def test_names_cannot_leave_the_folder(tmp_path):
    write_scene(tmp_path / 'scene')
    write_picture(tmp_path / 'other.png', 1, SIZE)
    write_cambridge_poses(tmp_path / 'scene' / 'dataset_test.txt', named(['../other.png']))
    assert read_cambridge(tmp_path / 'scene').skipped == ('other.png',)


@pytest.mark.parametrize(
    ('line', 'error', 'message'),
    [
        ('seq1/frame00009.png 1 2 3', DataError, 'must be "image x y z qw qx qy qz"'),
        ('seq1/frame00009.png 1 2 3 1 0 0 west', DataError, 'must be'),
        ('seq1/frame00009.png 1 2 3 9 0 0 0', PoseError, 'norm 9'),
    ],
)
def test_a_malformed_line_is_named_by_file_and_number(tmp_path, line, error, message):
    write_scene(tmp_path)
    path = tmp_path / 'dataset_test.txt'
    path.write_text(f'{path.read_text()}{line}\n')
    with pytest.raises(error, match=f'Line 6 of .*dataset_test.txt .*{message}'):
        read_cambridge(tmp_path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'no VisualSFM model'),
        ('# Bundle file v0.3\n1', 'no VisualSFM model'),
        ('NVM_V3', 'how many cameras'),
        ('NVM_V3\n\nmany\n', "how many cameras it has, found 'many'"),
        ('NVM_V3\n\n2\na.jpg 1600 1 0 0 0 0 0 0 0 0\n', 'has 2 cameras but lines of 1'),
        ('NVM_V3\n\n1\na.jpg 1600 1 0 0 0 0 0 0 0\n', 'Line 4 of .*nvm must be "file focal'),
        ('NVM_V3\n\n1\na.jpg 1600 1 0 0 0 0 0 0 x 0\n', 'Line 4 of .*nvm must be'),
    ],
)
def test_a_model_that_cannot_be_used_is_named(tmp_path, content, message):
    write_scene(tmp_path)
    (tmp_path / 'reconstruction.nvm').write_text(content)
    with pytest.raises(DataError, match=message):
        read_cambridge(tmp_path)


def test_an_image_that_is_not_in_the_model_is_named(tmp_path):
    write_scene(tmp_path)
    (tmp_path / 'reconstruction.nvm').write_text(nvm_lines(named(TRAIN)))
    with pytest.raises(
        DataError, match=r'image seq2/frame00001.png is not in .*reconstruction.nvm'
    ):
        read_cambridge(tmp_path)


def test_names_in_the_model_may_have_spaces(tmp_path):
    path = tmp_path / 'a.nvm'
    path.write_text('NVM_V3 FixedK 1 2 3 4\n\n1\nmy photo 1.jpg\t900 1 0 0 0 0 0 0 0.5 0\n')
    cameras = read_nvm_cameras(path)
    assert list(cameras) == ['my photo 1'] and cameras['my photo 1'].radial == 0.5


def test_a_folder_without_lists_is_refused(tmp_path):
    with pytest.raises(DataError, match='has no dataset_train.txt'):
        read_cambridge(tmp_path)
