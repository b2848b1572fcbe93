"""The convolutions of VGG-16, tapped before the ReLUs of three of them (nefes.md 1.4)."""

from collections.abc import Mapping

import torch
from torch import nn

from posefield.features.imagenet import start_from_imagenet

VGG16_URL = 'https://download.pytorch.org/models/vgg16-397923af.pth'
# Channels of the convolutions of each block; a max pooling by two between blocks.
_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# conv1_2, conv3_3 and conv5_3, as the published weights number layers.
_TAPS = (2, 14, 28)


def vgg_width(channels: int, scale: float) -> int:
    """Return the channels of a layer of a narrower network, at least 4."""
    return max(4, round(channels * scale))


def tap_channels(scale: float) -> tuple[int, ...]:
    """Return the channels of the three taps."""
    return tuple(vgg_width(channels, scale) for channels in (64, 256, 512))


class Vgg16(nn.Module):
    """VGG-16 up to a tap; layers have the numbers that they have in the published weights.

    Args:
        width_scale: factor on all channels; 1 for the published network.
        last_tap: the deepest tap that is needed, 0, 1 or 2; nothing after it is built.
    """

    def __init__(self, width_scale: float = 1.0, last_tap: int = 2):
        super().__init__()
        self.layers = nn.Sequential(*_layers(width_scale)[: _TAPS[last_tap] + 1])
        self.taps = _TAPS[: last_tap + 1]
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode='fan_out', nonlinearity='relu')
                nn.init.zeros_(layer.bias)

    def forward(self, images_B3HW: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the taps of normalised images, with the strides 1, 4 and 16."""
        tapped = []
        maps = images_B3HW
        for index, layer in enumerate(self.layers):
            maps = layer(maps)
            if index in self.taps:
                tapped.append(maps)
        return tuple(tapped)

    def load_imagenet(self) -> None:
        """Take over ImageNet weights, or warn that they cannot be had."""
        start_from_imagenet('VGG-16', VGG16_URL, self._take)

    def _take(self, tensors: Mapping[str, torch.Tensor]) -> None:
        prefix = 'features.'
        published = {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
        own = self.layers.state_dict()
        self.layers.load_state_dict({n: t for n, t in published.items() if n in own})


def _layers(width_scale: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs = 3
    for block in _BLOCKS:
        for channels in block:
            outputs = vgg_width(channels, width_scale)
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return layers
