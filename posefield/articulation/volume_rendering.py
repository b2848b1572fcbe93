"""Volume rendering of a signed distance with a fixed sharpness (Watch It Move section 4).

Names: R rays, S samples along each.  A depth is along the optical axis: the factor on a ray's
direction, which has z = 1 in its camera.
"""

import torch

SHARPNESS = 600.0
# Added to the share of light, so that what is inside already takes no more.
TINY_SHARE = 1e-10
# Least weight of an interval when fine samples are drawn.
LEAST_WEIGHT = 1e-8
# Distance times sharpness beyond which nothing is taken from light: s(18) is 1 in float32.
EMPTY = 18.0


def rendering_weights(distances_RS: torch.Tensor, sharpness: float = SHARPNESS) -> torch.Tensor:
    """Return the weights (R, S) of samples at signed distances along rays.

    F_k = s(sharpness d_k) is the share of light outside; a sample takes max(0, (F_k - F_k+1) /
    (F_k + 1e-10)) of what reaches it, and the last one nothing.  How far apart the samples are
    does not matter.
    """
    # 1 - alpha_k is min(1, (F_k+1 + 1e-10) / (F_k + 1e-10)): a sum of logarithms.
    logarithms = torch.log(torch.sigmoid(sharpness * distances_RS) + TINY_SHARE)
    left = logarithms.diff(dim=-1).clamp(max=0.0)
    alphas = -torch.expm1(left)
    before = torch.cumsum(left, dim=-1) - left
    return torch.nn.functional.pad(alphas * torch.exp(before), (0, 1))


def depth_range(
    depths_BP: torch.Tensor, near_plane: float = 1.0, margin: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return near and far (B,) of images, around the depths of all part centres."""
    near = (depths_BP.amin(dim=1) - margin).clamp(min=near_plane)
    # A far that is beyond the near plane also when all parts have gone behind the camera.
    far = torch.maximum(depths_BP.amax(dim=1) + margin, near + margin)
    return near.detach(), far.detach()


def coarse_depths(near_B: torch.Tensor, far_B: torch.Tensor, samples: int) -> torch.Tensor:
    """Return depths (B, S) from near to far, equally spaced, both ends among them."""
    shares_S = torch.linspace(0.0, 1.0, samples, device=near_B.device, dtype=near_B.dtype)
    return near_B[:, None] + (far_B - near_B)[:, None] * shares_S


def fine_depths(
    coarse_RS: torch.Tensor, weights_RS: torch.Tensor, draws_RN: torch.Tensor
) -> torch.Tensor:
    """Return the coarse depths and as many drawn ones, (R, S + N), rising.

    Args:
        coarse_RS: equally spaced.
        weights_RS: of the intervals that begin at them, from `rendering_weights`; the last one
            begins none.
        draws_RN: uniform in [0, 1): each tells an interval, with the probability of its weight,
            and where in it.
    """
    weights = weights_RS[:, :-1].clamp(min=LEAST_WEIGHT)
    sums = weights.cumsum(dim=1)
    sums = sums / sums[:, -1:]
    index = torch.searchsorted(sums, draws_RN.contiguous(), right=True)
    index = index.clamp(max=weights.shape[1] - 1)
    upper = sums.gather(1, index)
    lower = torch.where(index > 0, sums.gather(1, (index - 1).clamp(min=0)), 0.0)
    share = ((draws_RN - lower) / (upper - lower).clamp(min=1e-12)).clamp(0.0, 1.0)
    width = coarse_RS[:, 1:2] - coarse_RS[:, :1]
    added = coarse_RS.gather(1, index) + share * width
    return torch.cat([coarse_RS, added], dim=1).sort(dim=1).values


def needed_samples(bounds_RS: torch.Tensor, sharpness: float = SHARPNESS) -> torch.Tensor:
    """Return which samples (R, S) of rays can have weight or give some to the one before.

    The others, and their followers, are so far outside that their bound may stand in for their
    distance, and their colour does not count.

    Args:
        bounds_RS: no more than the signed distances.
        sharpness: as in `rendering_weights`.
    """
    near = bounds_RS < EMPTY / sharpness
    follower = torch.nn.functional.pad(near[..., 1:], (0, 1))
    return near | follower
