"""Hand-made dense features: rectified gradient orientations and locally centred colour."""

import math

import torch

from posefield.features.filters import gaussian_blur, image_gradients

GREY_WEIGHTS = (0.299, 0.587, 0.114)
# Keeps the slope of the root finite where an image is of one colour.
LEAST_ENERGY = 1e-14


class GradientFeatures:
    """Features that need no learning and shrug off gain and offset of the exposure.

    Eight channels hold the grey gradient along eight directions, negative parts cut off, and
    three the colour minus its local mean; both are divided by their local energy.

    Args:
        orientations: number of gradient directions.
        neighbourhood: sigma in pixels of the local mean and energy.
    """

    def __init__(self, orientations: int = 8, neighbourhood: float = 4.0):
        self.orientations = orientations
        self.neighbourhood = neighbourhood
        self.channels = orientations + 3

    def __call__(self, image_B3HW: torch.Tensor) -> torch.Tensor:
        """Return features (B, channels, H, W) of RGB images in [0, 1]."""
        weights = image_B3HW.new_tensor(GREY_WEIGHTS).view(1, 3, 1, 1)
        grey = (image_B3HW * weights).sum(dim=1, keepdim=True)
        dx, dy = image_gradients(grey)
        angles = [2.0 * math.pi * k / self.orientations for k in range(self.orientations)]
        gradients = torch.cat(
            [(math.cos(a) * dx + math.sin(a) * dy).clamp(min=0.0) for a in angles], dim=1
        )
        centred = image_B3HW - gaussian_blur(image_B3HW, self.neighbourhood)
        return torch.cat(
            [self._balanced(gradients, 0.01), 0.7 * self._balanced(centred, 0.02)], dim=1
        )

    def _balanced(self, values_BCHW: torch.Tensor, floor: float) -> torch.Tensor:
        energy = (values_BCHW**2).sum(dim=1, keepdim=True)
        local = gaussian_blur(energy, self.neighbourhood).clamp(min=LEAST_ENERGY).sqrt()
        return values_BCHW / (local + floor)
