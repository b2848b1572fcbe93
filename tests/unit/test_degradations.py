"""Seeded degradations of query images."""

import cv2
import numpy as np
import pytest

from posefield.errors import DataError
from posefield.evaluation.degradations import DEGRADATIONS, degradation
from posefield.geometry.camera import Camera


def camera(width: int, height: int) -> Camera:
    return Camera(width, height, width, width, (width - 1) / 2, (height - 1) / 2)


def textured(width: int = 320, height: int = 240) -> np.ndarray:
    noise = np.random.default_rng(0).random((height // 8, width // 8, 3)).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)


def run(name: str, image: np.ndarray, seed: int = 0):
    height, width = image.shape[:2]
    return degradation(name)(image, camera(width, height), np.random.default_rng(seed))


@pytest.mark.parametrize('name', DEGRADATIONS)
def test_every_degradation_changes_the_image_and_repeats_with_its_seed(name):
    image = textured()
    before = image.copy()
    once, its_camera = run(name, image)
    again, _ = run(name, image)
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(image, before)
    assert once.dtype == np.float32 and 0.0 <= once.min() and once.max() <= 1.0
    assert once.shape[:2] == (its_camera.height, its_camera.width)
    assert once.shape != image.shape or np.abs(once - image).mean() > 0.01


@pytest.mark.parametrize('length', [9, 15, 21])
def test_motion_blur_spreads_a_point_over_its_length_at_240_px(length):
    image = np.zeros((240, 320, 3), np.float32)
    image[120, 160] = 1.0
    blurred, _ = run(f'motion_blur_{length}', image)
    y, x = np.nonzero(blurred[..., 0] > 0.3 / length)
    extent = np.hypot(np.ptp(x), np.ptp(y)) + 1
    assert extent == pytest.approx(length, abs=1.6)
    assert blurred.sum() == pytest.approx(3.0, rel=0.01)


def test_blur_grows_with_the_image():
    image = np.zeros((480, 640, 3), np.float32)
    image[240, 320] = 1.0
    blurred, _ = run('motion_blur_15', image)
    y, x = np.nonzero(blurred[..., 0] > 0.01)
    assert np.hypot(np.ptp(x), np.ptp(y)) == pytest.approx(30, abs=3)


def test_noise_is_as_strong_at_240_px_whatever_the_size():
    grey = np.full((960, 1280, 3), 0.5, np.float32)
    noisy, _ = run('noise_30', grey)
    small = cv2.resize(noisy, (320, 240), interpolation=cv2.INTER_AREA)
    assert small.std() * 255 == pytest.approx(30, rel=0.05)


def test_dark_noise_keeps_an_eighth_of_the_light():
    dark, _ = run('dark_noise', np.full((240, 320, 3), 0.8, np.float32))
    assert dark.mean() == pytest.approx(0.1, abs=0.005)
    assert dark.std() * 255 == pytest.approx(4, rel=0.1)


def test_the_occluder_hides_a_quarter():
    image = textured()
    occluded, _ = run('occlusion', image)
    assert (occluded != image).any(axis=2).mean() == pytest.approx(0.25, abs=0.01)


def test_cropping_moves_the_camera_with_the_image():
    image = textured()
    cropped, narrow = run('crop_40', image)
    wide = camera(320, 240)
    assert (narrow.width, narrow.height) == (128, 96)
    point = np.array([[0.05, -0.08, 1.0]])
    (x_wide, y_wide), (x, y) = wide.project(point)[0][0], narrow.project(point)[0][0]
    np.testing.assert_array_equal(cropped[round(y), round(x)], image[round(y_wide), round(x_wide)])


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(DataError, match='motion_blur_9'):
        degradation('fog')
