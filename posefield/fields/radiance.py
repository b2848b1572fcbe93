"""What every kind of field gives: rays go in, colours, depths and features come out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class RaySamples:
    """The histogram of one sampling level along each ray.

    Attributes:
        edges: (R, S + 1) in the normalised spacing.
        distances: (R, S + 1) the same edges as ray distances (depths: directions have z = 1).
        weights: (R, S).
    """

    edges: torch.Tensor
    distances: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class RayExtras:
    """What only a field with a coarse network and a transient part knows (NeFeS section 2.4).

    Attributes:
        coarse_colours: (R, 3) static colours of the coarse network, before any exposure; None
            where the coarse network does not learn and is asked for densities only.
        betas: (R,) standard deviations of the colours; None without the transient part.
        transient_densities: (R,) mean over a ray's samples; None without the transient part.
    """

    coarse_colours: torch.Tensor | None = None
    betas: torch.Tensor | None = None
    transient_densities: torch.Tensor | None = None


@dataclass(frozen=True)
class RayRender:
    """What rays see.

    Attributes:
        colours: (R, 3) composited over black.
        depths: (R,) median depth along the optical axis.
        depth_sigmas: (R,) spread of the weights around it.
        opacities: (R,) sum of weights.
        proposal, fine: the sampling levels.
        features: (R, C) composited; None for a field without a feature head.
        extras: None for a field without a coarse network.
    """

    colours: torch.Tensor
    depths: torch.Tensor
    depth_sigmas: torch.Tensor
    opacities: torch.Tensor
    proposal: RaySamples
    fine: RaySamples
    features: torch.Tensor | None = None
    extras: RayExtras | None = None


class RadianceField(Protocol):
    """A field that knows how to render its own rays."""

    def parameters(self) -> Iterable[torch.nn.Parameter]:
        """Return the parameters, which tell the device."""

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
        """Render rays of the field frame; see `rendering.render_rays`."""


def learns(module: torch.nn.Module) -> bool:
    """Return whether what the module computes now can get a gradient to its parameters."""
    return torch.is_grad_enabled() and any(p.requires_grad for p in module.parameters())
