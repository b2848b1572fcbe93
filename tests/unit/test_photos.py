"""Training photos: working sizes, and which of them are used."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from posefield.data.scene import Frame
from posefield.geometry.camera import Camera
from posefield.relocalization.photos import (
    SizedImage,
    WorkingSizes,
    prepare_photo,
    prepare_photos,
    spread_over_poses,
    to_u8,
)
from support.textured_room import TexturedRoom, look_at, pinhole

SIZES = WorkingSizes(sparse=96, keyframe=60, training=40, max_keypoints=200)


def line_of_poses(positions: np.ndarray) -> np.ndarray:
    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    poses[:, 0, 3] = positions
    return poses


def test_few_poses_are_all_taken():
    poses = line_of_poses(np.arange(4.0))
    assert spread_over_poses(poses, 4, 1.0).tolist() == [0, 1, 2, 3]
    assert spread_over_poses(poses, 10, 1.0).tolist() == [0, 1, 2, 3]


def test_chosen_poses_cover_a_path_evenly_even_where_the_photos_crowd():
    crowd = np.concatenate([np.linspace(0.0, 0.1, 80), np.linspace(0.2, 10.0, 40)])
    rows = spread_over_poses(line_of_poses(crowd), 11, 1.0)
    assert len(set(rows.tolist())) == 11
    assert (np.diff(rows) > 0).all()
    gaps = np.abs(crowd[:, None] - crowd[rows]).min(axis=1)
    assert gaps.max() <= 0.8


def test_directions_count_as_well_as_places():
    angles = np.deg2rad(np.arange(0.0, 360.0, 10.0))
    targets = np.stack([np.cos(angles), np.sin(angles), 0.0 * angles], axis=1)
    poses = np.stack([look_at(np.zeros(3), target) for target in targets])
    rows = spread_over_poses(poses, 4, 1.0)
    turned = np.rad2deg(np.diff(angles[rows], append=angles[rows[0]] + 2 * np.pi))
    assert turned.max() <= 120.0


def test_the_scale_weighs_places_against_directions():
    """On a long line with one turned camera, the turn matters more the larger the scale."""
    poses = line_of_poses(np.linspace(0.0, 1.0, 20))
    poses[10, :3, :3] = look_at(np.zeros(3), np.array([1.0, 0.0, 0.0]))[:3, :3]
    assert 10 in spread_over_poses(poses, 2, 10.0)
    assert 10 not in spread_over_poses(poses, 2, 0.01)


def test_an_image_is_reduced_but_never_enlarged():
    room = TexturedRoom(seed=0)
    camera = pinhole(120, 90, 100.0)
    image = SizedImage(room.view(camera, look_at(np.zeros(3), np.array([1.0, 0, 0])))[0], camera)
    small = image.with_short_side(45)
    assert small.image_HW3.shape == (45, 60, 3)
    assert (small.camera.width, small.camera.height) == (60, 45)
    assert small.camera.fx == 50.0
    assert small.camera.cx == pytest.approx((59.5 + 0.5) / 2 - 0.5)
    np.testing.assert_allclose(small.image_HW3.mean(), image.image_HW3.mean(), atol=0.01)
    assert image.with_short_side(90) is image
    assert image.with_short_side(500) is image


def test_colours_are_rounded_and_clipped():
    colours = np.array([-0.2, 0.0, 0.4999 / 255, 0.501 / 255, 1.0, 1.7])
    assert to_u8(colours).tolist() == [0, 0, 0, 1, 255, 255]


@pytest.fixture(scope='module')
def frame(tmp_path_factory) -> Frame:
    camera = Camera(160, 120, 130.0, 130.0, 79.5, 59.5, 'plumb_bob', (-0.2, 0.05, 0.0, 0.0))
    T = look_at(np.zeros(3), np.array([1.0, 0.3, 0.1]))
    image = to_u8(TexturedRoom(seed=0, finest=0.1).view(camera, T)[0])
    path = Path(tmp_path_factory.mktemp('photos')) / 'a.png'
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return Frame('a.png', path, camera, T)


def test_a_photo_is_undistorted_and_brought_to_all_sizes(frame):
    photo = prepare_photo(frame, SIZES, is_keyframe=True)
    for camera in (photo.sparse_camera, photo.keyframe_camera, photo.training_camera):
        assert not camera.is_distorted
    assert min(photo.keyframe_u8.shape[:2]) == 60
    assert min(photo.training_u8.shape[:2]) == 40
    assert photo.training_u8.dtype == np.uint8
    assert len(photo.keypoints) > 20
    assert photo.keypoints.pixels_N2.max(axis=0)[0] < photo.sparse_camera.width
    assert photo.T_map_cam is frame.T_map_cam
    ideal = TexturedRoom(seed=0, finest=0.1).view(photo.training_camera, frame.T_map_cam)[0]
    difference = np.abs(photo.training_u8 / 255.0 - ideal)
    assert difference.mean() < 0.02


def test_only_keyframes_get_keypoints_and_an_image_to_keep(frame):
    photo = prepare_photo(frame, SIZES, is_keyframe=False)
    assert photo.keypoints is None
    assert photo.keyframe_u8 is None
    assert photo.training_u8 is not None


def test_preparing_reports_and_can_be_stopped(frame):
    fractions = []
    photos = prepare_photos([frame, frame], frozenset({'a.png'}), SIZES, report=fractions.append)
    assert len(photos) == 2
    assert fractions == [0.5, 1.0]

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_photos([frame], frozenset(), SIZES, check_stop=stop)
