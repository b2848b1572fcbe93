"""Rendering of fields that sample by a proposal density (mip-NeRF 360), such as GridField."""

import torch

from posefield.fields.compositing import (
    compositing_weights,
    depth_spread,
    interval_middles,
    median_depth,
)
from posefield.fields.radiance import RayRender, RaySamples, learns
from posefield.fields.sampling import resampled_edges, spacing_to_distance, uniform_edges


def render_proposal_rays(
    field,
    origins_R3: torch.Tensor,
    directions_R3: torch.Tensor,
    near: float,
    far: float,
    generator: torch.Generator | None = None,
) -> RayRender:
    """Render rays of the field frame with samples where the proposal density is.

    The locations of the samples carry no gradient, so a proposal whose parameters do not learn
    is asked without autograd even where the pose of the rays is being optimised.

    Args:
        field: has `config` (proposal_samples, samples, detach_feature_weights), `proposal`
            (`densities`, `parameters`), `encode`, `colours`, `feature_basis` and `features` as
            GridField has them.
        origins_R3, directions_R3, near, far, generator: see `rendering.render_rays`.
    """
    config = field.config
    num_rays = len(origins_R3)
    norms = directions_R3.norm(dim=1, keepdim=True)
    edges = uniform_edges(
        num_rays, config.proposal_samples, generator, origins_R3.device, origins_R3.dtype
    )
    with torch.set_grad_enabled(learns(field.proposal)):
        distances = spacing_to_distance(edges, near, far)
        points = _sample_points(origins_R3, directions_R3, distances)
        densities = field.proposal.densities(points).reshape(num_rays, -1)
        weights = compositing_weights(densities, _lengths(distances, norms))
        proposal = RaySamples(edges, distances, weights)
    edges = resampled_edges(edges, proposal.weights, config.samples, generator)
    distances = spacing_to_distance(edges, near, far)
    densities, codes = field.encode(_sample_points(origins_R3, directions_R3, distances))
    weights = compositing_weights(densities.reshape(num_rays, -1), _lengths(distances, norms))
    directions = (directions_R3 / norms)[:, None].expand(-1, config.samples, -1).reshape(-1, 3)
    colours = field.colours(codes, directions).reshape(num_rays, config.samples, 3)
    depths = median_depth(weights, distances)
    return RayRender(
        colours=(weights[..., None] * colours).sum(dim=1),
        depths=depths,
        depth_sigmas=depth_spread(weights, interval_middles(distances), depths),
        opacities=weights.sum(dim=1),
        proposal=proposal,
        fine=RaySamples(edges, distances, weights),
        features=_features(field, codes, directions, weights),
    )


def _features(
    field, codes: torch.Tensor, directions: torch.Tensor, weights_RS: torch.Tensor
) -> torch.Tensor | None:
    """Composite the inputs of the linear feature layer, which commutes with compositing."""
    basis = field.feature_basis(codes, directions)
    if basis is None:
        return None
    if field.config.detach_feature_weights:
        weights_RS = weights_RS.detach()
    sums = torch.einsum('rs,rsc->rc', weights_RS, basis.reshape(*weights_RS.shape, -1))
    return field.features(sums, weights_RS.sum(dim=1))


def _sample_points(
    origins: torch.Tensor, directions: torch.Tensor, distances: torch.Tensor
) -> torch.Tensor:
    middles = interval_middles(distances)
    return (origins[:, None] + middles[..., None] * directions[:, None]).reshape(-1, 3)


def _lengths(distances: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
    return (distances[:, 1:] - distances[:, :-1]) * norms
