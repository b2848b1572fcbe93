"""Exposure from luminance histograms."""

import pytest
import torch

from posefield.fields.act import ExposureTransform, luminance_histogram


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(('value', 'bin_'), [(0.0, 0), (0.04, 0), (0.55, 5), (0.95, 9), (1.0, 9)])
def test_a_constant_image_fills_one_bin(value, bin_):
    histogram = luminance_histogram(torch.full((1, 3, 6, 8), value))
    assert histogram.dtype == torch.int64
    assert histogram[0].tolist() == [100 if index == bin_ else 0 for index in range(10)]


def test_luminance_weighs_the_colours_as_eyes_do():
    pure = torch.eye(3)[:, :, None, None].expand(3, 3, 2, 2)
    assert luminance_histogram(pure).argmax(dim=1).tolist() == [2, 5, 1]


def test_each_image_has_its_own_whole_percentages():
    images = torch.rand(3, 3, 17, 31, generator=generator())
    images[1] *= 0.3
    histograms = luminance_histogram(images, bins=4)
    for image, histogram in zip(images, histograms, strict=True):
        luminance = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        counts = torch.histc(luminance.double(), bins=4, min=0.0, max=1.0)
        assert histogram.tolist() == torch.round(100.0 * counts / counts.sum()).tolist()
    assert histograms[1, 2:].sum() == 0


def test_exposure_starts_as_the_identity_of_colours_or_of_the_sigmoid_s_input():
    colours = 0.01 + 0.98 * torch.rand(20, 3, generator=generator())
    histogram = torch.tensor([0, 0, 5, 30, 40, 20, 5, 0, 0, 0])
    same = ExposureTransform(True, generator())(colours, histogram)
    torch.testing.assert_close(same, colours, atol=1e-5, rtol=0.0)
    raw = 3.0 * torch.randn(20, 3, generator=generator(1))
    shown = ExposureTransform(False, generator())(raw, histogram)
    torch.testing.assert_close(shown, torch.sigmoid(raw))


def test_black_and_white_stay_finite():
    act = ExposureTransform(True, generator())
    colours = torch.tensor([[0.0, 1.0, 1.0 + 1e-6]], requires_grad=True)
    exposed = act(colours, torch.full((10,), 10))
    exposed.sum().backward()
    assert torch.isfinite(colours.grad).all()
    torch.testing.assert_close(exposed, colours, atol=2e-3, rtol=0.0)


def test_it_has_the_published_size():
    count = sum(p.numel() for p in ExposureTransform(False, generator()).parameters())
    weights = 10 * 32 + 2 * 32 * 32 + 32 * 12
    assert count == weights + 3 * 32 + 12


def test_one_histogram_for_all_rays_is_the_same_as_one_for_each():
    act = ExposureTransform(True, generator())
    torch.nn.init.normal_(act.network[-1].weight, generator=generator(2))
    colours = torch.rand(5, 3, generator=generator(3))
    histogram = torch.tensor([10, 20, 30, 40, 0, 0, 0, 0, 0, 0])
    torch.testing.assert_close(act(colours, histogram), act(colours, histogram.expand(5, 10)))
    other = histogram.flip(0)
    assert not torch.allclose(act(colours, histogram), act(colours, other))


def test_it_learns_the_exposure_of_each_image():
    act = ExposureTransform(True, generator())
    colours = 0.1 + 0.4 * torch.rand(400, 3, generator=generator(4))
    dark = torch.arange(400) % 2 == 0
    histograms = torch.zeros(400, 10)
    histograms[dark, 2], histograms[~dark, 4] = 100.0, 100.0
    target = colours * torch.where(dark, 0.6, 1.4)[:, None]
    optimizer = torch.optim.Adam(act.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        loss = ((act(colours, histograms) - target) ** 2).mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.02 * float(((colours - target) ** 2).mean())
