"""Blur of a query, told from the spectra of sharp views of the same room."""

import cmath
import math

import cv2
import numpy as np
import pytest

from posefield.evaluation.degradations import degradation
from posefield.features.blur import (
    LINE_LENGTHS_PX,
    NO_BLUR,
    NOISE_SIGMA,
    SIGMAS_PX,
    Blur,
    _bins,
    _candidates,
    _transfers,
    estimate_blur,
    line_kernel,
    power_spectrum,
)
from posefield.geometry.poses import perturbed
from posefield.relocalization.keyframes import Keyframe, KeyframeSet, encode_jpeg
from posefield.relocalization.photos import SizedImage, to_u8
from support.textured_room import TexturedRoom, look_at, pinhole

ROOM = TexturedRoom(seed=3, finest=0.03)
CAMERA = pinhole(320, 240, 280.0)
LARGE = pinhole(400, 300, 420.0)
T_QUERY = look_at(np.array([-0.9, -0.7, 0.1]), np.array([1.0, 0.5, -0.2]))


def keyframe_at(T_field_cam: np.ndarray) -> Keyframe:
    image, depths = ROOM.view(CAMERA, T_field_cam)
    return Keyframe(
        T_field_cam=T_field_cam,
        camera=CAMERA,
        jpeg=encode_jpeg(to_u8(image)),
        depths_hw=depths.astype(np.float16),
        trust_hw=np.full(depths.shape, 255, np.uint8),
    )


@pytest.fixture(scope='module')
def keyframes() -> KeyframeSet:
    """Views from about the place of the query, 0.3 m and 12 degrees away."""
    generator = np.random.default_rng(0)
    poses = [perturbed(T_QUERY, 0.3, 12.0, generator) for _ in range(4)]
    return KeyframeSet([keyframe_at(T) for T in poses], None, 2.0, 'cpu')


@pytest.fixture(scope='module', params=[CAMERA, LARGE], ids=['alike', 'larger'])
def query(request) -> SizedImage:
    return SizedImage(ROOM.view(request.param, T_QUERY)[0], request.param)


def blurred(query: SizedImage, blur: Blur) -> SizedImage:
    return SizedImage(blur.applied(query.image_HW3, query.camera.fx), query.camera)


def steps_apart(found: float, true: float, candidates: tuple[float, ...]) -> int:
    return abs(candidates.index(found) - candidates.index(true))


def in_pixels(length: float) -> float:
    """Return a length in units of the focal length, in pixels of the keyframes."""
    return round(length * CAMERA.fx, 6)


@pytest.mark.parametrize('angle_deg', [4.0, 33.0, 77.0, 90.0, 128.0, 176.0])
@pytest.mark.parametrize('length_px', [7.0, 12.0, 21.0])
def test_a_smear_along_a_line_is_found(keyframes, query, length_px, angle_deg):
    blur = Blur(length=length_px / CAMERA.fx, angle=math.radians(angle_deg))
    found = keyframes.blur_of(blurred(query, blur), T_QUERY)
    assert found.sigma == 0.0
    assert steps_apart(in_pixels(found.length), length_px, LINE_LENGTHS_PX) <= 1
    turned = (math.degrees(found.angle) - angle_deg + 90.0) % 180.0 - 90.0
    assert abs(turned) <= 10.0


@pytest.mark.parametrize('sigma_px', SIGMAS_PX)
def test_a_defocused_query_is_found(keyframes, query, sigma_px):
    found = keyframes.blur_of(blurred(query, Blur(sigma=sigma_px / CAMERA.fx)), T_QUERY)
    assert found.length == 0.0
    assert steps_apart(in_pixels(found.sigma), sigma_px, SIGMAS_PX) <= 1


def test_a_smear_is_found_in_dimmed_8_bit_images(keyframes, query):
    blur = Blur(length=15.0 / CAMERA.fx, angle=1.0)
    dim = SizedImage(
        (to_u8(0.5 * blurred(query, blur).image_HW3) / 255.0).astype(np.float32), query.camera
    )
    found = keyframes.blur_of(dim, T_QUERY)
    assert steps_apart(in_pixels(found.length), 15.0, LINE_LENGTHS_PX) <= 1
    assert found.angle == pytest.approx(1.0, abs=math.radians(10.0))


@pytest.mark.parametrize(
    'name', ['sharp', 'gain', 'haze', 'dark_noise', 'noise_30', 'gamma', 'occlusion', 'jpeg_10']
)
def test_what_is_not_blurred_is_not_called_so(keyframes, query, name):
    image = query.image_HW3
    if name == 'gain':
        image = 0.3 * image
    elif name == 'haze':
        image = 0.5 * image + 0.3
    elif name != 'sharp':
        image, _ = degradation(name)(image, query.camera, np.random.default_rng(1))
    assert keyframes.blur_of(SizedImage(image, query.camera), T_QUERY) == NO_BLUR


def test_a_blur_that_explains_little_of_what_differs_is_none():
    """Views of other things differ in every ring and direction; a weak blur may fit by chance."""
    generator, bins = np.random.default_rng(0), _bins()
    sharp = power_spectrum(generator.uniform(size=(240, 320)).astype(np.float32))
    smeared = sharp * _transfers()[_candidates().index((1.0, 0.0, 0.0))]
    assert estimate_blur(smeared, [sharp], 280.0) == Blur(sigma=1.0 / 280.0)
    assert estimate_blur(sharp, [smeared], 280.0) == NO_BLUR
    other = np.exp(generator.normal(0.0, 1.5, len(bins.counts))).repeat(bins.counts)
    assert estimate_blur(smeared * other, [sharp], 280.0) == NO_BLUR


def test_only_keyframes_that_may_be_used_are_looked_at(keyframes, query):
    smeared = blurred(query, Blur(length=15.0 / CAMERA.fx))
    assert keyframes.blur_of(smeared, T_QUERY, frozenset(range(4))) == NO_BLUR
    flat = Keyframe(
        T_QUERY, CAMERA, encode_jpeg(np.full((240, 320, 3), 99, np.uint8)), *[np.ones((2, 2))] * 2
    )
    some = KeyframeSet([flat, flat, flat, *keyframes.keyframes], None, 2.0, 'cpu')
    assert some.blur_of(smeared, T_QUERY) == NO_BLUR
    found = some.blur_of(smeared, T_QUERY, frozenset({0, 1, 2}))
    assert in_pixels(found.length) == pytest.approx(15.0, abs=3.0)


def dft(values_HW: np.ndarray, fx: float, fy: float) -> complex:
    """Return the Fourier transform at one frequency, term by term."""
    total = 0.0 + 0.0j
    for row, values in enumerate(values_HW):
        for column, value in enumerate(values):
            total += value * cmath.exp(-2j * math.pi * (fx * column + fy * row))
    return total


@pytest.mark.parametrize('length_px', [5.0, 12.0, 21.0])
def test_transfer_functions_of_lines_are_those_of_their_kernels(length_px):
    """Near pixel size the kernel, drawn on pixels, is wider than the line: not compared there."""
    bins, generator = _bins(), np.random.default_rng(0)
    low = np.nonzero(np.hypot(bins.fx, bins.fy) < 0.1)[0]
    for row, (_, length, angle) in enumerate(_candidates()):
        if length != length_px:
            continue
        kernel = line_kernel(length, angle)
        assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
        for k in generator.choice(low, size=10, replace=False):
            expected = abs(dft(kernel, bins.fx[k], bins.fy[k]))
            assert math.sqrt(_transfers()[row, k]) == pytest.approx(expected, abs=0.07)


@pytest.mark.parametrize('sigma_px', SIGMAS_PX)
def test_transfer_functions_of_defocus_are_those_of_gaussians(sigma_px):
    bins, generator = _bins(), np.random.default_rng(0)
    point = np.zeros((41, 41), np.float32)
    point[20, 20] = 1.0
    kernel = Blur(sigma=sigma_px / 50.0).applied(point, 50.0)
    row = _candidates().index((sigma_px, 0.0, 0.0))
    for k in generator.choice(len(bins.fx), size=10, replace=False):
        expected = abs(dft(kernel, bins.fx[k], bins.fy[k]))
        assert math.sqrt(_transfers()[row, k]) == pytest.approx(expected, abs=0.01)


def test_nothing_passes_unchanged():
    assert _candidates()[0] == (0.0, 0.0, 0.0)
    np.testing.assert_allclose(_transfers()[0], 1.0)


@pytest.mark.parametrize('size', [(31, 44), (250, 300)])
def test_power_is_that_of_the_windowed_image_at_any_size(size):
    grey = np.random.default_rng(2).uniform(size=size).astype(np.float32)
    window = np.outer(np.hanning(size[0]), np.hanning(size[1]))
    windowed = (grey - (grey * window).sum() / window.sum()) * window
    power, bins = power_spectrum(grey), _bins()
    for k in np.random.default_rng(0).choice(len(power), size=3, replace=False):
        expected = abs(dft(windowed, bins.fx[k], bins.fy[k])) ** 2 / (window**2).sum()
        assert power[k] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('size', [(120, 160), (240, 320), (300, 500)])
def test_the_power_of_noise_is_its_variance(size):
    noise = np.random.default_rng(0).normal(0.5, NOISE_SIGMA, size).astype(np.float32)
    power = _bins().means(power_spectrum(noise))
    assert power.shape == (8 * 12,)
    assert power.mean() == pytest.approx(NOISE_SIGMA**2, rel=0.1)


def test_bins_hold_every_frequency_between_the_bounds_once():
    bins = _bins()
    radius = np.hypot(bins.fx, bins.fy)
    assert len(np.unique(bins.order)) == len(bins.order) == bins.counts.sum()
    assert radius.min() >= 0.02 and radius.max() < 0.3
    first = radius[: bins.counts[:12].sum()]
    assert first.max() <= radius[bins.counts[:12].sum() :].min() + 1e-9
    slices = np.split(np.arange(len(radius)), bins.starts[1:])
    means = bins.means(radius)
    np.testing.assert_allclose(means, [radius[rows].mean() for rows in slices])


def second_moments(kernel_HW: np.ndarray) -> np.ndarray:
    y, x = np.indices(kernel_HW.shape)
    weights = kernel_HW / kernel_HW.sum()
    dx, dy = x - (weights * x).sum(), y - (weights * y).sum()
    moments = [[(weights * a * b).sum() for a in (dx, dy)] for b in (dx, dy)]
    return np.array(moments)


@pytest.mark.parametrize('focal_px', [100.0, 200.0, 400.0])
def test_a_blur_is_as_wide_as_the_focal_length_makes_it(focal_px):
    point = np.zeros((101, 101), np.float32)
    point[50, 50] = 1.0
    round_px = 0.02 * focal_px
    moments = second_moments(Blur(sigma=0.02).applied(point, focal_px))
    np.testing.assert_allclose(moments, round_px**2 * np.eye(2), rtol=0.05, atol=1e-3)
    length_px, angle = 0.1 * focal_px, math.radians(30.0)
    along = np.array([math.cos(angle), math.sin(angle)])
    moments = second_moments(Blur(length=0.1, angle=angle).applied(point, focal_px))
    assert along @ moments @ along == pytest.approx(length_px**2 / 12.0, rel=0.03, abs=0.2)
    across = np.array([-along[1], along[0]])
    assert across @ moments @ across < 0.25
    assert across @ moments @ along == pytest.approx(0.0, abs=0.02 * length_px)


def test_colours_are_blurred_alike_and_none_leaves_them():
    image = np.random.default_rng(0).uniform(size=(30, 40, 3)).astype(np.float32)
    np.testing.assert_array_equal(NO_BLUR.applied(image, 500.0), image)
    for blur in (Blur(sigma=0.01), Blur(length=0.02, angle=0.7)):
        done = blur.applied(image, 300.0)
        assert done.shape == image.shape and done.dtype == np.float32
        for channel in range(3):
            alone = blur.applied(np.ascontiguousarray(image[..., channel]), 300.0)
            np.testing.assert_allclose(done[..., channel], alone, atol=1e-6)
    flat = np.full((30, 40, 3), 0.4, np.float32)
    np.testing.assert_allclose(Blur(0.01, 0.05, 0.3).applied(flat, 300.0), flat, atol=1e-5)


def test_blurring_before_reducing_is_blurring_after_it(query):
    blur = Blur(length=18.0 / CAMERA.fx, angle=0.6)
    before = blurred(query, blur).with_short_side(120).image_HW3
    small = query.with_short_side(120)
    after = blurred(small, blur).image_HW3
    inner = (slice(12, -12), slice(12, -12))
    spread = cv2.absdiff(small.image_HW3, before)[inner].mean()
    assert cv2.absdiff(after, before)[inner].mean() < 0.15 * spread
