"""Carving by masks, and the scene frame from it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from posefield.data.multiview import Multiview
from posefield.data.visual_hull import normalise, spread, visual_hull
from posefield.errors import DataError
from support.multiviews import BALL_RADIUS, overwrite_masks, write_ball

AWAY = (5.0, -2.0, 1.0)


def test_hull_holds_the_ball_tightly(tmp_path):
    multiview = write_ball(tmp_path / 'a', cameras=8, frames=2, size=64, centre_3=AWAY)
    hull = visual_hull(multiview, [0, 1], resolution=48)
    assert hull.frames == (0, 1)
    for occupied_N, x in zip(hull.occupied_FN, (-0.3, 0.3), strict=True):
        away_N = np.linalg.norm(hull.points_N3[occupied_N] - AWAY - [x, 0, 0], axis=1)
        volume = occupied_N.sum() * hull.voxel**3
        sphere = 4 / 3 * np.pi * BALL_RADIUS**3
        assert 1.0 * sphere < volume < 1.6 * sphere
        assert away_N.max() < 1.6 * BALL_RADIUS


def test_normalisation_centres_and_scales(tmp_path):
    multiview = write_ball(tmp_path / 'a', cameras=8, frames=5, size=64, centre_3=AWAY)
    normalisation = normalise(multiview)
    np.testing.assert_allclose(normalisation.centre_3, AWAY, atol=0.03)
    # The ball's outside goes 0.6 from the middle: moved by 0.3 and 0.3 in radius.
    assert 0.8 < normalisation.length_to_scene(0.6) <= 1.0
    smaller = normalise(multiview, radius=0.65)
    assert smaller.scale == pytest.approx(0.65 * normalisation.scale)


def test_held_out_views_and_frames_have_no_say(tmp_path):
    multiview = write_ball(tmp_path / 'a', cameras=4, held_out=2, frames=5, held_out_frames=(3, 4))
    before = normalise(multiview)
    for view in range(6):
        for frame in range(5):
            if view >= 4 or frame >= 3:
                blank = np.zeros((48, 48), np.uint8)
                cv2.imwrite(str(multiview.mask_path(view, frame)), blank)
    after = normalise(multiview)
    np.testing.assert_array_equal(before.centre_3, after.centre_3)
    assert before.scale == after.scale


def test_unreliable_pixels_rule_nothing_out(tmp_path):
    multiview = write_ball(tmp_path / 'a', cameras=5, frames=2, size=64)
    whole = visual_hull(multiview, [0])
    mask = cv2.imread(str(multiview.mask_path(0, 0)), cv2.IMREAD_GRAYSCALE)
    mask[:, :32] = 128
    cv2.imwrite(str(multiview.mask_path(0, 0)), mask)
    blotted = visual_hull(multiview, [0])
    volume = whole.occupied_FN.sum() * whole.voxel**3
    assert blotted.occupied_FN.sum() * blotted.voxel**3 >= 0.99 * volume
    mask[:, :32] = 0
    cv2.imwrite(str(multiview.mask_path(0, 0)), mask)
    carved = visual_hull(multiview, [0])
    assert carved.occupied_FN.sum() * carved.voxel**3 < 0.9 * volume


@pytest.mark.parametrize(
    ('views', 'grey', 'message'),
    [
        ((0, 1, 2), 0, 'All masks of .* are empty'),
        ((0, 1, 2), 255, 'All masks of .* are full'),
        ((1,), 0, 'camera cam1 of .* sees nothing'),
        ((2,), 255, 'masks of camera cam2 of .* are full'),
    ],
)
def test_masks_that_outline_nothing(tmp_path, views, grey, message):
    multiview = write_ball(tmp_path / 'a')
    for view in views:
        overwrite_masks(multiview, view, grey)
    with pytest.raises(DataError, match=message):
        normalise(multiview)


def with_moved_camera(multiview: Multiview, view: int, T_moved: np.ndarray) -> Multiview:
    cameras = list(multiview.cameras)
    moved = T_moved @ cameras[view].T_world_cam
    cameras[view] = replace(cameras[view], T_world_cam=moved)
    return replace(multiview, cameras=tuple(cameras))


def test_cameras_that_do_not_fit_together(tmp_path):
    multiview = write_ball(tmp_path / 'a', cameras=6)
    shifted = np.eye(4)
    shifted[2, 3] = 0.9
    with pytest.raises(DataError, match='looks past'):
        normalise(with_moved_camera(multiview, 0, shifted))
    shifted[2, 3] = 5.0
    with pytest.raises(DataError, match='camera cam0 of .* looks past'):
        normalise(with_moved_camera(multiview, 0, shifted))


def test_cameras_side_by_side_leave_the_depth_open(tmp_path):
    multiview = write_ball(tmp_path / 'a', cameras=2)
    cameras = (multiview.cameras[0], replace(multiview.cameras[0], name='twin'))
    (tmp_path / 'a/masks/cam1').rename(tmp_path / 'a/masks/twin')
    for frame in range(3):
        twin = multiview.root / f'masks/twin/{frame:06d}.png'
        twin.write_bytes(multiview.mask_path(0, frame).read_bytes())
    with pytest.raises(DataError, match='leave the size of the object open'):
        normalise(replace(multiview, cameras=cameras))


def test_object_in_one_image_at_a_time(tmp_path):
    multiview = write_ball(tmp_path / 'a', cameras=2, frames=2)
    blank = np.zeros((48, 48), np.uint8)
    cv2.imwrite(str(multiview.mask_path(0, 0)), blank)
    cv2.imwrite(str(multiview.mask_path(1, 1)), blank)
    with pytest.raises(DataError, match='In no frame of .* do 2 cameras see'):
        normalise(multiview)


def test_spread_takes_first_and_last():
    assert spread(range(10), 4) == (0, 3, 6, 9)
    assert spread((3, 5), 4) == (3, 5)
