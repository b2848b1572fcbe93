"""Volume rendering sums (NeFeS section 2.4: alpha compositing)."""

from dataclasses import dataclass

import torch


def compositing_weights(densities: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the weights (R, S) w_k = (1 - exp(-d_k s_k)) exp(-sum_{l<k} d_l s_l).

    Args:
        densities: (R, S) non-negative.
        lengths: (R, S) interval lengths.
    """
    optical = densities * lengths
    return _transmittances(optical) * (1.0 - torch.exp(-optical))


def _transmittances(optical: torch.Tensor) -> torch.Tensor:
    """Return the share (R, S) of light that reaches each interval.

    Summed without the interval itself: subtracting an opaque one afterwards would lose digits.
    """
    before = torch.cumsum(optical[:, :-1], dim=1)
    return torch.exp(-torch.cat([torch.zeros_like(optical[:, :1]), before], dim=1))


@dataclass(frozen=True)
class JointWeights:
    """Weights (R, S) of a static and a transient part that share one transmittance.

    Attributes:
        static, transient: of each part as if the other were not in the same interval.
        total: of both together; only these sum to at most 1.
    """

    static: torch.Tensor
    transient: torch.Tensor
    total: torch.Tensor


def joint_weights(
    static_densities: torch.Tensor, transient_densities: torch.Tensor, lengths: torch.Tensor
) -> JointWeights:
    """Return the weights of NeFeS section 2.4.

    Args:
        static_densities, transient_densities: (R, S) non-negative.
        lengths: (R, S) interval lengths.
    """
    static, transient = static_densities * lengths, transient_densities * lengths
    optical = static + transient
    transmittance = _transmittances(optical)
    return JointWeights(
        static=transmittance * (1.0 - torch.exp(-static)),
        transient=transmittance * (1.0 - torch.exp(-transient)),
        total=transmittance * (1.0 - torch.exp(-optical)),
    )


def median_depth(weights: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Return the distance (R,) at which half of a ray's weight has been gathered.

    Less smeared over depth edges than the mean; interpolated inside the interval.
    """
    total = weights.sum(dim=1, keepdim=True)
    cumulative = torch.cumsum(weights, dim=1)
    half = 0.5 * total
    index = torch.searchsorted(cumulative, half).clamp(max=weights.shape[1] - 1)
    before = cumulative.gather(1, index) - weights.gather(1, index)
    share = (half - before) / weights.gather(1, index).clamp(min=1e-9)
    low, high = edges.gather(1, index), edges.gather(1, index + 1)
    return (low + share.clamp(0.0, 1.0) * (high - low))[:, 0]


def interval_middles(edges: torch.Tensor) -> torch.Tensor:
    """Return the middles (R, S) of intervals between edges (R, S + 1)."""
    return 0.5 * (edges[:, 1:] + edges[:, :-1])


def depth_spread(
    weights: torch.Tensor, distances_RS: torch.Tensor, depths_R: torch.Tensor
) -> torch.Tensor:
    """Return the root mean square distance (R,) of a ray's weight from its depth."""
    square = (weights * (distances_RS - depths_R[:, None]) ** 2).sum(dim=1)
    return (square / weights.sum(dim=1).clamp(min=1e-6)).sqrt()


def outer_bound(
    edges: torch.Tensor, proposal_edges: torch.Tensor, proposal_weights: torch.Tensor
) -> torch.Tensor:
    """Return, per fine interval, the proposal weight of all intervals that touch it."""
    cumulative = torch.cat(
        [torch.zeros_like(proposal_weights[:, :1]), torch.cumsum(proposal_weights, dim=1)], dim=1
    )
    last = proposal_weights.shape[1]
    proposal_edges = proposal_edges.contiguous()
    low = torch.searchsorted(proposal_edges, edges[:, :-1].contiguous(), right=True) - 1
    high = torch.searchsorted(proposal_edges, edges[:, 1:].contiguous(), right=False)
    low, high = low.clamp(0, last), high.clamp(0, last)
    return cumulative.gather(1, high) - cumulative.gather(1, low)


def interlevel_loss(
    edges: torch.Tensor,
    weights: torch.Tensor,
    proposal_edges: torch.Tensor,
    proposal_weights: torch.Tensor,
) -> torch.Tensor:
    """Return the penalty for field weight that the proposal does not cover (mip-NeRF 360)."""
    target = weights.detach()
    excess = (
        target - outer_bound(edges.detach(), proposal_edges.detach(), proposal_weights)
    ).clamp(min=0.0)
    return (excess**2 / (target + 1e-6)).sum(dim=1).mean()


def distortion_loss(weights: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Return the spread of each ray's weights along s (mip-NeRF 360 equation 15), linear time."""
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    lengths = edges[:, 1:] - edges[:, :-1]
    weight_before = torch.cumsum(weights, dim=1) - weights
    moment_before = torch.cumsum(weights * middles, dim=1) - weights * middles
    between = 2.0 * (weights * (middles * weight_before - moment_before)).sum(dim=1)
    within = (weights**2 * lengths).sum(dim=1) / 3.0
    return (between + within).mean()
