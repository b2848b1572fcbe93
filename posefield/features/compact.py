"""Learned dense features: a small CNN on top of the hand-made ones.

The network adds a learned correction to the gradient features, so an untrained one is no worse
than they are, and a minute of training on a map's own correspondences helps.
"""

from collections.abc import Mapping

import torch
from torch import nn

from posefield.errors import BundleError
from posefield.features.gradient import GradientFeatures


class CompactNetwork(nn.Module):
    """Three small convolutions from gradient features to feature vectors of the same size."""

    def __init__(self, channels: int, width: int = 24):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, padding_mode='replicate'),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=2, dilation=2, padding_mode='replicate'),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1),
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, features_BCHW: torch.Tensor) -> torch.Tensor:
        """Return corrected features (B, C, H, W)."""
        return features_BCHW + self.layers(features_BCHW)


class CompactFeatures:
    """The extractor around a CompactNetwork."""

    def __init__(self, network: CompactNetwork):
        self.network = network
        self._base = GradientFeatures()
        self.channels = self._base.channels

    @classmethod
    def untrained(cls) -> 'CompactFeatures':
        """Return features that equal the gradient features."""
        return cls(CompactNetwork(GradientFeatures().channels))

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, torch.Tensor], device: torch.device | str
    ) -> 'CompactFeatures':
        """Return the features with stored weights.

        Raises:
            BundleError: when the weights are of another network.
        """
        features = cls.untrained()
        try:
            features.network.load_state_dict(
                {name: tensor.to(torch.float32) for name, tensor in tensors.items()}
            )
        except RuntimeError as error:
            raise BundleError(f'The compact features do not fit their network: {error}') from error
        features.network.to(device).requires_grad_(False)
        return features

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights."""
        return dict(self.network.state_dict())

    def __call__(self, image_B3HW: torch.Tensor) -> torch.Tensor:
        """Return features (B, channels, H, W) of RGB images in [0, 1]."""
        return self.network(self._base(image_B3HW))
