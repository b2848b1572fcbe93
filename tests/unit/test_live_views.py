"""Views to track in are undistorted, small and masked."""

import numpy as np

from posefield.articulation.live_views import live_view
from posefield.data.background import Background
from posefield.geometry.camera import Camera
from support.multiviews import draw_ball, ring_of_cameras

(RIG, *_) = ring_of_cameras(2, size=96)
IMAGE, MASK = draw_ball(RIG, np.zeros(3))


def test_a_view_is_made_small_with_its_mask():
    view = live_view(IMAGE, 255 * MASK, RIG.camera, RIG.T_world_cam, short_side=48)
    assert view.image_HW3.shape == (48, 48, 3) and view.image_HW3.dtype == np.float32
    assert view.camera == RIG.camera.resized(48, 48)
    expected = MASK.reshape(48, 2, 48, 2).mean(axis=(1, 3))
    np.testing.assert_array_equal(view.mask_HW == 1, expected > 0.76)
    assert (view.mask_HW[(expected > 0.3) & (expected < 0.7)] == 2).all()


def test_a_small_view_stays_as_it_is_and_needs_no_mask():
    view = live_view(IMAGE, None, RIG.camera, RIG.T_world_cam, short_side=200)
    np.testing.assert_allclose(view.image_HW3, IMAGE / 255.0, atol=1e-6)
    assert view.mask_HW is None and view.camera == RIG.camera


def test_a_background_makes_the_mask():
    empty = Background.of_image(np.full((192, 192, 3), 90, np.uint8))
    view = live_view(IMAGE, None, RIG.camera, RIG.T_world_cam, short_side=96, background=empty)
    sure = view.mask_HW != 2
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(view.mask_HW[sure], MASK[sure])


def test_a_lens_is_undistorted():
    lens = Camera(96, 96, 115.0, 115.0, 47.5, 47.5, 'plumb_bob', (-0.2, 0.05, 0.0, 0.0))
    view = live_view(IMAGE, 255 * MASK, lens, RIG.T_world_cam, short_side=96)
    assert not view.camera.is_distorted
    assert (
        view.image_HW3.shape[:2] == view.mask_HW.shape == (view.camera.height, view.camera.width)
    )
