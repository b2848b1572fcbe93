"""Dense feature extractors by name, as a map stores them."""

from collections.abc import Mapping
from typing import Protocol

import torch

from posefield.errors import BundleError
from posefield.features.compact import CompactFeatures
from posefield.features.dfnet import DFNetFeatures
from posefield.features.gradient import GradientFeatures

# What a map learns by itself; `dfnet` comes with the regressor of that name.
EXTRACTORS = ('gradient', 'compact')


class DenseExtractor(Protocol):
    """Turns images into dense features that survive changes of light."""

    channels: int

    def __call__(self, image_B3HW: torch.Tensor) -> torch.Tensor:
        """Return features (B, channels, H, W) of RGB images in [0, 1]."""


def load_extractor(
    name: str, tensors: Mapping[str, torch.Tensor], device: torch.device | str
) -> DenseExtractor:
    """Return the extractor of a map.

    Args:
        name: `gradient`, `compact` or `dfnet`.
        tensors: its weights; empty for `gradient`.
        device: where it computes.

    Raises:
        BundleError: for a name that this version does not know, or weights that do not fit.
    """
    if name == 'gradient':
        return GradientFeatures()
    if name == 'compact':
        return CompactFeatures.from_tensors(tensors, device)
    if name == 'dfnet':
        return DFNetFeatures.from_tensors(tensors, device)
    known = ', '.join((*EXTRACTORS, 'dfnet'))
    raise BundleError(f'Unknown features {name!r}, expected one of {known}.')


def extractor_tensors(extractor: DenseExtractor) -> dict[str, torch.Tensor]:
    """Return the weights of an extractor; empty for hand-made features."""
    if isinstance(extractor, CompactFeatures | DFNetFeatures):
        return extractor.tensors()
    return {}
