"""Files of poses in published formats: round trips, and lines that are wrong."""

import numpy as np
import pytest

from posefield.data.pose_files import (
    NamedPose,
    read_cambridge_poses,
    read_pgt,
    read_pose_matrix,
    read_published_poses,
    write_cambridge_poses,
    write_pgt,
    write_pose_matrix,
    write_published_poses,
)
from posefield.data.recentring import Recentring
from posefield.errors import DataError, PoseError
from posefield.geometry.poses import invert
from support.scenes import pose

NAMES = ['seq-01/frame-000000.color.png', 'seq-01/frame-000001.color.png', 'seq2/x.png']
RECENTRING = Recentring(pose(3), 'dslam')


def named_poses(focal: float | None = 526.22) -> list[NamedPose]:
    return [NamedPose(name, pose(index), focal) for index, name in enumerate(NAMES)]


def assert_same(found: list[NamedPose], expected: list[NamedPose]) -> None:
    assert [p.name for p in found] == [p.name for p in expected]
    assert [p.focal for p in found] == [p.focal for p in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.T_map_cam, other.T_map_cam, atol=1e-12)


def test_pose_matrices_go_there_and_back(tmp_path):
    path = tmp_path / 'frame-000000.pose.txt'
    write_pose_matrix(path, pose(4))
    np.testing.assert_allclose(read_pose_matrix(path), pose(4), atol=1e-15)
    assert len(path.read_text().splitlines()) == 4
    write_pose_matrix(path, pose(4)[:3])
    np.testing.assert_allclose(read_pose_matrix(path), pose(4), atol=1e-15)


def test_pseudo_ground_truth_goes_there_and_back(tmp_path):
    write_pgt(tmp_path / 'pgt.txt', named_poses())
    assert_same(read_pgt(tmp_path / 'pgt.txt'), named_poses())
    with pytest.raises(DataError, match='seq-01/frame-000000.color.png has no focal length'):
        write_pgt(tmp_path / 'pgt.txt', named_poses(focal=None))


def test_pseudo_ground_truth_is_world_to_camera(tmp_path):
    (tmp_path / 'pgt.txt').write_text('a.png 0.6 0.8 0 0 1 2 3 500\n')
    (found,) = read_pgt(tmp_path / 'pgt.txt')
    R = np.array([[1.0, 0.0, 0.0], [0.0, -0.28, -0.96], [0.0, 0.96, -0.28]])
    np.testing.assert_allclose(invert(found.T_map_cam)[:3, :3], R, atol=1e-12)
    np.testing.assert_allclose(invert(found.T_map_cam)[:3, 3], [1.0, 2.0, 3.0], atol=1e-12)


def test_lists_of_cambridge_go_there_and_back(tmp_path):
    path = tmp_path / 'dataset_train.txt'
    write_cambridge_poses(path, named_poses())
    assert_same(read_cambridge_poses(path), named_poses(focal=None))


def test_lists_of_cambridge_hold_the_centre_and_the_rotation_of_the_world(tmp_path):
    path = tmp_path / 'dataset_test.txt'
    path.write_text('Visual Landmark Dataset V1\nImageFile\n\nseq1/a.png 1 2 3 0.6 0.8 0 0\n')
    (found,) = read_cambridge_poses(path)
    R_cam_map = np.array([[1.0, 0.0, 0.0], [0.0, -0.28, -0.96], [0.0, 0.96, -0.28]])
    np.testing.assert_allclose(found.T_map_cam[:3, :3], R_cam_map.T, atol=1e-12)
    assert found.T_map_cam[:3, 3].tolist() == [1.0, 2.0, 3.0]


def test_a_list_of_cambridge_without_its_header_loses_no_pose(tmp_path):
    path = tmp_path / 'dataset_train.txt'
    write_cambridge_poses(path, named_poses())
    path.write_text('\n'.join(path.read_text().splitlines()[1:]))
    with pytest.raises(DataError, match='Line 3 of .*train.txt must belong to the header of 3 l'):
        read_cambridge_poses(path)


@pytest.mark.parametrize('form', ['sfm', 'dslam'])
def test_published_poses_go_there_and_back(tmp_path, form):
    recentring = Recentring(pose(3), form)
    poses_N44 = np.stack([pose(index) for index in range(3)])
    write_published_poses(tmp_path / 'poses.txt', poses_N44, recentring)
    found = read_published_poses(tmp_path / 'poses.txt', recentring)
    np.testing.assert_allclose(found, poses_N44, atol=1e-12)


def test_published_poses_are_re_centred_rows_with_opengl_axes(tmp_path):
    (tmp_path / 'poses.txt').write_text('1 0 0 4 0 1 0 5 0 0 1 6\n')
    (found,) = read_published_poses(tmp_path / 'poses.txt', Recentring(np.eye(4), 'sfm'))
    np.testing.assert_allclose(found[:3, :3], np.diag([1.0, -1.0, -1.0]))
    np.testing.assert_allclose(found[:3, 3], [4.0, 5.0, 6.0])


def test_rotations_of_low_precision_are_made_rigid_again(tmp_path):
    rounded = pose(2)[:3].copy()
    rounded[0, 0] += 8e-4
    (tmp_path / 'poses.txt').write_text(' '.join(map(str, rounded.ravel())))
    (found,) = read_published_poses(tmp_path / 'poses.txt', RECENTRING)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-12)
    rounded[0, 0] += 1e-2
    (tmp_path / 'poses.txt').write_text('\n' + ' '.join(map(str, rounded.ravel())))
    with pytest.raises(PoseError, match='Line 2 of .*poses.txt is not rigid'):
        read_published_poses(tmp_path / 'poses.txt', RECENTRING)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('1 0 0 4 0 1 0 5 0 0 1', 'Line 1 of .*poses.txt must be the 12 numbers'),
        ('1 0 0 4 0 1 0 5 0 0 1 six', 'Line 1 of .* found .1 0 0 4 0 1 0 5 0 0 1 six'),
        ('\n', 'poses.txt has no pose'),
        (None, 'poses.txt cannot be read'),
    ],
)
def test_published_poses_that_cannot_be_used_are_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / 'poses.txt').write_text(content)
    with pytest.raises(DataError, match=message):
        read_published_poses(tmp_path / 'poses.txt', RECENTRING)


@pytest.mark.parametrize(
    ('line', 'error', 'message'),
    [
        ('seq1/a.png 1 2 3 1 0 0', DataError, 'must be "image x y z qw qx qy qz", found .seq1/a'),
        ('seq1/a.png 1 2 3 1 0 0 0 0', DataError, 'must be'),
        ('seq1/a.png 1 2 three 1 0 0 0', DataError, 'must be'),
        ('seq1/a.png', DataError, 'must be'),
        ('seq1/a.png 1 2 3 0 0 0 0', PoseError, 'norm 0, expected 1'),
        ('seq1/a.png 1 2 3 nan 0 0 0', PoseError, 'norm nan'),
        ('seq1/a.png 1 inf 3 1 0 0 0', PoseError, 'position .1.0, inf, 3.0. is not finite'),
    ],
)
def test_a_bad_line_of_cambridge_is_named_by_file_and_number(tmp_path, line, error, message):
    path = tmp_path / 'dataset_train.txt'
    write_cambridge_poses(path, named_poses())
    path.write_text(f'{path.read_text()}\n{line}\n')
    with pytest.raises(error, match=f'Line 8 of .*dataset_train.txt .*{message}'):
        read_cambridge_poses(path)


@pytest.mark.parametrize(
    ('line', 'error', 'message'),
    [
        ('a.png 1 0 0 0 0 0 0', DataError, 'must be "image qw qx qy qz tx ty tz focal"'),
        ('a.png 1 0 0 0 0 0 0 500 1', DataError, 'must be'),
        ('a.png 1 0 0 0 0 0 far 500', DataError, 'must be'),
        ('a.png', DataError, 'must be'),
        ('a.png 0 0 0 0 0 0 0 500', PoseError, 'norm 0'),
        ('a.png 2 0 0 0 0 0 0 500', PoseError, 'norm 2'),
        ('a.png nan 0 0 0 0 0 0 500', PoseError, 'norm nan'),
        ('a.png 1 0 0 0 0 nan 0 500', PoseError, 'not finite'),
    ],
)
def test_a_bad_line_of_pseudo_ground_truth_is_named(tmp_path, line, error, message):
    (tmp_path / 'pgt.txt').write_text(f'# file qw qx qy qz tx ty tz f\n{line}\n')
    with pytest.raises(error, match=f'Line 2 of .*pgt.txt .*{message}'):
        read_pgt(tmp_path / 'pgt.txt')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('1 2 3', 'shape'),
        ('a b', 'not a matrix of numbers'),
        ('1 0 0 0\n0 1 0 0\n0 0 nan 0\n0 0 0 1', 'not finite'),
        ('2 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1', 'not rigid'),
        ('', 'pose.txt'),
    ],
)
def test_a_matrix_that_is_no_pose_is_named(tmp_path, content, message):
    (tmp_path / 'pose.txt').write_text(content)
    with pytest.raises(PoseError, match=message):
        read_pose_matrix(tmp_path / 'pose.txt')
