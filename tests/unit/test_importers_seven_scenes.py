"""Importing 7-Scenes folders."""

import json

import numpy as np
import pytest

from posefield.data.seven_scenes import read_seven_scenes
from posefield.errors import DataError, PoseError
from posefield.geometry.poses import invert, to_quat_xyzw
from support.scenes import SIZE, pose, write_picture


def write_sequences(folder, suffix='png', sequences=('seq-01', 'seq-02'), count=3):
    """Images with distributed poses, and pseudo ground truth that is shifted by 1 m in x.

    Focal lengths are 25 pixels in the first sequence and 26 in the second, listed for images as
    wide as the published ones.
    """
    lines = []
    for s, sequence in enumerate(sequences):
        for i in range(count):
            stem = folder / sequence / f'frame-{i:06d}'
            write_picture(stem.with_suffix(f'.color.{suffix}'), i)
            T = pose(3 * s + i)
            np.savetxt(stem.with_suffix('.pose.txt'), T)
            T[0, 3] += 1.0
            T_cam_map = invert(T)
            qx, qy, qz, qw = to_quat_xyzw(T_cam_map)
            numbers = [qw, qx, qy, qz, *T_cam_map[:3, 3], (25.0 + s) * 640 / SIZE[0]]
            words = [f'{number:.9f}' for number in numbers]
            lines.append(f'{sequence}/frame-{i:06d}.color.png {" ".join(words)}')
    (folder / 'pgt.txt').write_text('\n'.join(lines) + '\n')
    return folder


@pytest.mark.parametrize('suffix', ['png', 'jpg'])
def test_distributed_poses_go_with_the_focal_length_of_the_depth_camera(tmp_path, suffix):
    scene = read_seven_scenes(write_sequences(tmp_path, suffix))
    assert len(scene.frames) == 6 and scene.units == 'metres'
    assert scene.frames[4].name == f'seq-02/frame-000001.color.{suffix}'
    np.testing.assert_allclose(scene.frames[4].T_map_cam, pose(4), atol=1e-9)
    camera = scene.frames[0].camera
    assert camera.fx == 585.0 * SIZE[0] / 640
    assert (camera.cx, camera.cy) == (7.5, 5.5)
    assert scene.splits['test'] == (scene.frames[0].name,)


@pytest.mark.parametrize('suffix', ['png', 'jpg'])
def test_pseudo_ground_truth_is_world_to_camera_with_a_focal_length_a_line(tmp_path, suffix):
    write_sequences(tmp_path, suffix)
    for file in (tmp_path / 'pgt.txt', 'pgt.txt'):
        scene = read_seven_scenes(tmp_path, poses=file)
        T = pose(4)
        T[0, 3] += 1.0
        np.testing.assert_allclose(scene.frames[4].T_map_cam, T, atol=1e-7)
        assert [scene.frames[i].camera.fx for i in (0, 5)] == [25.0, 26.0]


def test_one_sequence_is_a_scene_too(tmp_path):
    write_sequences(tmp_path)
    scene = read_seven_scenes(tmp_path / 'seq-02', poses=tmp_path / 'pgt.txt')
    assert [frame.camera.fx for frame in scene.frames] == [26.0] * 3


def test_images_without_a_pose_are_skipped_and_listed(tmp_path):
    write_sequences(tmp_path)
    (tmp_path / 'seq-01' / 'frame-000001.pose.txt').unlink()
    lines = (tmp_path / 'pgt.txt').read_text().splitlines()
    (tmp_path / 'pgt.txt').write_text('\n'.join(['# a comment', '', *lines[:-1]]))
    assert read_seven_scenes(tmp_path).skipped == ('seq-01/frame-000001.color.png',)
    by_sfm = read_seven_scenes(tmp_path, poses='pgt.txt')
    assert by_sfm.skipped == ('seq-02/frame-000002.color.png',)


def write_splits(folder) -> None:
    lists = {
        'train': ['seq-01/frame-000000.color', 'seq-02/frame-000001.color', 'seq-09/x.color'],
        'test': ['seq-01/frame-000002.color.png'],
    }
    (folder / 'splits.json').write_text(json.dumps({'blocks': lists, 'none': {'train': ['x']}}))


def test_a_split_file_chooses_images(tmp_path):
    write_splits(write_sequences(tmp_path, 'jpg'))
    scene = read_seven_scenes(tmp_path, split_file='splits.json', split_name='blocks')
    assert scene.splits == {
        'train': ('seq-01/frame-000000.color.jpg', 'seq-02/frame-000001.color.jpg'),
        'test': ('seq-01/frame-000002.color.jpg',),
    }
    assert len(scene.frames) == 3
    assert scene.skipped == ('seq-09/x.color',)
    with pytest.raises(DataError, match='no split halves .*found blocks, none'):
        read_seven_scenes(tmp_path, split_file='splits.json', split_name='halves')
    with pytest.raises(DataError, match='None of the 1 images'):
        read_seven_scenes(tmp_path, split_file='splits.json', split_name='none')
    with pytest.raises(DataError, match='no split .unnamed.'):
        read_seven_scenes(tmp_path, split_file='splits.json')
    with pytest.raises(DataError, match='needs a split file'):
        read_seven_scenes(tmp_path, split_name='blocks')
    (tmp_path / 'splits.json').write_text('[]')
    with pytest.raises(DataError, match='must hold an object'):
        read_seven_scenes(tmp_path, split_file='splits.json', split_name='blocks')


def test_the_sequences_of_the_benchmark_are_its_splits(tmp_path):
    write_sequences(tmp_path)
    (tmp_path / 'TrainSplit.txt').write_text('sequence1\nsequence4\n')
    (tmp_path / 'TestSplit.txt').write_text('sequence2\n')
    scene = read_seven_scenes(tmp_path)
    assert {name[:6] for name in scene.splits['train']} == {'seq-01'}
    assert {name[:6] for name in scene.splits['test']} == {'seq-02'}
    assert scene.skipped == ('seq-04',)
    assert len(read_seven_scenes(tmp_path, every=3).splits['test']) == 2
    (tmp_path / 'TrainSplit.txt').write_text('sequence7\n')
    with pytest.raises(DataError, match='TrainSplit.txt lists'):
        read_seven_scenes(tmp_path)


def test_sequences_that_are_not_there_leave_their_split_out(tmp_path):
    write_sequences(tmp_path)
    (tmp_path / 'TrainSplit.txt').write_text('sequence1\n\nsequence2\n')
    (tmp_path / 'TestSplit.txt').write_text('sequence3\nsequence5\n')
    (tmp_path / 'seq-05.zip').touch()
    scene = read_seven_scenes(tmp_path)
    assert list(scene.splits) == ['train'] and len(scene.splits['train']) == 6
    assert scene.skipped == ('seq-03', 'seq-05.zip (packed)')
    (tmp_path / 'TrainSplit.txt').write_text('sequence5\n')
    (tmp_path / 'TestSplit.txt').unlink()
    with pytest.raises(
        DataError, match=r'TrainSplit.txt lists .seq-05.zip .packed. are not there'
    ):
        read_seven_scenes(tmp_path)


@pytest.mark.parametrize('line', ['sequence', 'seq-01 seq-02', 'train 1', 'sequence1.5'])
def test_a_bad_line_of_a_split_is_named(tmp_path, line):
    write_sequences(tmp_path)
    (tmp_path / 'TrainSplit.txt').write_text('sequence1\n')
    (tmp_path / 'TestSplit.txt').write_text(f'sequence2\n{line}\n')
    with pytest.raises(DataError, match=f'Line 2 of .*TestSplit.txt .*found .{line}'):
        read_seven_scenes(tmp_path)


def test_packed_sequences_are_named(tmp_path):
    (tmp_path / 'seq-02.zip').touch()
    (tmp_path / 'seq-01.zip').touch()
    with pytest.raises(DataError, match='unpack seq-01.zip, seq-02.zip there'):
        read_seven_scenes(tmp_path)


def test_a_scene_without_any_pose_says_what_is_missing(tmp_path):
    write_sequences(tmp_path)
    for path in tmp_path.glob('seq-*/*.pose.txt'):
        path.unlink()
    with pytest.raises(
        DataError, match='None of the 6 images .* no frame-000002.pose.txt .*--pos'
    ):
        read_seven_scenes(tmp_path)


def write_pairs(root, extra: str = ''):
    """A scene whose first sequence teaches and second tests, by pose files elsewhere."""
    scene = write_sequences(root / 'chess')
    lines = (scene / 'pgt.txt').read_text().splitlines()
    pairs = root / 'pgt'
    pairs.mkdir()
    (pairs / 'chess_train.txt').write_text('\n'.join(lines[:3]) + '\n' + extra)
    (pairs / 'chess_test.txt').write_text('\n'.join(lines[3:]))
    (pairs / 'fire_train.txt').write_text('\n'.join(lines[:3]))
    return scene, pairs


@pytest.mark.parametrize('given', ['', 'chess_train.txt', 'chess_test.txt'])
def test_a_pair_of_pose_files_is_read_whole_and_says_the_splits(tmp_path, given):
    source, pairs = write_pairs(tmp_path)
    scene = read_seven_scenes(source, poses=pairs / given)
    assert [frame.camera.fx for frame in scene.frames] == [25.0] * 3 + [26.0] * 3
    assert {split: {name[:6] for name in names} for split, names in scene.splits.items()} == {
        'train': {'seq-01'}, 'test': {'seq-02'},
    }  # fmt: skip
    assert scene.skipped == ()
    assert len(read_seven_scenes(source, poses=pairs, every=2).splits['test']) == 3
    (source / 'TrainSplit.txt').write_text('sequence2\n')
    assert read_seven_scenes(source, poses=pairs).splits['train'][0].startswith('seq-02')


def test_a_pair_of_pose_files_says_which_sequences_are_missing(tmp_path):
    source, pairs = write_pairs(tmp_path, 'seq-04/frame-000000.color.png 1 0 0 0 0 0 0 500\n')
    assert read_seven_scenes(source, poses=pairs).skipped == ('seq-04',)
    for poses in (pairs, pairs / 'chess_test.txt'):
        alone = read_seven_scenes(source / 'seq-02', poses=poses)
        assert alone.skipped == () and len(alone.frames) == 3


def test_a_file_without_its_partner_is_read_alone(tmp_path):
    source, pairs = write_pairs(tmp_path)
    scene = read_seven_scenes(source, poses=pairs / 'fire_train.txt')
    assert {name[:6] for name in scene.splits['train']} == {'seq-01'}
    assert len(scene.splits['test']) == 1 and len(scene.skipped) == 3


def test_a_folder_without_the_scenes_pair_names_it(tmp_path):
    source, pairs = write_pairs(tmp_path)
    (pairs / 'chess_test.txt').unlink()
    with pytest.raises(DataError, match='has no chess_train.txt and chess_test.txt; name one'):
        read_seven_scenes(source, poses=pairs)


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(DataError, match='not a folder'):
        read_seven_scenes(tmp_path / 'nothing')
    with pytest.raises(DataError, match='has no images named'):
        read_seven_scenes(tmp_path)
    write_sequences(tmp_path)
    (tmp_path / 'seq-01' / 'frame-000001.pose.txt').write_text('a b')
    with pytest.raises(PoseError, match='frame-000001.pose.txt is not a matrix of numbers'):
        read_seven_scenes(tmp_path)
    with pytest.raises(DataError, match=r'no_such.txt cannot be read'):
        read_seven_scenes(tmp_path, poses='no_such.txt')


def test_poses_of_other_images_are_no_poses(tmp_path):
    write_sequences(tmp_path)
    (tmp_path / 'pgt.txt').write_text('other/a.png 1 0 0 0 0 0 0 500\n')
    with pytest.raises(DataError, match=r'pgt.txt has no pose of any image'):
        read_seven_scenes(tmp_path, poses='pgt.txt')
