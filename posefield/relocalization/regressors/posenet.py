"""An absolute pose regressor of the PoseNet kind on a compact backbone."""

from dataclasses import dataclass

import torch
from torch import nn
import torch.nn.functional as F

from posefield.relocalization.regressors.regressor import PoseRegressor, RegressorConfig


@dataclass(frozen=True)
class CompactPoseNetConfig(RegressorConfig):
    """Sizes of the regressor.

    Attributes:
        channels: of the strided convolutions.
        cells: the last map is pooled to cells x cells, so that places in the image survive.
        width: hidden units of the head.
    """

    channels: tuple[int, ...] = (32, 64, 96, 128)
    cells: int = 4
    width: int = 192


class CompactPoseNet(PoseRegressor):
    """Maps a small reference view to a camera pose in the field frame."""

    kind = 'compact'
    config_type = CompactPoseNetConfig
    short_side = 32

    def __init__(self, config: CompactPoseNetConfig):
        super().__init__(config)
        layers: list[nn.Module] = []
        inputs = 3
        for index, outputs in enumerate(config.channels):
            stride = 1 if index == 0 else 2
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride, padding=1),
                nn.GroupNorm(8, outputs),
                nn.ReLU(),
            ]
            inputs = outputs
        self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(config.cells))
        self.head = nn.Sequential(
            nn.Linear(inputs * config.cells**2, config.width),
            nn.ReLU(),
            nn.Linear(config.width, 9),
        )

    def forward(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Return [R | t] (B, 3, 4), camera to field, of RGB images in [0, 1].

        Rotations are orthonormal by construction (Gram-Schmidt of six numbers).
        """
        out = self.head(self.backbone(contrast_normalised(images_B3HW)).flatten(1))
        return torch.cat([rotation_from_six(out[:, 3:]), out[:, :3, None]], dim=2)


def contrast_normalised(images_B3HW: torch.Tensor) -> torch.Tensor:
    """Return images with zero mean and unit deviation each: exposure drops out."""
    mean = images_B3HW.mean(dim=(1, 2, 3), keepdim=True)
    deviation = images_B3HW.std(dim=(1, 2, 3), keepdim=True)
    return (images_B3HW - mean) / (deviation + 1e-3)


def rotation_from_six(six_B6: torch.Tensor) -> torch.Tensor:
    """Return rotations (B, 3, 3) whose first two columns come from six free numbers."""
    first = F.normalize(six_B6[:, :3] + six_B6.new_tensor([1.0, 0.0, 0.0]), dim=1)
    second = six_B6[:, 3:] + six_B6.new_tensor([0.0, 1.0, 0.0])
    second = F.normalize(second - (first * second).sum(dim=1, keepdim=True) * first, dim=1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=2)
