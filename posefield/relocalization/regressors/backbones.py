"""Convolutional networks that turn an image into maps for a regressor's head.

The published ones come from torchvision, which is optional: where it is missing, `compact`
works without.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from posefield.errors import LearningError
from posefield.features.imagenet import check_weights, start_from_imagenet


@dataclass(frozen=True)
class _Layout:
    """Where a network's maps are.

    Attributes:
        parts: names of its layers in order, as in its published weights.
        channels: of the last map, with a 32nd of the image's size.
        fine, coarse: number of layers up to the last map with an eighth and with a sixteenth
            of the image's size, and its channels (`reduction_3` and `reduction_4`).
    """

    parts: tuple[str, ...]
    channels: int
    fine: tuple[int, int]
    coarse: tuple[int, int]


def _features(count: int) -> tuple[str, ...]:
    return tuple(f'features.{index}' for index in range(count))


_COMPACT_CHANNELS = (16, 32, 48, 64, 96)
_LAYOUTS = {
    'compact': _Layout(_features(5), 96, (3, 48), (4, 64)),
    'mobilenet_v2': _Layout(_features(19), 1280, (7, 32), (14, 96)),
    'resnet34': _Layout(
        ('conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4'),
        512,
        (6, 128),
        (7, 256),
    ),
    'efficientnet_b0': _Layout(_features(9), 1280, (4, 40), (6, 112)),
    'efficientnet_b3': _Layout(_features(9), 1536, (4, 48), (6, 136)),
}
BACKBONES = tuple(_LAYOUTS)


def check_backbone(name: str, weights: str) -> None:
    """Refuse what cannot be built.

    Raises:
        LearningError: for a name or weights that are not known, or ImageNet weights of a
            network that has none.
    """
    check_weights(weights)
    if name not in BACKBONES:
        raise LearningError(f'Unknown backbone {name!r}, expected one of {", ".join(BACKBONES)}.')
    if name == 'compact' and weights != 'random':
        raise LearningError(
            f"The backbone 'compact' has no weights {weights!r}, expected weights 'random'."
        )


class Backbone(nn.Module):
    """A whole network up to its last map.

    Args:
        name: one of BACKBONES.
        depth: number of layers; all by default.

    Attributes:
        channels: of the last map.

    Raises:
        LearningError: when it needs torchvision and there is none.
    """

    def __init__(self, name: str, depth: int | None = None):
        super().__init__()
        self.name = name
        self._layout = _LAYOUTS[name]
        self.channels = self._layout.channels
        network = _compact_network() if name == 'compact' else _torchvision_network(name)
        parts = self._layout.parts[:depth]
        self.layers = nn.Sequential(*(network.get_submodule(part) for part in parts))

    def forward(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Return the last map (B, channels, about H / 32, about W / 32) of normalised images."""
        return self.layers(images_B3HW)

    def load_imagenet(self) -> None:
        """Take over ImageNet weights, or warn that they cannot be had."""
        models = _torchvision_models()
        published = models.get_model_weights(self.name).IMAGENET1K_V1
        start_from_imagenet(self.name, published.url, self._take)

    def _take(self, tensors: Mapping[str, torch.Tensor]) -> None:
        for part, layer in zip(self._layout.parts, self.layers, strict=False):
            prefix = f'{part}.'
            layer.load_state_dict(
                {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
            )


class TwoScaleBackbone(Backbone):
    """The first layers of a network, with its maps of an eighth and a sixteenth of the size.

    Attributes:
        fine_channels, coarse_channels: of the two maps.
    """

    def __init__(self, name: str):
        layout = _LAYOUTS[name]
        super().__init__(name, layout.coarse[0])
        self._fine_depth, self.fine_channels = layout.fine
        self.channels = self.coarse_channels = layout.coarse[1]

    def forward(self, images_B3HW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return maps (B, fine_channels, H/8, W/8) and (B, coarse_channels, H/16, W/16)."""
        fine = self.layers[: self._fine_depth](images_B3HW)
        return fine, self.layers[self._fine_depth :](fine)


def _compact_network() -> nn.Module:
    layers, inputs = [], 3
    for outputs in _COMPACT_CHANNELS:
        convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        layers.append(nn.Sequential(convolution, nn.GroupNorm(8, outputs), nn.ReLU()))
        inputs = outputs
    network = nn.Module()
    network.features = nn.Sequential(*layers)
    return network


def _torchvision_network(name: str) -> nn.Module:
    build: Callable[..., nn.Module] = _torchvision_models().get_model
    return build(name, weights=None)


def _torchvision_models():
    """Return the module torchvision.models, which is imported only where it is needed."""
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        raise LearningError(
            f'This backbone needs torchvision, which cannot be imported ({error}); install it '
            "with pip install 'posefield[backbones]', or use the backbone compact."
        ) from error
    return models
