"""Small image filters on (B, C, H, W) tensors; borders repeat the edge."""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F


def gaussian_blur(image_BCHW: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return the image blurred by a Gaussian of `sigma` pixels; sigma 0 changes nothing.

    On a CPU without gradients OpenCV does the work, several times faster than torch.
    """
    if sigma <= 0.0:
        return image_BCHW
    if image_BCHW.device.type == 'cpu' and not image_BCHW.requires_grad:
        return _opencv_blur(image_BCHW, sigma)
    return convolution_blur(image_BCHW, sigma)


def gaussian_kernel(sigma: float) -> torch.Tensor:
    """Return the normalised kernel out to 2.5 sigma, (2 R + 1,) float32."""
    radius = max(1, math.ceil(2.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return kernel / kernel.sum()


def convolution_blur(image_BCHW: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return `gaussian_blur` by torch convolutions, on any device and differentiable."""
    kernel = gaussian_kernel(sigma).to(image_BCHW.device)
    radius = len(kernel) // 2
    batch, channels, height, width = image_BCHW.shape
    flat = image_BCHW.reshape(batch * channels, 1, height, width)
    flat = F.pad(flat, (radius, radius, radius, radius), mode='replicate')
    flat = F.conv2d(flat, kernel.view(1, 1, 1, -1))
    flat = F.conv2d(flat, kernel.view(1, 1, -1, 1))
    return flat.reshape(batch, channels, height, width)


def _opencv_blur(image_BCHW: torch.Tensor, sigma: float) -> torch.Tensor:
    kernel = gaussian_kernel(sigma).numpy()
    planes = np.ascontiguousarray(image_BCHW.numpy()).reshape(-1, *image_BCHW.shape[-2:])
    blurred = np.empty_like(planes)
    for source, target in zip(planes, blurred, strict=True):
        cv2.sepFilter2D(source, -1, kernel, kernel, target, borderType=cv2.BORDER_REPLICATE)
    return torch.from_numpy(blurred).reshape(image_BCHW.shape)


def image_gradients(image_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (d/dx, d/dy) per pixel by central differences, same shape."""
    padded = F.pad(image_BCHW, (1, 1, 1, 1), mode='replicate')
    dx = 0.5 * (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2])
    dy = 0.5 * (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1])
    return dx, dy
