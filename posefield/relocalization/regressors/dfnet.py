"""DFNet: one network for the pose and for features that photos and renders share (1.4)."""

from dataclasses import dataclass

import torch
from torch import nn
import torch.nn.functional as F

from posefield.errors import LearningError
from posefield.features.dfnet import DFNetFeatures, FinestLevel, adaptation_layers
from posefield.features.imagenet import check_weights, imagenet_normalised
from posefield.features.vgg import Vgg16, tap_channels
from posefield.relocalization.regressors.regressor import PoseRegressor, RegressorConfig


@dataclass(frozen=True)
class DFNetConfig(RegressorConfig):
    """Which DFNet.

    Attributes:
        levels: of the features, of 0 (finest, conv1_2), 1 (conv3_3) and 2 (conv5_3).
        channels: of the features of each level.
        hidden: channels between a tap and its features.
        width_scale: factor on the channels of VGG-16; less than 1 for small machines.
        weights: `imagenet`, or `random` for the first weights of VGG-16.
    """

    levels: tuple[int, ...] = (0, 1, 2)
    channels: int = 128
    hidden: int = 64
    width_scale: float = 1.0
    weights: str = 'imagenet'

    def __post_init__(self):
        check_weights(self.weights)
        if not self.levels or list(self.levels) != sorted(set(self.levels) & {0, 1, 2}):
            raise LearningError(
                f'The levels of a DFNet are 0, 1 and 2 in this order, found {self.levels}.'
            )
        if self.width_scale <= 0 or self.channels < 1 or self.hidden < 1:
            raise LearningError(
                'A DFNet needs positive sizes, found '
                f'width_scale={self.width_scale}, channels={self.channels}, hidden={self.hidden}.'
            )
        if self.weights == 'imagenet' and self.width_scale != 1:
            raise LearningError(
                f'ImageNet weights are for width_scale 1, found {self.width_scale}; use weights '
                "'random'."
            )


@dataclass(frozen=True)
class DFNetOutput:
    """What DFNet says about a batch.

    Attributes:
        poses_B34: raw [R | t], camera to field.
        features_LBCHW: one map for each level of the configuration, all of one size.
    """

    poses_B34: torch.Tensor
    features_LBCHW: torch.Tensor


class DFNet(PoseRegressor):
    """Twelve numbers from the mean over the last map of VGG-16, features from three taps."""

    kind = 'dfnet'
    config_type = DFNetConfig
    short_side = 240

    def __init__(self, config: DFNetConfig):
        super().__init__(config)
        self.encoder = Vgg16(config.width_scale)
        taps = tap_channels(config.width_scale)
        self.adaptation = nn.ModuleDict(
            {
                str(level): adaptation_layers(taps[level], config.hidden, config.channels)
                for level in config.levels
            }
        )
        self.head = nn.Linear(taps[-1], 12)

    def forward(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Return raw [R | t] (B, 3, 4), camera to field, of RGB images in [0, 1]."""
        return self._poses(self._taps(images_B3HW))

    def poses_and_features(
        self, images_B3HW: torch.Tensor, size: tuple[int, int] | None = None
    ) -> DFNetOutput:
        """Return poses and features of RGB images in [0, 1].

        Args:
            images_B3HW: photos or renders.
            size: (height, width) of the features; the images' by default.
        """
        taps = self._taps(images_B3HW)
        size = images_B3HW.shape[-2:] if size is None else size
        features = [
            _resized(self.adaptation[str(level)](taps[level]), size)
            for level in self.config.levels
        ]
        return DFNetOutput(self._poses(taps), torch.stack(features))

    def siamese(
        self,
        first_B3HW: torch.Tensor,
        second_B3HW: torch.Tensor,
        size: tuple[int, int] | None = None,
    ) -> tuple[DFNetOutput, DFNetOutput]:
        """Return poses and features of two batches of one size, computed as one batch."""
        both = self.poses_and_features(torch.cat([first_B3HW, second_B3HW]), size)
        first, second = (
            DFNetOutput(poses, features)
            for poses, features in zip(
                both.poses_B34.split(len(first_B3HW)),
                both.features_LBCHW.split(len(first_B3HW), dim=1),
                strict=True,
            )
        )
        return first, second

    def extractor(self) -> DFNetFeatures:
        """Return the finest features as a frozen extractor of their own.

        Raises:
            LearningError: when the network has no level 0.
        """
        if 0 not in self.config.levels:
            raise LearningError(
                f'Only level 0 of a DFNet makes dense features, found levels {self.config.levels}.'
            )
        config = self.config
        finest = FinestLevel(config.width_scale, config.hidden, config.channels)
        device = self.head.weight.device
        own = self.encoder.state_dict()
        finest.encoder.load_state_dict({n: own[n] for n in finest.encoder.state_dict()})
        finest.adaptation.load_state_dict(self.adaptation['0'].state_dict())
        return DFNetFeatures(finest.to(device))

    def load_pretrained(self) -> None:
        """Start VGG-16 from ImageNet, where the configuration asks for it."""
        if self.config.weights == 'imagenet':
            self.encoder.load_imagenet()

    def _taps(self, images_B3HW: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.encoder(imagenet_normalised(images_B3HW))

    def _poses(self, taps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return self.head(F.relu(taps[-1]).mean(dim=(2, 3))).view(-1, 3, 4)


def _resized(maps_BCHW: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return maps of another size; pixel c goes to (c + 0.5) s - 0.5, as everywhere."""
    if tuple(maps_BCHW.shape[-2:]) == tuple(size):
        return maps_BCHW
    return F.interpolate(maps_BCHW, size=tuple(size), mode='bilinear', align_corners=False)
