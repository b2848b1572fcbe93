"""Fusion of rendered colours and features into what an extractor would find (NeFeS section 3)."""

from dataclasses import asdict, dataclass

import torch
from torch import nn
import torch.nn.functional as F

from posefield.fields.initialization import seeded

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class FusionConfig:
    """Sizes of a FusionNet.

    Attributes:
        channels: features in and out.
        width: hidden channels.
        batch_statistics: whether the last normalisation uses, also after learning, the
            statistics of the map itself, as published; otherwise those gathered while learning.
        residual: whether the result is added to the features that come in.
    """

    channels: int = 128
    width: int = 64
    batch_statistics: bool = True
    residual: bool = False

    def to_dict(self) -> dict:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> 'FusionConfig':
        """Return the configuration that `to_dict` described."""
        return cls(**values)


class FusionNet(nn.Module):
    """Three 3x3 convolutions and a 5x5 one; a result is free of padding 5 px from the border."""

    def __init__(self, config: FusionConfig, generator: torch.Generator):
        super().__init__()
        self.config = config
        with seeded(generator):
            self.convolutions = nn.Sequential(
                nn.Conv2d(3 + config.channels, config.width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(config.width, config.width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(config.width, config.width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(config.width, config.channels, 5, padding=2),
            )
        self.norm = nn.BatchNorm2d(
            config.channels, track_running_stats=not config.batch_statistics
        )
        self.register_buffer('mean', torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer('std', torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, colours_B3HW: torch.Tensor, features_BCHW: torch.Tensor) -> torch.Tensor:
        """Return fused features (B, C, H, W) of exposed colours in [0, 1] and features.

        While learning, the normalisation is over the batch.  Afterwards every map is on its
        own, so that a result does not depend on what else is in the batch.
        """
        colours = (colours_B3HW - self.mean) / self.std
        raw = self.convolutions(torch.cat([colours, features_BCHW], dim=1))
        if self.config.batch_statistics and not self.training:
            fused = F.instance_norm(
                raw, weight=self.norm.weight, bias=self.norm.bias, eps=self.norm.eps
            )
        else:
            fused = self.norm(raw)
        return fused + features_BCHW if self.config.residual else fused
