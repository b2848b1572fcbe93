"""GridField: a fast field of orthogonal feature planes, small enough for a laptop CPU.

Three planes (xy, xz, yz) at several resolutions hold features of contracted space; a small
network turns the combined features into density and colour.  2-D `grid_sample` is the fast
primitive on a CPU.
"""

from dataclasses import asdict, dataclass

import torch
from torch import nn
import torch.nn.functional as F

from posefield.fields.encodings import contract, spherical_harmonics

PLANE_AXES = ((0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class GridFieldConfig:
    """Sizes of a GridField.

    Attributes:
        resolutions: cells per axis of each plane level, over contracted space.
        channels: features per plane.
        width: hidden units of the networks.
        proposal_resolution, proposal_channels: of the sampling field.
        proposal_samples, samples: intervals per ray.
    """

    resolutions: tuple[int, ...] = (32, 96, 192)
    channels: int = 12
    width: int = 48
    proposal_resolution: int = 64
    proposal_channels: int = 6
    proposal_samples: int = 32
    samples: int = 24

    def to_dict(self) -> dict:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> 'GridFieldConfig':
        """Return the configuration that `to_dict` described."""
        return cls(**{**values, 'resolutions': tuple(values['resolutions'])})


class PlaneGrid(nn.Module):
    """Three orthogonal feature planes over the box [-2, 2]^3."""

    def __init__(self, resolution: int, channels: int, generator: torch.Generator):
        super().__init__()
        shape = (3, channels, resolution, resolution)
        noise = torch.rand(shape, generator=generator, device=generator.device)
        self.planes = nn.Parameter(0.1 + 0.2 * noise)

    def forward(self, contracted_N3: torch.Tensor) -> torch.Tensor:
        """Return the product plus the sum of the three planes' features, (N, C)."""
        grid = torch.stack([contracted_N3[:, axes] for axes in PLANE_AXES]) * 0.5
        sampled = F.grid_sample(
            self.planes, grid[:, :, None], align_corners=True, padding_mode='border'
        )[..., 0]
        combined = sampled[0] * sampled[1] * sampled[2] + sampled.sum(dim=0)
        return combined.T


class ProposalField(nn.Module):
    """A coarse density that says where along a ray the field is worth asking."""

    def __init__(self, config: GridFieldConfig, generator: torch.Generator):
        super().__init__()
        self.grid = PlaneGrid(config.proposal_resolution, config.proposal_channels, generator)
        self.head = nn.Linear(config.proposal_channels, 1)

    def densities(self, points_N3: torch.Tensor) -> torch.Tensor:
        """Return densities (N,) at field-frame points."""
        return density_activation(self.head(self.grid(contract(points_N3)))[:, 0])


class GridField(nn.Module):
    """Density and colour of every point of a scene (field frame)."""

    def __init__(self, config: GridFieldConfig, generator: torch.Generator):
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            seed = torch.randint(2**31, (1,), generator=generator, device=generator.device)
            torch.manual_seed(int(seed))
            self.grids = nn.ModuleList(
                PlaneGrid(resolution, config.channels, generator)
                for resolution in config.resolutions
            )
            inputs = config.channels * len(config.resolutions)
            self.trunk = nn.Sequential(
                nn.Linear(inputs, config.width), nn.ReLU(), nn.Linear(config.width, 16)
            )
            self.colour = nn.Sequential(
                nn.Linear(15 + 9, config.width), nn.ReLU(), nn.Linear(config.width, 3)
            )
            self.proposal = ProposalField(config, generator)

    def encode(self, points_N3: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return densities (N,) and geometry codes (N, 15) at field-frame points."""
        contracted = contract(points_N3)
        codes = torch.cat([grid(contracted) for grid in self.grids], dim=1)
        out = self.trunk(codes)
        return density_activation(out[:, 0]), out[:, 1:]

    def colours(self, geometry_N15: torch.Tensor, directions_N3: torch.Tensor) -> torch.Tensor:
        """Return RGB in [0, 1] for codes seen along unit directions."""
        harmonics = spherical_harmonics(directions_N3)
        return torch.sigmoid(self.colour(torch.cat([geometry_N15, harmonics], dim=1)))


class _TruncatedExp(torch.autograd.Function):
    """exp whose gradient stays finite, so that one bad ray cannot break a run."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return torch.exp(x.clamp(max=12.0))

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return gradient * torch.exp(x.clamp(-15.0, 12.0))


def density_activation(x: torch.Tensor) -> torch.Tensor:
    """Return exp(x - 1): positive densities of any size from small activations."""
    return _TruncatedExp.apply(x - 1.0)
