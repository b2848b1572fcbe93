"""Where along a ray a field is asked.

A GridField is asked in the middles of intervals, whose edges are in a normalised distance s in
[0, 1]: linear in the distance up to 2, the size of the box, and linear in disparity beyond it.
An MlpField is asked at distances, which are linear between near and far (NeFeS section 2.1).
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
    count = num_samples + 1
    u = torch.linspace(0.0, 1.0 - 1.0 / count, count, device=edges.device, dtype=edges.dtype)
    u = u.expand(len(edges), -1)
    if generator is None:
        u = u + 0.5 / count
    else:
        u = u + torch.rand(len(edges), 1, generator=generator, device=edges.device) / count
    return _inverse_cdf(edges, histogram, u)


def linear_distances(
    num_rays: int,
    num_samples: int,
    near: float,
    far: float,
    generator: torch.Generator | None,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Return distances (R, S) from near to far; jittered in their strata with a generator."""
    distances = torch.linspace(near, far, num_samples, device=device, dtype=dtype)
    distances = distances.expand(num_rays, -1)
    if generator is None:
        return distances
    edges = centred_edges(distances)
    share = torch.rand(num_rays, num_samples, generator=generator, device=device, dtype=dtype)
    return edges[:, :-1] + share * (edges[:, 1:] - edges[:, :-1])


def centred_edges(distances_RS: torch.Tensor) -> torch.Tensor:
    """Return edges (R, S + 1) half way between samples; the outer ones are at the samples."""
    middles = 0.5 * (distances_RS[:, 1:] + distances_RS[:, :-1])
    return torch.cat([distances_RS[:, :1], middles, distances_RS[:, -1:]], dim=1)


def refined_distances(
    distances_RS: torch.Tensor,
    weights_RS: torch.Tensor,
    num_samples: int,
    generator: torch.Generator | None,
    padding: float = 1e-5,
) -> torch.Tensor:
    """Return the distances and as many more as wanted where the weights are, (R, S + N) sorted.

    Args:
        distances_RS: ascending.
        weights_RS: of the samples; the outer two are not used.  They need not sum to 1.
        num_samples: N, drawn by the inverse CDF between the samples' middles.
        generator: draws them at random; None takes equidistant quantiles.
        padding: added to every weight.
    """
    edges = centred_edges(distances_RS)[:, 1:-1]
    histogram = weights_RS.detach()[:, 1:-1] + padding
    histogram = histogram / histogram.sum(dim=1, keepdim=True)
    shape = (len(edges), num_samples)
    kind = {'device': edges.device, 'dtype': edges.dtype}
    if generator is None:
        u = torch.linspace(0.0, 1.0, num_samples, **kind).expand(shape)
    else:
        u = torch.rand(shape, generator=generator, **kind)
    added = _inverse_cdf(edges, histogram, u)
    return torch.cat([distances_RS, added], dim=1).sort(dim=1).values


def _inverse_cdf(edges: torch.Tensor, shares: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Return where (R, N) the piecewise linear CDF of shares (R, S) reaches u (R, N)."""
    cdf = torch.cumsum(shares, dim=1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf.clamp(max=1.0)], dim=1)
    right = torch.searchsorted(cdf, u.contiguous(), right=True).clamp(1, cdf.shape[1] - 1)
    cdf_low, cdf_high = cdf.gather(1, right - 1), cdf.gather(1, right)
    edge_low, edge_high = edges.gather(1, right - 1), edges.gather(1, right)
    share = ((u - cdf_low) / (cdf_high - cdf_low).clamp(min=1e-9)).clamp(0.0, 1.0)
    return edge_low + share * (edge_high - edge_low)
