"""Masks by comparison with the background, and the background of a video."""

import cv2
import numpy as np
import pytest

from posefield.data.background import Background, subtract
from posefield.data.background_video import (
    VideoBackgroundConfig,
    background_of_video,
    repeated_colours,
)
from posefield.errors import DataError

SIZE = 96


def room(seed: int = 0) -> np.ndarray:
    """A background of soft blotches, (H, W, 3) uint8."""
    noise = np.random.default_rng(seed).normal(size=(SIZE, SIZE, 3))
    soft = cv2.GaussianBlur(noise, (0, 0), 8)
    soft = (soft - soft.min()) / np.ptp(soft)
    return (60 + 120 * soft).astype(np.uint8)


def with_disc(image: np.ndarray, x: int, y: int, radius: int, colour=(230, 40, 20)):
    """Return the image with a disc, and where it is (H, W) bool."""
    drawn = cv2.circle(image.copy(), (x, y), radius, colour, -1)
    disc = cv2.circle(np.zeros((SIZE, SIZE), np.uint8), (x, y), radius, 1, -1) > 0
    return drawn, disc


def noisy(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return np.clip(image + generator.normal(0, 1.5, image.shape), 0, 255).astype(np.uint8)


def test_object_before_a_known_background():
    image, disc = with_disc(noisy(room(), np.random.default_rng(1)), 50, 40, 15)
    mask = subtract(image, Background.of_image(room()))
    assert (mask[disc] == 1).mean() > 0.85
    assert not (mask[disc] == 0).any()
    assert (mask[~disc] == 1).mean() < 0.005
    assert (mask[~disc] == 0).mean() > 0.9


def test_outline_is_unreliable():
    image, disc = with_disc(room(), 50, 40, 15)
    mask = subtract(image, Background.of_image(room()))
    inner = cv2.erode(disc.astype(np.uint8), np.ones((7, 7))) > 0
    outer = cv2.dilate(disc.astype(np.uint8), np.ones((13, 13))) > 0
    assert (mask[inner] == 1).all()
    assert (mask[~outer] == 0).all()
    assert (mask[outer & ~inner] == 2).any()


def test_shadow_is_not_object():
    shadow = np.zeros((SIZE, SIZE), bool)
    shadow[60:80, 10:60] = True
    image, disc = with_disc(room(), 50, 30, 15)
    image[shadow] = (0.8 * image[shadow]).astype(np.uint8)
    mask = subtract(image, Background.of_image(room()))
    assert (mask[shadow] == 1).mean() < 0.02
    assert (mask[disc] == 1).mean() > 0.85


def test_specks_are_not_object():
    image, disc = with_disc(room(), 40, 30, 18)
    image, speck = with_disc(image, 85, 85, 2)
    mask = subtract(image, Background.of_image(room()))
    assert not (mask[speck] == 1).any()
    assert (mask[disc] == 1).mean() > 0.85


def test_empty_image_is_background():
    mask = subtract(noisy(room(), np.random.default_rng(2)), Background.of_image(room()))
    assert (mask == 0).mean() > 0.99


def test_other_size_is_refused():
    with pytest.raises(DataError, match='48x48 but its background is 96x96'):
        subtract(room()[:48, :48], Background.of_image(room()))


def swinging(seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A disc that waits in the middle for most of a video; (T, H, W, 3) and where (T, H, W)."""
    generator = np.random.default_rng(3)
    images, discs = [], []
    for second in seconds:
        x = int(48 + 32 * np.clip(4 * abs(second) - 2.2, 0, 1) * np.sign(second))
        image, disc = with_disc(room(), x, 48, 14)
        images.append(noisy(image, generator))
        discs.append(disc)
    return np.stack(images), np.stack(discs)


def test_background_behind_what_hides_it_most_of_the_time():
    images_T, discs_T = swinging(np.linspace(-1, 1, 30))
    waited = discs_T.mean(axis=0) > 0.6
    median = Background.of_median(images_T)
    assert np.abs(median.colours_HW3 - room())[waited].mean() > 50
    found = background_of_video(images_T)
    right = np.abs(found.colours_HW3 - room()).max(axis=-1) < 8
    assert (right | ~found.known_HW)[waited].mean() > 0.97
    assert right[~waited].mean() > 0.97
    masks_T = [subtract(image, found) for image in images_T[::6]]
    for mask, disc in zip(masks_T, discs_T[::6], strict=True):
        assert (mask[disc] == 1).mean() > 0.8
        assert (mask[~disc] == 1).mean() < 0.03


def test_median_shows_the_background_of_what_moves_on():
    generator = np.random.default_rng(4)
    images_T = np.stack(
        [noisy(with_disc(room(), 10 + 4 * step, 40, 8)[0], generator) for step in range(20)]
    )
    background = Background.of_median(images_T)
    assert np.abs(background.colours_HW3 - room()).max() < 8


def test_repeated_colours():
    colours = np.zeros((10, 1, 3, 3), np.uint8)
    colours[:6, 0, 0], colours[6:, 0, 0] = 100, 200
    colours[:, 0, 1] = 50
    colours[:, 0, 2] = 25 * np.arange(10)[:, None]
    found_K, shares_K = repeated_colours(colours, VideoBackgroundConfig(colours=2))
    np.testing.assert_allclose(found_K[:, 0, 0, 0], [100, 200])
    np.testing.assert_allclose(shares_K[:, 0, 0], [0.6, 0.4])
    assert found_K[0, 0, 1, 0] == 50
    np.testing.assert_allclose(shares_K[:, 0, 1], [1.0, 0.0])
    np.testing.assert_allclose(shares_K[:, 0, 2], [0.1, 0.1])
