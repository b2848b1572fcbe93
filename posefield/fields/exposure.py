"""Per-photo exposure, so that the field need not paint brightness changes into space."""

import torch
from torch import nn


class ExposureTable(nn.Module):
    """A gain and an offset per photo and colour, 1 and 0 to begin with."""

    def __init__(self, photos: int):
        super().__init__()
        self.gain_offset = nn.Parameter(torch.zeros(photos, 6))

    def forward(self, colours_R3: torch.Tensor, photo_of_R: torch.Tensor) -> torch.Tensor:
        """Return colours (R, 3) as each ray's photo would have recorded them."""
        gain, offset = self.gain_offset[photo_of_R].chunk(2, dim=1)
        return colours_R3 * (1.0 + gain) + offset

    def penalty(self) -> torch.Tensor:
        """Return the mean square departure from neutral, which fixes the overall exposure."""
        return (self.gain_offset**2).mean()
