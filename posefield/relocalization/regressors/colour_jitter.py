"""Random changes of exposure and colour, each image on its own."""

from dataclasses import dataclass
import math

import torch

from posefield.features.gradient import GREY_WEIGHTS

# RGB to YIQ: one row of light, two of colour.
_YIQ_33 = (GREY_WEIGHTS, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


@dataclass(frozen=True)
class ColourJitter:
    """Largest changes; the defaults are those of MS-Transformer (nefes.md 1.3).

    Attributes:
        brightness, contrast, saturation: factors within 1 - x and 1 + x.
        hue: turn of the colours, in whole turns.
    """

    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.2

    def __call__(self, images_B3HW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return changed RGB images in [0, 1]."""
        draws_4B = torch.rand(
            (4, len(images_B3HW)), generator=generator, device=generator.device
        ).to(images_B3HW.device)
        around_4B = 2.0 * draws_4B - 1.0
        brightness, contrast, saturation = (
            (1.0 + limit * draw).view(-1, 1, 1, 1)
            for limit, draw in zip(
                (self.brightness, self.contrast, self.saturation), around_4B[:3], strict=True
            )
        )
        images = (images_B3HW * brightness).clamp(0.0, 1.0)
        mean = _grey(images).mean(dim=(2, 3), keepdim=True)
        images = (mean + contrast * (images - mean)).clamp(0.0, 1.0)
        grey = _grey(images)
        images = (grey + saturation * (images - grey)).clamp(0.0, 1.0)
        return _turned(images, 2.0 * math.pi * self.hue * around_4B[3]).clamp(0.0, 1.0)


def _grey(images_B3HW: torch.Tensor) -> torch.Tensor:
    weights = images_B3HW.new_tensor(GREY_WEIGHTS).view(1, 3, 1, 1)
    return (images_B3HW * weights).sum(dim=1, keepdim=True)


def _turned(images_B3HW: torch.Tensor, angles_B: torch.Tensor) -> torch.Tensor:
    """Return images whose colours are turned about the grey axis, at the same luminance."""
    yiq_33 = images_B3HW.new_tensor(_YIQ_33)
    cos, sin = torch.cos(angles_B), torch.sin(angles_B)
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    turn_B33 = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).view(
        -1, 3, 3
    )
    matrix_B33 = torch.linalg.inv(yiq_33) @ turn_B33 @ yiq_33
    return torch.einsum('bij,bjhw->bihw', matrix_B33, images_B3HW)
