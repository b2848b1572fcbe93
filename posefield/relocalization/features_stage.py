"""Learning compact features on a map's own correspondences.

Rendered depth tells which pixels of two photos see the same point; their features should agree
with each other and with no other point's, also when one photo is blurred, dark or noisy.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from posefield.features.compact import CompactFeatures
from posefield.features.filters import gaussian_blur
from posefield.geometry.camera import Camera
from posefield.geometry.rays import camera_rays
from posefield.learning.schedules import Cosine
from posefield.learning.stage import Stage
from posefield.relocalization.keyframes import Keyframe, enlarged
from posefield.relocalization.refiners.alignment import sample_map
from posefield.relocalization.sparse_map import neighbouring_views
from posefield.relocalization.triangulation import View


@dataclass(frozen=True)
class FeaturesStageConfig:
    """How compact features are learned.

    Attributes:
        short_side: image size.
        points: correspondences a step.
        temperature: of the contrastive loss.
        learning_rate: Adam's.
        neighbours: photos that each photo is paired with.
        max_depth_error: a pixel whose depth disagrees by more, relatively, is occluded.
        max_blur_px, gain, noise: largest spoiling of one of the two photos.
    """

    short_side: int = 120
    points: int = 384
    temperature: float = 0.1
    learning_rate: float = 2e-3
    neighbours: int = 8
    max_depth_error: float = 0.03
    max_blur_px: float = 2.0
    gain: float = 0.5
    noise: float = 0.04


@dataclass(frozen=True)
class _Photo:
    image_13HW: torch.Tensor
    depths_11HW: torch.Tensor
    trust_HW: torch.Tensor
    camera: Camera
    T_field_cam: torch.Tensor


class FeaturesStage(Stage):
    """Trains the network of CompactFeatures on pairs of keyframes."""

    name = 'features'
    schedule = Cosine(final=0.02, warm_up=0.05)
    clip_norm = 1.0

    def __init__(
        self, keyframes: list[Keyframe], config: FeaturesStageConfig, device: torch.device
    ):
        self.config = config
        self.learning_rate = config.learning_rate
        self.features = CompactFeatures.untrained()
        self.features.network.to(device)
        self._photos = [_prepared(keyframe, config.short_side, device) for keyframe in keyframes]
        views = [View(keyframe.camera, keyframe.T_field_cam) for keyframe in keyframes]
        self._pairs = neighbouring_views(views, config.neighbours)

    def modules(self) -> dict[str, torch.nn.Module]:
        """Return the network."""
        return {'network': self.features.network}

    def step(self, step: int, generator: torch.Generator) -> dict[str, torch.Tensor | float]:
        """Match one pair of photos, contrastively both ways."""
        draw = torch.randint(len(self._pairs), (1,), generator=generator, device=generator.device)
        row = int(draw)
        first, second = (self._photos[index] for index in self._pairs[row])
        pixels_first, pixels_second = self._correspondences(first, second, generator)
        if len(pixels_first) < 16:
            return {'loss': 0.0 * sum(p.sum() for p in self.features.network.parameters())}
        spoiled = self._spoiled(second.image_13HW, generator)
        a = _sampled(self.features(first.image_13HW), pixels_first)
        b = _sampled(self.features(spoiled), pixels_second)
        logits = a @ b.T / self.config.temperature
        target = torch.arange(len(a), device=a.device)
        loss = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
        hits = (logits.argmax(dim=1) == target).to(torch.float32).mean()
        return {'loss': loss, 'matched': float(hits)}

    def _correspondences(
        self, first: _Photo, second: _Photo, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pixels (K, 2) of points that both photos see."""
        trust = first.trust_HW.reshape(-1) + 1e-6
        rows = torch.multinomial(trust, self.config.points, generator=generator)
        width = first.camera.width
        pixels = torch.stack([rows % width, rows // width], dim=1).to(torch.float32)
        depths = first.depths_11HW.reshape(-1, 1)[rows]
        points = camera_rays(first.camera, pixels) * depths
        T = torch.linalg.inv(second.T_field_cam) @ first.T_field_cam
        seen = points @ T[:3, :3].T + T[:3, 3]
        z = seen[:, 2].clamp(min=1e-6)
        camera = second.camera
        u = camera.fx * seen[:, 0] / z + camera.cx
        v = camera.fy * seen[:, 1] / z + camera.cy
        inside = (u > 1) & (u < camera.width - 2) & (v > 1) & (v < camera.height - 2)
        there = sample_map(second.depths_11HW, u, v)[:, 0]
        agrees = (there - seen[:, 2]).abs() < self.config.max_depth_error * z
        keep = inside & agrees & (seen[:, 2] > 0)
        return pixels[keep], torch.stack([u, v], dim=1)[keep]

    def _spoiled(self, image_13HW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        config, device = self.config, image_13HW.device
        blur, gain, noise = torch.rand(3, generator=generator, device=device).tolist()
        image = gaussian_blur(image_13HW, config.max_blur_px * blur if blur > 0.3 else 0.0)
        image = image * (1.0 + config.gain * (2.0 * gain - 1.0))
        grain = torch.randn(image.shape, generator=generator, device=device)
        return (image + config.noise * noise * grain).clamp(0.0, 1.0)


def _prepared(keyframe: Keyframe, short_side: int, device: torch.device) -> _Photo:
    sized = keyframe.image().with_short_side(short_side)
    return _Photo(
        torch.from_numpy(sized.image_HW3).to(device).permute(2, 0, 1)[None],
        enlarged(keyframe.depths_hw, sized.camera, device)[None, None],
        enlarged(keyframe.trust_hw / 255.0, sized.camera, device),
        sized.camera,
        torch.tensor(np.asarray(keyframe.T_field_cam), dtype=torch.float32, device=device),
    )


def _sampled(features_1CHW: torch.Tensor, pixels_K2: torch.Tensor) -> torch.Tensor:
    values = sample_map(features_1CHW, pixels_K2[:, 0], pixels_K2[:, 1])
    return F.normalize(values, dim=1, eps=1e-4)
