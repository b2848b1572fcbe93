"""PoseNet: a backbone, a mean over its last map, and twelve numbers (nefes.md 1.2)."""

from dataclasses import dataclass

import torch
from torch import nn

from posefield.errors import LearningError
from posefield.features.imagenet import imagenet_normalised
from posefield.relocalization.regressors.backbones import Backbone, check_backbone
from posefield.relocalization.regressors.regressor import PoseRegressor, RegressorConfig


@dataclass(frozen=True)
class PoseNetConfig(RegressorConfig):
    """Which PoseNet.

    Attributes:
        backbone: one of BACKBONES.
        weights: `imagenet`, or `random` for the first weights of the backbone.
        hidden: units between the mean and the pose; 0 for none.
        dropout: of what the last layer sees, while training.
    """

    backbone: str = 'mobilenet_v2'
    weights: str = 'imagenet'
    hidden: int = 0
    dropout: float = 0.0

    def __post_init__(self):
        check_backbone(self.backbone, self.weights)
        if self.hidden < 0 or not 0 <= self.dropout < 1:
            raise LearningError(
                'A PoseNet needs hidden of at least 0 and dropout in [0, 1), found '
                f'hidden={self.hidden}, dropout={self.dropout}.'
            )

    @classmethod
    def published(cls, backbone: str) -> 'PoseNetConfig':
        """Return the published head for a backbone: a hidden layer on ResNet-34, else none."""
        return cls(
            backbone,
            'random' if backbone == 'compact' else 'imagenet',
            hidden=2048 if backbone == 'resnet34' else 0,
        )


class PoseNet(PoseRegressor):
    """Regresses twelve numbers, which training does not force to be a rigid pose.

    The statistics of ImageNet are taken out inside.
    """

    kind = 'posenet'
    config_type = PoseNetConfig
    short_side = 240

    def __init__(self, config: PoseNetConfig):
        super().__init__(config)
        self.backbone = Backbone(config.backbone)
        layers: list[nn.Module] = []
        width = self.backbone.channels
        if config.hidden:
            hidden = nn.Linear(width, config.hidden)
            nn.init.kaiming_normal_(hidden.weight)
            layers += [hidden, nn.ReLU()]
            width = config.hidden
        self.head = nn.Sequential(*layers, nn.Dropout(config.dropout), nn.Linear(width, 12))

    def forward(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Return raw [R | t] (B, 3, 4), camera to field, of RGB images in [0, 1]."""
        maps = self.backbone(imagenet_normalised(images_B3HW))
        return self.head(maps.mean(dim=(2, 3))).view(-1, 3, 4)

    def load_pretrained(self) -> None:
        """Start the backbone from ImageNet, where the configuration asks for it."""
        if self.config.weights == 'imagenet':
            self.backbone.load_imagenet()
