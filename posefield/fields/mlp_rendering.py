"""Rendering of an MlpField: coarse samples, fine samples, static and transient parts."""

from dataclasses import dataclass

import torch

from posefield.fields.compositing import (
    compositing_weights,
    depth_spread,
    joint_weights,
    median_depth,
)
from posefield.fields.radiance import RayExtras, RayRender, RaySamples, learns
from posefield.fields.sampling import centred_edges, linear_distances, refined_distances

# How long the last sample of a ray is taken to be: what is not met before lies there.
LAST_LENGTH = 100.0
# Smallest standard deviation of a colour.
MIN_BETA = 0.1


@dataclass(frozen=True)
class _Rays:
    """Rays (R, 3) of the field frame, their unit view directions and their range."""

    origins: torch.Tensor
    directions: torch.Tensor
    views: torch.Tensor
    near: float
    far: float

    def points(self, distances_RS: torch.Tensor) -> torch.Tensor:
        """Return the points (R, S, 3) at distances."""
        return self.origins[:, None] + distances_RS[..., None] * self.directions[:, None]

    def samples(self, distances_RS: torch.Tensor, weights_RS: torch.Tensor) -> RaySamples:
        """Return weights as intervals around their samples."""
        edges = centred_edges(distances_RS)
        return RaySamples((edges - self.near) / (self.far - self.near), edges, weights_RS)


def render_mlp_rays(
    field,
    origins_R3: torch.Tensor,
    directions_R3: torch.Tensor,
    near: float,
    far: float,
    generator: torch.Generator | None = None,
    *,
    transient: bool = True,
) -> RayRender:
    """Render rays of the field frame (NeFeS sections 2.1 and 2.4).

    The coarse network tells where the fine one is asked, which carries no gradient: a coarse
    network that does not learn is asked for densities only, without autograd.

    Args:
        field: an MlpField.
        origins_R3, directions_R3, near, far, generator, transient: see
            `rendering.render_rays`.
    """
    views = directions_R3 / directions_R3.norm(dim=1, keepdim=True)
    rays = _Rays(origins_R3, directions_R3, views, near, far)
    with torch.set_grad_enabled(learns(field.coarse)):
        distances, weights, coarse_colours = _coarse(field, rays, generator)
    proposal = rays.samples(distances, weights)
    distances = refined_distances(distances, weights, field.config.fine_samples, generator)
    codes = field.fine.trunk_codes(rays.points(distances))
    basis, passing = field.fine.heads(codes, views, transient)
    densities, lengths = field.fine.densities(codes), _lengths(distances)
    if passing is None:
        static = total = compositing_weights(densities, lengths)
        colours = _composited(static, field.fine.colours(basis))
        extras = RayExtras(coarse_colours)
    else:
        joint = joint_weights(densities, passing.densities, lengths)
        static, total = joint.static, joint.total
        colours = _composited(static, field.fine.colours(basis))
        colours = colours + _composited(joint.transient, passing.colours)
        betas = (joint.transient * passing.betas).sum(dim=1) + MIN_BETA
        extras = RayExtras(coarse_colours, betas, passing.densities.mean(dim=1))
    fine = rays.samples(distances, total)
    depths = median_depth(total, fine.distances)
    return RayRender(
        colours=colours,
        depths=depths,
        depth_sigmas=depth_spread(total, distances, depths),
        opacities=total.sum(dim=1),
        proposal=proposal,
        fine=fine,
        features=_features(field, basis, static),
        extras=extras,
    )


def _coarse(
    field, rays: _Rays, generator: torch.Generator | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return distances and weights (R, S), and colours (R, 3) where the network learns."""
    origins = rays.origins
    distances = linear_distances(
        len(origins),
        field.config.coarse_samples,
        rays.near,
        rays.far,
        generator,
        origins.device,
        origins.dtype,
    )
    codes = field.coarse.trunk_codes(rays.points(distances))
    weights = compositing_weights(field.coarse.densities(codes), _lengths(distances))
    if not torch.is_grad_enabled():
        return distances, weights, None
    basis, _ = field.coarse.heads(codes, rays.views, transient=False)
    return distances, weights, _composited(weights, field.coarse.colours(basis))


def _features(field, basis_RSH: torch.Tensor, weights_RS: torch.Tensor) -> torch.Tensor | None:
    """Composite the inputs of the linear feature layer, which commutes with compositing."""
    if not field.config.features:
        return None
    if field.config.detach_feature_weights:
        weights_RS = weights_RS.detach()
    return field.fine.features(_composited(weights_RS, basis_RSH), weights_RS.sum(dim=1))


def _composited(weights_RS: torch.Tensor, values_RSC: torch.Tensor) -> torch.Tensor:
    return torch.einsum('rs,rsc->rc', weights_RS, values_RSC)


def _lengths(distances_RS: torch.Tensor) -> torch.Tensor:
    """Return how far each sample reaches (R, S): to the next one, in depth (section 2.1)."""
    last = torch.full_like(distances_RS[:, :1], LAST_LENGTH)
    return torch.cat([distances_RS[:, 1:] - distances_RS[:, :-1], last], dim=1)
