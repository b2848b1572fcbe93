"""An absolute pose regressor of the PoseNet kind on a compact backbone."""

from dataclasses import asdict, dataclass

import torch
from torch import nn
import torch.nn.functional as F


@dataclass(frozen=True)
class CompactPoseNetConfig:
    """Sizes of the regressor.

    Attributes:
        channels: of the strided convolutions.
        cells: the last map is pooled to cells x cells, so that places in the image survive.
        width: hidden units of the head.
    """

    channels: tuple[int, ...] = (32, 64, 96, 128)
    cells: int = 4
    width: int = 192

    def to_dict(self) -> dict:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> 'CompactPoseNetConfig':
        """Return the configuration that `to_dict` described."""
        return cls(**{**values, 'channels': tuple(values['channels'])})


class CompactPoseNet(nn.Module):
    """Maps a small reference view to a camera pose in the field frame."""

    def __init__(self, config: CompactPoseNetConfig):
        super().__init__()
        self.config = config
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

    def forward(self, images_B3HW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return centres (B, 3) in field units and rotations R_field_cam (B, 3, 3).

        Rotations are orthonormal by construction (Gram-Schmidt of six numbers).
        """
        out = self.head(self.backbone(contrast_normalised(images_B3HW)).flatten(1))
        return out[:, :3], rotation_from_six(out[:, 3:])

    @torch.no_grad()
    def pose(self, image_HW3: torch.Tensor) -> torch.Tensor:
        """Return T_field_cam (4, 4) float64 of one float RGB reference view."""
        centres, rotations = self(image_HW3.permute(2, 0, 1)[None])
        T = torch.eye(4, dtype=torch.float64)
        U, _, Vt = torch.linalg.svd(rotations[0].double().cpu())
        T[:3, :3] = U @ Vt
        T[:3, 3] = centres[0].double().cpu()
        return T


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
