"""The fail-safe of NeFeS section 5.2: a refinement must not make the render look less alike."""

from dataclasses import dataclass
import math

import torch
import torch.nn.functional as F

SSIM_WINDOW = 7
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2


@dataclass(frozen=True)
class Likeness:
    """How alike two images in [0, 1] are: PSNR in dB and mean SSIM."""

    psnr: float
    ssim: float

    @classmethod
    def of(cls, image_3HW: torch.Tensor, other_3HW: torch.Tensor) -> 'Likeness':
        """Compare two images."""
        mean_square = float(((image_3HW - other_3HW) ** 2).mean())
        ssim = float(similarity_map(image_3HW, other_3HW).mean())
        return cls(-10.0 * math.log10(max(mean_square, 1e-10)), ssim)

    def fell_to(self, later: 'Likeness') -> bool:
        """Return whether either figure of `later` is below this one."""
        return later.psnr < self.psnr or later.ssim < self.ssim


def similarity_map(image_3HW: torch.Tensor, other_3HW: torch.Tensor) -> torch.Tensor:
    """Return the SSIM (3, H, W) over flat 7x7 windows; borders are reflected."""

    def mean(values: torch.Tensor) -> torch.Tensor:
        border = SSIM_WINDOW // 2
        padded = F.pad(values[None], (border,) * 4, mode='reflect')
        return F.avg_pool2d(padded, SSIM_WINDOW, stride=1)[0]

    mu, nu = mean(image_3HW), mean(other_3HW)
    variances = mean(image_3HW**2) - mu**2 + mean(other_3HW**2) - nu**2
    covariance = mean(image_3HW * other_3HW) - mu * nu
    numerator = (2.0 * mu * nu + SSIM_C1) * (2.0 * covariance + SSIM_C2)
    return numerator / ((mu**2 + nu**2 + SSIM_C1) * (variances + SSIM_C2))
