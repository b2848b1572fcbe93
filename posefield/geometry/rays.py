"""Pixel grids and camera rays in torch."""

import torch

from posefield.geometry.camera import Camera


def pixel_grid(height: int, width: int, device: torch.device | str = 'cpu') -> torch.Tensor:
    """Return the pixel centres (H*W, 2) as (x, y), row by row; the first is (0, 0)."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device, dtype=torch.float32),
        torch.arange(width, device=device, dtype=torch.float32),
        indexing='ij',
    )
    return torch.stack([x.reshape(-1), y.reshape(-1)], dim=-1)


def camera_rays(camera: Camera, pixels_N2: torch.Tensor) -> torch.Tensor:
    """Return directions (N, 3) in the optical frame with z = 1, so ray length is depth.

    The camera must be a pinhole; undistort images first.
    """
    x = (pixels_N2[..., 0] - camera.cx) / camera.fx
    y = (pixels_N2[..., 1] - camera.cy) / camera.fy
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)
