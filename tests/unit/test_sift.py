"""Keypoints, their descriptors, and mutual matching."""

import numpy as np
import pytest
import torch

from posefield.features.sift import detect_sift, match_mutual, root_normalised
from support.textured_room import TexturedRoom, look_at, pinhole


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    T = look_at(np.array([0.0, 0.0, 0.0]), np.array([1.0, 0.4, 0.1]))
    return TexturedRoom(seed=2, finest=0.12).view(pinhole(160, 120, 120.0), T)[0]


def test_keypoints_are_inside_and_limited(image):
    few, many = detect_sift(image, 40), detect_sift(image, 1000)
    # One keypoint of several orientations counts more than once.
    assert 40 <= len(few) <= 60
    assert len(many) > 90
    for keypoints in (few, many):
        assert keypoints.descriptors_N128.shape == (len(keypoints), 128)
        assert keypoints.descriptors_N128.dtype == np.uint8
        assert (keypoints.pixels_N2 > 0).all()
        assert (keypoints.pixels_N2 < [159, 119]).all()
        assert (keypoints.scales_N > 0).all()


def test_keypoints_use_the_pixel_centre_convention():
    """A blob around pixel (40, 30) is found there, not half a pixel beside."""
    y, x = np.mgrid[:60, :80].astype(np.float32)
    blob = np.exp(-((x - 40.0) ** 2 + (y - 30.0) ** 2) / (2 * 4.0**2))
    keypoints = detect_sift(np.repeat(blob[..., None], 3, axis=2), 10)
    # OpenCV's SIFT starts from an image of twice the size, which costs a quarter of a pixel.
    np.testing.assert_allclose(keypoints.pixels_N2[0], [40.0, 30.0], atol=0.3)


def test_a_plain_image_has_no_keypoints():
    keypoints = detect_sift(np.full((60, 80, 3), 0.5, np.float32), 100)
    assert len(keypoints) == 0
    assert keypoints.pixels_N2.shape == (0, 2)
    assert keypoints.descriptors_N128.shape == (0, 128)
    assert root_normalised(keypoints.descriptors_N128).shape == (0, 128)


def test_a_shifted_image_gives_shifted_matches(image):
    first = detect_sift(image, 300)
    second = detect_sift(np.ascontiguousarray(image[5:, 8:]), 300)
    matches = match_mutual(
        root_normalised(first.descriptors_N128), root_normalised(second.descriptors_N128), 0.8
    )
    assert len(matches) > 50
    moved = first.pixels_N2[matches[:, 0]] - second.pixels_N2[matches[:, 1]]
    close = np.linalg.norm(moved - [8.0, 5.0], axis=1) < 0.5
    assert close.mean() > 0.9


def test_root_descriptors_have_unit_length_and_measure_the_hellinger_distance():
    descriptors = np.random.default_rng(0).integers(0, 255, size=(5, 128)).astype(np.uint8)
    found = root_normalised(descriptors).numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)
    histograms = descriptors / descriptors.sum(axis=1, keepdims=True)
    expected = np.sqrt(histograms[0] * histograms[1]).sum()
    assert found[0] @ found[1] == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(root_normalised(np.zeros((1, 128), np.uint8)).numpy()).all()


def unit(rows: list[list[float]]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows), dim=1)


def slow_matches(first: torch.Tensor, second: torch.Tensor, max_ratio: float) -> list:
    pairs = []
    distances = torch.cdist(first.double(), second.double())
    for i in range(len(first)):
        order = torch.argsort(distances[i])
        nearest = int(order[0])
        mutual = int(distances[:, nearest].argmin()) == i
        if mutual and distances[i, nearest] < max_ratio * distances[i, order[1]]:
            pairs.append([i, nearest])
    return pairs


@pytest.mark.parametrize('max_ratio', [0.7, 0.9, 1.0])
def test_matches_are_mutual_and_distinctive(max_ratio):
    generator = torch.Generator().manual_seed(1)
    first = torch.nn.functional.normalize(torch.randn(60, 6, generator=generator))
    second = first[torch.randperm(60, generator=generator)[:40]]
    second = torch.nn.functional.normalize(second + 0.25 * torch.randn(40, 6, generator=generator))
    expected = slow_matches(first, second, max_ratio)
    assert len(expected) > 5
    assert match_mutual(first, second, max_ratio).tolist() == expected


def test_an_ambiguous_descriptor_is_not_matched():
    first = unit([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    second = unit([[1.0, 0.1, 0.0], [1.0, -0.1, 0.0], [0.0, 1.0, 0.1]])
    assert match_mutual(first, second, 0.9).tolist() == [[1, 2]]


def test_too_few_descriptors_give_no_match():
    one, many = unit([[1.0, 0.0]]), unit([[1.0, 0.0], [0.0, 1.0]])
    assert match_mutual(one, many, 0.9).shape == (0, 2)
    assert match_mutual(many, one, 0.9).shape == (0, 2)
