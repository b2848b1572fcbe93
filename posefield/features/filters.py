"""Small image filters on (B, C, H, W) tensors; borders repeat the edge."""

import math

import torch
import torch.nn.functional as F


def gaussian_blur(image_BCHW: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return the image blurred by a Gaussian of `sigma` pixels; sigma 0 changes nothing."""
    if sigma <= 0.0:
        return image_BCHW
    radius = max(1, math.ceil(2.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=image_BCHW.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    batch, channels, height, width = image_BCHW.shape
    flat = image_BCHW.reshape(batch * channels, 1, height, width)
    flat = F.pad(flat, (radius, radius, radius, radius), mode='replicate')
    flat = F.conv2d(flat, kernel.view(1, 1, 1, -1))
    flat = F.conv2d(flat, kernel.view(1, 1, -1, 1))
    return flat.reshape(batch, channels, height, width)


def image_gradients(image_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (d/dx, d/dy) per pixel by central differences, same shape."""
    padded = F.pad(image_BCHW, (1, 1, 1, 1), mode='replicate')
    dx = 0.5 * (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2])
    dy = 0.5 * (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1])
    return dx, dy


def normalised(features_BCHW: torch.Tensor, floor: float = 1e-3) -> torch.Tensor:
    """Return features of unit length per pixel; lengths below `floor` fade to zero."""
    length = features_BCHW.norm(dim=1, keepdim=True)
    return features_BCHW / (length + floor)
