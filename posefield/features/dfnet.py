"""The dense features of DFNet: VGG-16 adapted until photos and renders look alike (1.4)."""

from collections.abc import Mapping
import copy

import torch
from torch import nn

from posefield.errors import BundleError
from posefield.features.imagenet import imagenet_normalised
from posefield.features.vgg import Vgg16, tap_channels


def adaptation_layers(inputs: int, hidden: int, channels: int) -> nn.Sequential:
    """Return the layers that turn a tap of VGG-16 into features of one level."""
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 1),
        nn.ReLU(),
        nn.Conv2d(hidden, channels, 5, padding=2),
        nn.BatchNorm2d(channels),
    )


class FinestLevel(nn.Module):
    """The part of DFNet that its finest features need: two convolutions and their adaptation.

    Args:
        width_scale: factor on the channels of VGG-16.
        hidden, channels: of the adaptation layers.
    """

    def __init__(self, width_scale: float = 1.0, hidden: int = 64, channels: int = 128):
        super().__init__()
        self.encoder = Vgg16(width_scale, last_tap=0)
        self.adaptation = adaptation_layers(tap_channels(width_scale)[0], hidden, channels)

    def forward(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Return features (B, channels, H, W) of RGB images in [0, 1]."""
        return self.adaptation(self.encoder(imagenet_normalised(images_B3HW))[0])


class DFNetFeatures:
    """The frozen extractor: level 0 at the size of the image, statistics of the training.

    Gradients reach the image, not the weights.
    """

    def __init__(self, network: FinestLevel):
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.channels = self.network.adaptation[-1].num_features

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, torch.Tensor], device: torch.device | str
    ) -> 'DFNetFeatures':
        """Return the features with stored weights, whose shapes tell the sizes of the network.

        Raises:
            BundleError: when the weights are of another network.
        """
        try:
            scale = tensors['encoder.layers.0.weight'].shape[0] / 64.0
            hidden = tensors['adaptation.0.weight'].shape[0]
            channels = tensors['adaptation.2.weight'].shape[0]
            network = FinestLevel(scale, hidden, channels)
            network.load_state_dict(dict(tensors))
        except (KeyError, RuntimeError) as error:
            reason = ' '.join(str(error).split())
            raise BundleError(f'The DFNet features do not fit their network: {reason}') from error
        return cls(network.to(device))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights."""
        return dict(self.network.state_dict())

    def __call__(self, image_B3HW: torch.Tensor) -> torch.Tensor:
        """Return features (B, channels, H, W) of RGB images in [0, 1]."""
        return self.network(image_B3HW)
