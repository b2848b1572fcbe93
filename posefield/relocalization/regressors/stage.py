"""Learning a regressor from photos and from views synthesised by the field."""

from dataclasses import dataclass

import torch

from posefield.features.filters import gaussian_blur
from posefield.learning.schedules import Cosine
from posefield.learning.stage import Stage
from posefield.relocalization.regressors.posenet import CompactPoseNet, CompactPoseNetConfig
from posefield.relocalization.view_synthesis import ReferenceViews


@dataclass(frozen=True)
class RegressorStageConfig:
    """How the regressor is learned.

    Attributes:
        batch: images a step, half of them photos where there are renders too.
        learning_rate: Adam's.
        rotation_weight: of the rotation loss against the centre loss.
        noise: standard deviation added to the images.
        gain, offset: largest exposure change.
        max_blur_px: largest blur of the small images.
    """

    batch: int = 48
    learning_rate: float = 1e-3
    rotation_weight: float = 1.0
    noise: float = 0.03
    gain: float = 0.4
    offset: float = 0.1
    max_blur_px: float = 1.2


class RegressorStage(Stage):
    """Trains a CompactPoseNet on reference views."""

    name = 'regressor'
    schedule = Cosine(final=0.01, warm_up=0.05)
    clip_norm = 1.0

    def __init__(
        self,
        photos: ReferenceViews,
        renders: ReferenceViews,
        model_config: CompactPoseNetConfig,
        config: RegressorStageConfig,
        device: torch.device,
    ):
        self.config = config
        self.learning_rate = config.learning_rate
        self.network = CompactPoseNet(model_config).to(device)
        self._photo_count = len(photos.images_NHW3)
        images = [torch.from_numpy(views.images_NHW3) for views in (photos, renders)]
        self._images = torch.cat(images).permute(0, 3, 1, 2).contiguous().to(device)
        poses = [torch.from_numpy(views.T_field_cam_N44) for views in (photos, renders)]
        self._poses = torch.cat(poses).to(torch.float32).to(device)

    def modules(self) -> dict[str, torch.nn.Module]:
        """Return the network."""
        return {'network': self.network}

    def step(self, step: int, generator: torch.Generator) -> dict[str, torch.Tensor | float]:
        """Regress a batch: distance of the centres plus distance of the rotations."""
        rows = self._draw(generator)
        images = self._augmented(self._images[rows].to(torch.float32) / 255.0, generator)
        difference = self.network(images) - self._poses[rows, :3]
        translation = difference[:, :, 3].norm(dim=1)
        rotation = difference[:, :, :3].flatten(1).norm(dim=1)
        loss = (translation + self.config.rotation_weight * rotation).mean()
        return {'loss': loss, 'translation': float(translation.detach().mean())}

    def _draw(self, generator: torch.Generator) -> torch.Tensor:
        device, total = self._images.device, len(self._images)
        half = self.config.batch // 2 if total > self._photo_count else self.config.batch
        photos = torch.randint(self._photo_count, (half,), generator=generator, device=device)
        if half == self.config.batch:
            return photos
        renders = torch.randint(
            self._photo_count,
            total,
            (self.config.batch - half,),
            generator=generator,
            device=device,
        )
        return torch.cat([photos, renders])

    def _augmented(self, images_B3HW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        config, device = self.config, images_B3HW.device

        def uniform(shape: tuple[int, ...], low: float, high: float) -> torch.Tensor:
            return low + (high - low) * torch.rand(shape, generator=generator, device=device)

        batch = len(images_B3HW)
        sigma = float(uniform((1,), 0.0, config.max_blur_px))
        images = gaussian_blur(images_B3HW, sigma if sigma > 0.3 else 0.0)
        images = images * uniform((batch, 3, 1, 1), 1.0 - config.gain, 1.0 + config.gain)
        images = images + uniform((batch, 3, 1, 1), -config.offset, config.offset)
        noise = torch.randn(images.shape, generator=generator, device=device)
        return images + config.noise * noise
