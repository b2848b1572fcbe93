"""Blur and gradients of images."""

import numpy as np
import pytest
import torch

from posefield.features.filters import (
    convolution_blur,
    gaussian_blur,
    gaussian_kernel,
    image_gradients,
)


def noise_image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('sigma', [0.4, 0.7, 1.5, 2.5, 4.0])
def test_opencv_and_torch_blur_alike(sigma):
    image = noise_image(2, 3, 23, 31)
    torch.testing.assert_close(
        gaussian_blur(image, sigma), convolution_blur(image, sigma), atol=1e-5, rtol=0.0
    )


def test_blur_of_a_permuted_image_is_the_permuted_blur():
    image = noise_image(1, 20, 30, 3)
    permuted = image.permute(0, 3, 1, 2)
    torch.testing.assert_close(
        gaussian_blur(permuted, 1.5), gaussian_blur(permuted.contiguous(), 1.5)
    )


def test_blur_leaves_its_input_alone_and_sigma_zero_changes_nothing():
    image = noise_image(1, 2, 9, 9)
    before = image.clone()
    gaussian_blur(image, 1.0)
    assert torch.equal(image, before)
    assert torch.equal(gaussian_blur(image, 0.0), before)


@pytest.mark.parametrize('sigma', [0.7, 2.0, 4.0])
def test_the_blur_of_a_point_has_the_width_that_was_asked_for(sigma):
    image = torch.zeros(1, 1, 61, 61)
    image[0, 0, 30, 30] = 1.0
    blurred = gaussian_blur(image, sigma)[0, 0].numpy()
    assert blurred.sum() == pytest.approx(1.0, abs=1e-5)
    offsets = np.arange(61) - 30.0
    # Cutting the kernel at 2.5 sigma takes a few per cent off its width.
    for axis in (0, 1):
        width = np.sqrt((blurred.sum(axis=axis) * offsets**2).sum())
        assert width == pytest.approx(sigma, rel=0.08)


def test_a_constant_image_stays_constant_up_to_the_border():
    image = torch.full((1, 1, 12, 15), 0.3)
    torch.testing.assert_close(gaussian_blur(image, 3.0), image)


def test_blur_passes_gradients():
    image = noise_image(1, 2, 12, 12).requires_grad_()
    weights = noise_image(1, 2, 12, 12, seed=1)
    (gaussian_blur(image, 1.2) * weights).sum().backward()
    # Away from the border, a symmetric kernel is its own adjoint.
    expected = gaussian_blur(weights, 1.2)
    torch.testing.assert_close(
        image.grad[..., 3:-3, 3:-3], expected[..., 3:-3, 3:-3], atol=1e-5, rtol=0.0
    )


def test_the_kernel_is_symmetric_and_sums_to_one():
    kernel = gaussian_kernel(1.3)
    assert len(kernel) % 2 == 1
    assert float(kernel.sum()) == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(kernel, kernel.flip(0))


def test_gradients_of_a_ramp_are_its_slopes():
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(10.0), indexing='ij')
    dx, dy = image_gradients((0.3 * x - 0.2 * y + 1.0)[None, None])
    torch.testing.assert_close(dx[..., 1:-1], torch.full((1, 1, 8, 8), 0.3))
    torch.testing.assert_close(dy[..., 1:-1, :], torch.full((1, 1, 6, 10), -0.2))
    assert dx.shape == dy.shape == (1, 1, 8, 10)
