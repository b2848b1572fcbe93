"""PSNR, SSIM, LPIPS and the overlap of masks."""

import sys
from types import ModuleType

import numpy as np
import pytest
from skimage.metrics import structural_similarity
import torch

from posefield.evaluation.image_metrics import (
    iou,
    lpips_metric,
    psnr,
    score_image,
    ssim,
    summarise_images,
)

SIZE = (16, 20)


def photo(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A coloured square on white, and its mask."""
    mask = np.zeros(SIZE, np.uint8)
    mask[4:12, 5:15] = 1
    image = np.ones((*SIZE, 3))
    image[mask == 1] = np.random.default_rng(seed).random((80, 3))
    return image, mask


def test_psnr_of_a_known_error():
    everywhere = np.ones(SIZE, bool)
    assert psnr(np.full((*SIZE, 3), 0.6), np.full((*SIZE, 3), 0.5), everywhere) == pytest.approx(
        20
    )
    assert psnr(np.ones((*SIZE, 3)), np.ones((*SIZE, 3)), everywhere) == np.inf


def test_an_equal_image_is_perfect():
    image, mask = photo()
    score = score_image(0, 3, (image, (mask == 1).astype(float)), (image, mask))
    assert (score.view, score.frame) == (0, 3)
    assert score.psnr == np.inf and score.mask_iou == 1.0
    assert score.ssim == pytest.approx(1.0)
    assert score.lpips is None
    assert summarise_images([score])['psnr'] is None


def test_background_flatters_and_the_object_alone_does_not():
    image, mask = photo()
    render = image + 0.1 * (mask == 1)[..., None] * np.sign(0.5 - image)
    score = score_image(0, 0, (render, (mask == 1).astype(float)), (image, mask))
    assert score.psnr_object == pytest.approx(20.0)
    assert score.psnr == pytest.approx(20.0 + 10 * np.log10(16 * 20 / 80))


def test_unreliable_pixels_do_not_count():
    image, mask = photo()
    spoiled, opacity = image.copy(), (mask == 1).astype(float)
    spoiled[:4], opacity[:4], mask[:4] = 0.0, 1.0, 2
    score = score_image(0, 0, (spoiled, opacity), (image, mask))
    assert score.psnr == np.inf and score.mask_iou == 1.0 and score.ssim == pytest.approx(1.0)


def test_overlap_of_masks():
    image, mask = photo()
    half = np.zeros(SIZE)
    half[4:12, 5:10] = 1.0
    assert score_image(0, 0, (image, half), (image, mask)).mask_iou == 0.5
    assert iou(np.zeros(SIZE, bool), np.zeros(SIZE, bool)) == 1.0


def test_ssim_is_that_of_images_between_minus_one_and_one():
    image, _ = photo()
    noisy = image + np.random.default_rng(1).normal(0, 0.1, image.shape)
    published = structural_similarity(
        2 * noisy - 1, 2 * image - 1, channel_axis=2, data_range=np.ptp(2 * image - 1)
    )
    assert ssim(noisy, image) == pytest.approx(published)
    assert published < 0.95
    assert ssim(image[:6], image[:6]) is None


def test_means_are_over_images():
    image, mask = photo()
    opacity = (mask == 1).astype(float)
    scores = [
        score_image(0, frame, (np.clip(image - shift, 0, 1), opacity), (image, mask))
        for frame, shift in enumerate((0.1, 0.2))
    ]
    summary = summarise_images(scores)
    assert summary['images'] == 2
    assert summary['psnr'] == pytest.approx((scores[0].psnr + scores[1].psnr) / 2)
    assert summary['lpips'] is None
    assert summarise_images([]) is None


def test_lpips_is_used_where_it_is_installed(monkeypatch):
    class Network(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert net == 'vgg'

        def forward(self, first, second):
            assert first.shape == (1, 3, *SIZE) and first.min() >= -1.0
            return (first - second).abs().mean()

    module = ModuleType('lpips')
    module.LPIPS = Network
    monkeypatch.setitem(sys.modules, 'lpips', module)
    monkeypatch.setattr('posefield.evaluation.image_metrics.find_spec', lambda name: name)
    image, _ = photo()
    assert lpips_metric()(image, image) == 0.0
    assert lpips_metric()(image, np.clip(image - 0.1, 0, 1)) > 0.0
    monkeypatch.setattr('posefield.evaluation.image_metrics.find_spec', lambda name: None)
    assert lpips_metric() is None


def test_lpips_without_its_weights_is_left_out(monkeypatch, caplog):
    def refuse(net, verbose):
        raise OSError('no network')

    module = ModuleType('lpips')
    module.LPIPS = refuse
    monkeypatch.setitem(sys.modules, 'lpips', module)
    monkeypatch.setattr('posefield.evaluation.image_metrics.find_spec', lambda name: name)
    assert lpips_metric() is None
    assert 'no network' in caplog.text
