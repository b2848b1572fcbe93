"""GridField: a fast field of orthogonal feature planes, small enough for a laptop CPU.

Three planes (xy, xz, yz) at several resolutions hold features of contracted space; a small
network turns the combined features into density and colour, and another one, if wanted, into the
features that a dense extractor would find in an image.  2-D `grid_sample` is the fast primitive
on a CPU.
"""

from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import nn
import torch.nn.functional as F

from posefield.fields.encodings import contract, spherical_harmonics
from posefield.fields.initialization import seeded
from posefield.fields.proposal_rendering import render_proposal_rays
from posefield.fields.radiance import RayRender

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
        features: channels of the feature head; 0 for none.
        detach_feature_weights: whether features are composited with weights that carry no
            gradient, so that they never shape the density (NeFeS section 2.4).
    """

    resolutions: tuple[int, ...] = (32, 96, 192)
    channels: int = 12
    width: int = 48
    proposal_resolution: int = 64
    proposal_channels: int = 6
    proposal_samples: int = 32
    samples: int = 24
    features: int = 0
    detach_feature_weights: bool = True

    kind: ClassVar[str] = 'grid'

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
    """Density, colour and features of every point of a scene (field frame).

    Colours are in [0, 1].
    """

    kind: ClassVar[str] = GridFieldConfig.kind
    raw_colours: ClassVar[bool] = False

    def __init__(self, config: GridFieldConfig, generator: torch.Generator):
        super().__init__()
        self.config = config
        with seeded(generator):
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
            if config.features:
                self.feature = nn.Sequential(
                    nn.Linear(inputs + 9, config.width),
                    nn.ReLU(),
                    nn.Linear(config.width, config.features),
                )

    def encode(self, points_N3: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return densities (N,) and codes (N, K) at field-frame points.

        The first 15 codes describe geometry for the colour; those of the planes follow where
        there is a feature head.
        """
        contracted = contract(points_N3)
        planes = torch.cat([grid(contracted) for grid in self.grids], dim=1)
        out = self.trunk(planes)
        codes = torch.cat([out[:, 1:], planes], dim=1) if self.config.features else out[:, 1:]
        return density_activation(out[:, 0]), codes

    def colours(self, codes_NK: torch.Tensor, directions_N3: torch.Tensor) -> torch.Tensor:
        """Return RGB in [0, 1] for codes seen along unit directions."""
        harmonics = spherical_harmonics(directions_N3)
        return torch.sigmoid(self.colour(torch.cat([codes_NK[:, :15], harmonics], dim=1)))

    def feature_basis(
        self, codes_NK: torch.Tensor, directions_N3: torch.Tensor
    ) -> torch.Tensor | None:
        """Return what the last, linear feature layer takes, (N, width); None without a head."""
        if not self.config.features:
            return None
        harmonics = spherical_harmonics(directions_N3)
        return F.relu(self.feature[0](torch.cat([codes_NK[:, 15:], harmonics], dim=1)))

    def features(self, basis_RW: torch.Tensor, weights_R: torch.Tensor) -> torch.Tensor:
        """Return features (R, C) of weighted sums of the basis and the sums of the weights."""
        last = self.feature[2]
        return F.linear(basis_RW, last.weight) + weights_R[:, None] * last.bias

    def render_rays(
        self,
        origins_R3: torch.Tensor,
        directions_R3: torch.Tensor,
        near: float,
        far: float,
        generator: torch.Generator | None = None,
        *,
        transient: bool = True,
    ) -> RayRender:
        """Render rays; there is no transient part, with or without the switch."""
        return render_proposal_rays(self, origins_R3, directions_R3, near, far, generator)


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
