"""Training MS-Transformer on the photos of several scenes (nefes.md 1.3)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import roma
import torch
from torch import nn
import torch.nn.functional as F

from posefield.errors import LearningError
from posefield.learning.schedules import EpochDecay, Schedule
from posefield.learning.stage import Stage
from posefield.relocalization.regressors.colour_jitter import ColourJitter
from posefield.relocalization.regressors.ms_transformer import MsTransformer
from posefield.relocalization.view_synthesis import ReferenceViews

# 30 epochs on 7-Scenes, 600 on Cambridge: in both the rate falls twice.
PUBLISHED_DECAY = EpochDecay(first=0, last=30, factor=0.1, per_epochs=10, staircase=True)


@dataclass(frozen=True)
class MsTransformerStageConfig:
    """Rates of the published recipe.

    Attributes:
        batch: images a step, of all scenes.
        learning_rate, weight_decay: Adam's.
        schedule: of the rate.
        translation_weight, rotation_weight: first values of the learned weights s; published
            are 0 and -3 for 7-Scenes, -3 and -6.5 for Cambridge.
        translation_only: trains nothing but the translation branch, as Cambridge's fine-tuning.
        jitter: largest changes of colour.
    """

    batch: int = 8
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    schedule: Schedule = PUBLISHED_DECAY
    translation_weight: float = 0.0
    rotation_weight: float = -3.0
    translation_only: bool = False
    jitter: ColourJitter = ColourJitter()


class LearnedWeights(nn.Module):
    """Joins losses of different units: l exp(-s) + s for each, with s learned too."""

    def __init__(self, translation: float, rotation: float):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([translation, rotation]))

    def forward(self, translation: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
        """Return the sum of both losses, weighted."""
        losses_2 = torch.stack([translation, rotation])
        return (losses_2 * torch.exp(-self.weights) + self.weights).sum()


class MsTransformerStage(Stage):
    """Learns poses and which scene an image is of, from jittered random crops of photos.

    Args:
        network: what to train.
        views: photos of every scene of its configuration, in that scene's field frame.
        config: rates.
        device: where to train.
    """

    def __init__(
        self,
        network: MsTransformer,
        views: Mapping[str, ReferenceViews],
        config: MsTransformerStageConfig,
        device: torch.device,
    ):
        scenes = network.config.scenes
        if set(views) != set(scenes) or not all(len(v.images_NHW3) for v in views.values()):
            counts = {name: len(view.images_NHW3) for name, view in views.items()}
            raise LearningError(
                f'An MS-Transformer for {", ".join(scenes)} needs photos of each of them and of '
                f'no other scene, found {counts}.'
            )
        self.name = 'regressor-translation' if config.translation_only else 'regressor'
        self.config = config
        self.learning_rate = config.learning_rate
        self.schedule = config.schedule
        self.network = network.to(device).train().requires_grad_(True)
        if config.translation_only:
            network.eval().requires_grad_(False)
            for part in (network.translation, network.translation_heads):
                part.train().requires_grad_(True)
        self._weights = LearnedWeights(config.translation_weight, config.rotation_weight)
        self._weights.to(device)
        self._images = [_resized(network, views[scene].images_NHW3, device) for scene in scenes]
        poses = [torch.from_numpy(np.asarray(views[scene].T_field_cam_N44)) for scene in scenes]
        T_N44 = torch.cat(poses)
        self._centres_N3 = T_N44[:, :3, 3].to(device, torch.float32)
        self._quats_N4 = roma.rotmat_to_unitquat(T_N44[:, :3, :3]).to(device, torch.float32)
        # Scene of each photo, and its number in it.
        self._where = [
            (s, row) for s, images in enumerate(self._images) for row in range(len(images))
        ]

    def modules(self) -> dict[str, nn.Module]:
        """Return the network and the weights of its losses."""
        return {'network': self.network, 'weights': self._weights}

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        """Return Adam with the published weight decay."""
        return torch.optim.Adam(groups, weight_decay=self.config.weight_decay)

    def step(self, step: int, generator: torch.Generator) -> dict[str, torch.Tensor | float]:
        """Regress a batch: poses with the true scene's answers, and the scene itself."""
        batch = min(self.config.batch, len(self._where))
        order = torch.randperm(len(self._where), generator=generator, device=generator.device)
        rows = order[:batch].tolist()
        crops_B3SS = self.config.jitter(self._crops(rows, generator), generator)
        scenes_B = torch.tensor([self._where[row][0] for row in rows], device=crops_B3SS.device)
        output = self.network.recognise(crops_B3SS, scenes_B)
        translation = (output.centres_B3 - self._centres_N3[rows]).norm(dim=1).mean()
        rotation = _quaternion_distance(output.quats_xyzw_B4, self._quats_N4[rows]).mean()
        nll = F.nll_loss(output.scene_log_probabilities_BS, scenes_B)
        right = output.scene_log_probabilities_BS.argmax(dim=1) == scenes_B
        return {
            'loss': self._weights(translation, rotation) + nll,
            'translation': translation,
            'rotation': rotation,
            'scene': nll,
            'recognised': right.to(torch.float32).mean(),
        }

    def _crops(self, rows: list[int], generator: torch.Generator) -> torch.Tensor:
        """Return random square crops (B, 3, crop, crop) of photos."""
        crop = self.network.config.crop
        draws = torch.rand((len(rows), 2), generator=generator, device=generator.device).tolist()
        crops = []
        for row, (down, right) in zip(rows, draws, strict=True):
            scene, number = self._where[row]
            image = self._images[scene][number]
            top = int(down * (image.shape[1] - crop + 1))
            left = int(right * (image.shape[2] - crop + 1))
            crops.append(image[:, top : top + crop, left : left + crop])
        return torch.stack(crops).to(torch.float32) / 255.0


def _resized(
    network: MsTransformer, images_NHW3: np.ndarray, device: torch.device
) -> torch.Tensor:
    """Return images (N, 3, h, w) uint8 with the short side that crops are taken from."""
    resized = [
        network.resized(torch.from_numpy(image).permute(2, 0, 1)[None].to(torch.float32))
        for image in images_NHW3
    ]
    return torch.cat(resized).round().clamp(0, 255).to(device, torch.uint8)


def _quaternion_distance(quats_B4: torch.Tensor, true_B4: torch.Tensor) -> torch.Tensor:
    """Return |q - q'| (B,) of unit quaternions, with the sign of q' that is nearer.

    Both signs are the same rotation; the published loss knows one of them only.
    """
    signs = torch.where((quats_B4 * true_B4).sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    return (quats_B4 - signs * true_B4).norm(dim=1)
