"""Training PoseNet on photos alone (nefes.md 1.2)."""

import torch
from torch import nn

from posefield.relocalization.regressors.epoch_stage import (
    EpochStage,
    EpochStageConfig,
    centre_distance,
    pose_loss,
)
from posefield.relocalization.regressors.posenet12 import PoseNet
from posefield.relocalization.view_synthesis import ReferenceViews


class PoseNetStage(EpochStage):
    """Twelve entries, mean squared error, photos as they are.

    Scale and offset of batch normalisations stay as they are; their statistics are learned.
    """

    def __init__(
        self,
        network: PoseNet,
        photos: ReferenceViews,
        validation: ReferenceViews | None,
        config: EpochStageConfig,
        device: torch.device,
    ):
        super().__init__(network, photos, validation, config, device)
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)

    def losses(
        self, step: int, rows_B: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor | float]:
        """Return the loss of a batch."""
        found_B34, poses_B34 = (
            self.network(self.photos.images(rows_B)),
            self.photos.poses_N34[rows_B],
        )
        return {
            'loss': pose_loss(found_B34, poses_B34),
            'translation': centre_distance(found_B34, poses_B34),
        }
