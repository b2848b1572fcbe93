"""The frame of published poses: check vector, forms, averages, and the paper's scenes."""

import numpy as np
import pytest

from posefield.data.paper_scenes import PAPER_SCENES, paper_scene
from posefield.data.recentring import Recentring, average_pose
from posefield.errors import DataError, PoseError
from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.poses import from_quat_xyzw, invert
from support.scenes import pose

# chess seq-03/frame-000844 (nefes.md 7.3): pseudo ground truth, average and published pose.
CHESS_AVERAGE = np.array(
    [
        [0.934056, -0.066595, 0.350862, -0.423828],
        [0.183886, 0.931897, -0.312658, 0.580344],
        [-0.306146, 0.356558, 0.882690, 0.434118],
    ]
)
CHESS_T_CAM_MAP = from_quat_xyzw(
    np.array([0.238647, -0.0010699, -0.0210307, 0.970878]),
    np.array([-0.330594, 1.023402, -0.834216]),
)
CHESS_PUBLISHED = np.array(
    [
        [0.944352, -0.266010, 0.193489, 0.300616],
        [-0.033277, -0.662467, -0.748351, -0.788518],
        [0.327249, 0.700269, -0.634454, 1.301078],
    ]
)
POSES_N44 = np.stack([pose(index) for index in range(5)])
FORMS = ('sfm', 'dslam')


def test_the_published_pose_of_a_chess_frame_comes_out():
    chess = Recentring(CHESS_AVERAGE, 'sfm')
    published = chess.to_published(invert(CHESS_T_CAM_MAP))
    np.testing.assert_allclose(published[:3], CHESS_PUBLISHED, atol=1e-5)
    back = chess.from_published(np.vstack([CHESS_PUBLISHED, [0, 0, 0, 1]]))
    np.testing.assert_allclose(invert(back), CHESS_T_CAM_MAP, atol=1e-5)


def test_the_paper_sees_the_chess_frame_where_it_was_published():
    centre = paper_scene('chess').to_nerf(CHESS_PUBLISHED[None, :, 3])
    np.testing.assert_allclose(centre, [[0.150308, -0.394259, 1.650539]], atol=1e-6)


@pytest.mark.parametrize('form', FORMS)
def test_both_forms_go_there_and_back(form):
    recentring = Recentring(average_pose(POSES_N44), form)
    published = recentring.to_published(POSES_N44)
    assert not np.allclose(published, POSES_N44)
    np.testing.assert_allclose(recentring.from_published(published), POSES_N44, atol=1e-12)
    np.testing.assert_allclose(recentring.from_published(published[2]), pose(2), atol=1e-12)


def test_the_forms_differ_by_a_half_turn_of_the_world():
    sfm, dslam = (Recentring(CHESS_AVERAGE, form).to_published(pose(1)) for form in FORMS)
    np.testing.assert_allclose(dslam[0], sfm[0])
    np.testing.assert_allclose(dslam[1:3], -sfm[1:3])


@pytest.mark.parametrize('form', FORMS)
def test_published_cameras_look_along_minus_z(form):
    recentring = Recentring(np.eye(4), form)
    ahead = np.array([0.0, 0.0, 2.0, 1.0])
    point_map = pose(3) @ ahead
    point_cam = invert(recentring.to_published(pose(3))) @ recentring.T_published_map @ point_map
    np.testing.assert_allclose(point_cam, [0.0, 0.0, -2.0, 1.0], atol=1e-12)


def test_poses_re_centred_by_their_own_average_are_centred_and_look_along_z():
    centred = invert(average_pose(POSES_N44)) @ POSES_N44
    np.testing.assert_allclose(centred[:, :3, 3].mean(axis=0), 0.0, atol=1e-12)
    z = centred[:, :3, 2].mean(axis=0)
    np.testing.assert_allclose(z / np.linalg.norm(z), [0.0, 0.0, 1.0], atol=1e-12)
    assert abs(centred[:, 0, 1].mean()) < 1e-12 and centred[:, 1, 1].mean() > 0


def test_the_average_of_one_pose_is_that_pose():
    np.testing.assert_allclose(average_pose(pose(2)[None]), pose(2), atol=1e-12)


def test_poses_without_an_average_and_unknown_forms_are_refused():
    opposite = np.stack([np.eye(4), np.diag([-1.0, 1.0, -1.0, 1.0])])
    with pytest.raises(DataError, match='The 2 poses have no average'):
        average_pose(opposite)
    with pytest.raises(DataError, match="must be sfm or dslam, got 'colmap'"):
        Recentring(np.eye(4), 'colmap')
    with pytest.raises(PoseError, match='The average pose is not rigid'):
        Recentring(2.0 * np.eye(4), 'sfm')


def test_the_ray_ranges_of_the_paper_are_as_many_metres():
    metres = {name: scene.far / scene.scale for name, scene in PAPER_SCENES.items()}
    expected = {
        'chess': 4, 'fire': 3, 'heads': 2.5, 'office': 4, 'pumpkin': 5, 'redkitchen': 4,
        'stairs': 4, 'KingsCollege': 165, 'OldHospital': 165, 'ShopFacade': 206,
        'StMarysChurch': 165, 'GreatCourt': 165,
    }  # fmt: skip
    assert metres == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize('name', ['chess', 'OldHospital', 'stairs'])
def test_the_centre_of_a_paper_scene_gives_its_coordinates_up_to_a_rotation(name):
    scene = paper_scene(name)
    recentring = Recentring(CHESS_AVERAGE, scene.form)
    ours = (POSES_N44[:, :3, 3] - scene.centre_in_map(recentring)) * scene.scale
    theirs = scene.to_nerf(recentring.to_published(POSES_N44)[:, :3, 3])
    R = recentring.T_published_map[:3, :3]
    np.testing.assert_allclose(ours @ R.T, theirs, atol=1e-9)


def test_the_paper_averaged_what_the_files_hold():
    sfm = paper_scene('chess').recentring(POSES_N44)
    np.testing.assert_allclose(sfm.T_map_average, average_pose(invert(POSES_N44)))
    dslam = paper_scene('KingsCollege').recentring(POSES_N44)
    np.testing.assert_allclose(dslam.T_map_average, average_pose(POSES_N44))
    assert (sfm.form, dslam.form) == ('sfm', 'dslam')


def test_the_paper_sets_up_our_transform():
    scene = paper_scene('OldHospital')
    recentring = scene.recentring(POSES_N44)
    transform = SceneTransform(
        tuple(scene.centre_in_map(recentring)), scene.scale, scene.near, scene.far
    )
    ours = transform.camera_to_field(pose(2))[:3, 3]
    theirs = scene.to_nerf(recentring.to_published(pose(2))[None, :3, 3])[0]
    assert np.linalg.norm(ours) == pytest.approx(np.linalg.norm(theirs))


def test_focal_lengths_of_the_paper_go_with_the_size():
    assert paper_scene('chess').focal_at(320, 240) == pytest.approx(263.11)
    assert paper_scene('ShopFacade').focal_at(854, 480) == 744
    assert paper_scene('ShopFacade').focal_at(1920, 1080) == pytest.approx(1674)


def test_an_unknown_scene_is_named_with_those_there_are():
    with pytest.raises(DataError, match="no scene 'attic', expected one of chess, fire"):
        paper_scene('attic')
