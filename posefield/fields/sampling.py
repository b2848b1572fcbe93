"""Where along a ray a field is asked.

Samples are edges of intervals in a normalised distance s in [0, 1]: linear in the distance up
to 2, the size of the box, and linear in disparity beyond it.
"""

import torch


def spacing_to_distance(s: torch.Tensor, near: float, far: float) -> torch.Tensor:
    """Return ray distances for s in [0, 1]: linear up to the box, then in disparity."""
    return _inverse_warp(_warp(near) + s * (_warp(far) - _warp(near)))


def _warp(distance: float) -> float:
    return distance / 2.0 if distance < 2.0 else 2.0 - 2.0 / distance


def _inverse_warp(u: torch.Tensor) -> torch.Tensor:
    return torch.where(u < 1.0, 2.0 * u, 2.0 / (2.0 - u).clamp(min=1e-6))


def uniform_edges(
    num_rays: int,
    num_samples: int,
    generator: torch.Generator | None,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Return interval edges (R, S + 1) in [0, 1]; jittered per ray with a generator."""
    edges = torch.linspace(0.0, 1.0, num_samples + 1, device=device, dtype=dtype)
    edges = edges.expand(num_rays, -1)
    if generator is None:
        return edges
    jitter = torch.rand(num_rays, 1, generator=generator, device=device) - 0.5
    return (edges + jitter / num_samples).clamp(0.0, 1.0)


def resampled_edges(
    edges: torch.Tensor,
    weights: torch.Tensor,
    num_samples: int,
    generator: torch.Generator | None,
    padding: float = 0.01,
) -> torch.Tensor:
    """Return edges (R, num_samples + 1) drawn from a histogram by its inverse CDF.

    Args:
        edges: (R, S + 1) ascending.
        weights: (R, S) of the intervals; need not sum to 1.
        num_samples: intervals wanted.
        generator: jitters the samples of each ray; None takes the quantiles' middles.
        padding: added to every weight, so that no interval is never asked.
    """
    histogram = weights.detach() + padding / weights.shape[1]
    histogram = histogram / histogram.sum(dim=1, keepdim=True)
    cdf = torch.cumsum(histogram, dim=1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf.clamp(max=1.0)], dim=1)
    count = num_samples + 1
    u = torch.linspace(0.0, 1.0 - 1.0 / count, count, device=edges.device, dtype=edges.dtype)
    u = u.expand(len(edges), -1)
    if generator is None:
        u = u + 0.5 / count
    else:
        u = u + torch.rand(len(edges), 1, generator=generator, device=edges.device) / count
    right = torch.searchsorted(cdf, u.contiguous(), right=True).clamp(1, cdf.shape[1] - 1)
    cdf_low, cdf_high = cdf.gather(1, right - 1), cdf.gather(1, right)
    edge_low, edge_high = edges.gather(1, right - 1), edges.gather(1, right)
    share = ((u - cdf_low) / (cdf_high - cdf_low).clamp(min=1e-9)).clamp(0.0, 1.0)
    return edge_low + share * (edge_high - edge_low)
