"""Resampling of images under the pixel convention."""

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from posefield.errors import CameraError
from posefield.geometry.camera import Camera
from posefield.geometry.images import resize, to_float_rgb, undistort

sizes = st.integers(8, 60)


def ramp(width: int, height: int) -> np.ndarray:
    """An image whose channels are the x and y of each pixel centre."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y], axis=-1).astype(np.float32)


@given(sizes, sizes, st.integers(1, 5))
def test_shrinking_by_a_whole_number_samples_the_convention(width, height, factor):
    small = resize(ramp(width * factor, height * factor), width, height)
    expected = (ramp(width, height) + 0.5) * factor - 0.5
    np.testing.assert_allclose(small, expected, atol=1e-2)


@given(sizes, sizes, st.integers(2, 5))
def test_growing_and_shrinking_back_gives_the_image(width, height, factor):
    image = ramp(width, height)
    back = resize(resize(image, width * factor, height * factor), width, height)
    # The outermost pixels have no neighbour to interpolate with.
    np.testing.assert_allclose(back[1:-1, 1:-1], image[1:-1, 1:-1], atol=1e-2)


def test_an_image_of_the_size_wanted_is_passed_on():
    image = ramp(8, 6)
    assert resize(image, 8, 6) is image


DISTORTED = [
    Camera(64, 48, 60.0, 62.0, 31.0, 24.0, 'plumb_bob', (-0.2, 0.05, 0.002, -0.003, 0.0)),
    Camera(64, 48, 60.0, 62.0, 31.0, 24.0, 'rational_polynomial', (0.1, 0.02, 0, 0, 0, 0.3, 0, 0)),
    Camera(64, 48, 60.0, 62.0, 31.0, 24.0, 'equidistant', (0.05, 0.0, 0.0, 0.0)),
]


@pytest.mark.parametrize('camera', DISTORTED, ids=lambda camera: camera.model)
def test_undistorted_pixels_show_what_their_ray_saw(camera):
    straight, ideal = undistort(ramp(64, 48), camera)
    assert not ideal.is_distorted
    height, width = straight.shape[:2]
    assert (ideal.width, ideal.height) == (width, height)
    y, x = np.mgrid[:height, :width]
    rays = ideal.unproject(np.stack([x, y], axis=-1).reshape(-1, 2))
    source, visible = camera.project(rays)
    inside = visible & (source >= 0).all(axis=1) & (source <= [63, 47]).all(axis=1)
    assert inside.sum() > 1000
    # remap interpolates between 32 positions of a pixel.
    np.testing.assert_allclose(straight.reshape(-1, 2)[inside], source[inside], atol=0.05)


# A strong cushion bends the border inwards; the principal point makes one side worse.
CUSHION = Camera(64, 48, 60.0, 60.0, 34.0, 22.0, 'plumb_bob', (0.35, 0.1, 0.0, 0.0, 0.0))


@pytest.mark.parametrize('camera', [*DISTORTED, CUSHION], ids=lambda camera: str(camera.cx))
def test_every_undistorted_pixel_was_seen_by_the_lens(camera):
    white, ideal = undistort(np.full((48, 64, 3), 255, np.uint8), camera)
    assert (white == 255).all()
    assert white.shape == (ideal.height, ideal.width, 3)


def test_a_border_that_was_never_seen_is_cut_and_points_stay_on_their_pixels():
    straight, ideal = undistort(ramp(64, 48), CUSHION)
    assert ideal.width < 64 and ideal.height < 48
    assert ideal.width * ideal.height > 0.5 * 64 * 48
    points = np.random.default_rng(0).uniform([-1, -1, 2], [1, 1, 3], (500, 3))
    there, visible = ideal.project(points)
    source, seen = CUSHION.project(points)
    inner = visible & (there > 1).all(axis=1)
    inner &= (there < [ideal.width - 2, ideal.height - 2]).all(axis=1)
    assert inner.sum() > 100 and seen[inner].all()
    found = cv2.remap(straight, *there[inner].T.astype(np.float32)[..., None], cv2.INTER_LINEAR)
    np.testing.assert_allclose(found.reshape(-1, 2), source[inner], atol=0.1)


def test_an_ideal_image_is_passed_on():
    image = ramp(64, 48)
    camera = Camera(64, 48, 60.0, 60.0, 31.5, 23.5, 'plumb_bob', (0.0,) * 5)
    assert undistort(image, camera)[0] is image


def test_an_image_of_another_size_than_the_camera_is_refused():
    with pytest.raises(CameraError, match='32x24 but its intrinsics are for 64x48'):
        undistort(ramp(32, 24), DISTORTED[0])


def test_pixels_become_floats_from_0_to_1():
    grey = to_float_rgb(np.array([[0, 255], [51, 102]], np.uint8))
    assert grey.dtype == np.float32 and grey.shape == (2, 2, 3)
    np.testing.assert_allclose(grey[..., 1], [[0.0, 1.0], [0.2, 0.4]], atol=1e-7)
    already = np.full((2, 2, 3), 0.5, np.float32)
    assert to_float_rgb(already) is already
    assert to_float_rgb(already.astype(np.float64)).dtype == np.float32
