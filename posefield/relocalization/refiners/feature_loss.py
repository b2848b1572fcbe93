"""Cosine losses between a rendered and an observed feature map (NeFeS section 5.1)."""

from collections.abc import Callable

import torch

from posefield.errors import PosefieldError

# A product of norms below this counts as this much: featureless maps have no angle.
MIN_NORM_PRODUCT = 1e-6

FeatureLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def channel_cosine_loss(rendered_CHW: torch.Tensor, observed_CHW: torch.Tensor) -> torch.Tensor:
    """Return 1 - mean over channels of the cosine between whole channel images, in [0, 2].

    The paper's loss: each channel, flattened over space, is one vector.  The scale of a channel
    does not matter; its spatial mean does.
    """
    return _cosine_loss(rendered_CHW.flatten(1), observed_CHW.flatten(1), dim=1)


def pixel_cosine_loss(rendered_CHW: torch.Tensor, observed_CHW: torch.Tensor) -> torch.Tensor:
    """Return 1 - mean over pixels of the cosine between their feature vectors, in [0, 2]."""
    return _cosine_loss(rendered_CHW.flatten(1), observed_CHW.flatten(1), dim=0)


FEATURE_LOSSES: dict[str, FeatureLoss] = {
    'channel': channel_cosine_loss,
    'pixel': pixel_cosine_loss,
}


def feature_loss(name: str) -> FeatureLoss:
    """Return the loss of a name.

    Raises:
        PosefieldError: for an unknown name.
    """
    if name not in FEATURE_LOSSES:
        raise PosefieldError(
            f'Unknown feature loss {name!r}, expected one of {", ".join(FEATURE_LOSSES)}.'
        )
    return FEATURE_LOSSES[name]


def _cosine_loss(rendered: torch.Tensor, observed: torch.Tensor, dim: int) -> torch.Tensor:
    norms = rendered.norm(dim=dim) * observed.norm(dim=dim)
    cosines = (rendered * observed).sum(dim=dim) / norms.clamp(min=MIN_NORM_PRODUCT)
    return 1.0 - cosines.mean()
