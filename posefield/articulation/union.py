"""The union of all parts as a soft minimum of their distances (Watch It Move 3.3)."""

import torch
from torch import nn

# w_kappa at first; the sharpness softplus(10 w_kappa) is then 50.
FIRST_SHARPNESS = 5.0


def soft_minimum(distances_NP: torch.Tensor, sharpness: torch.Tensor | float) -> torch.Tensor:
    """Return -1/k log sum_i exp(-k d_i) over the parts, (N,).

    It is below the least distance: by ln(m)/k where m parts are equally near.
    """
    return -torch.logsumexp(-sharpness * distances_NP, dim=-1) / sharpness


class SoftUnion(nn.Module):
    """A soft minimum whose sharpness, about 50 per scene unit at first, is learned."""

    def __init__(self):
        super().__init__()
        self.sharpness_weight = nn.Parameter(torch.tensor(FIRST_SHARPNESS))

    @property
    def sharpness(self) -> torch.Tensor:
        """The sharpness k, per scene unit."""
        return nn.functional.softplus(10.0 * self.sharpness_weight)

    def forward(self, distances_NP: torch.Tensor) -> torch.Tensor:
        """Return the distances (N,) to the union of the parts."""
        return soft_minimum(distances_NP, self.sharpness)
