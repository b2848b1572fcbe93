"""Learning the surface and colours around parts that are already right (part_fitting, stage 2)."""

from dataclasses import dataclass, replace
import math

import numpy as np
import roma
import torch
from torch import nn

from posefield.articulation.parts import PartMotion
from posefield.articulation.shell_rendering import find_shells, render_in_shells
from posefield.articulation.shells import RayBundle
from posefield.articulation.surface import Surface, SurfaceConfig
from posefield.articulation.surface_pixels import SurfacePixels
from posefield.learning.schedules import Cosine
from posefield.learning.stage import Stage

# How often the sharpness follows the fraction done.
SHARPENINGS = 100
# So many steps in a row may have gradients that are not finite.
SKIPS = 20


@dataclass(frozen=True)
class SurfaceStageConfig:
    """How a surface is learned.

    Attributes:
        rays: a step.
        samples: on each.
        decoder_rate, radius_rate, pose_rate, light_rate: Adam's learning rates.
        final_rate: share of them left at the end.
        first_width: of the opacity's step at first, in pixels of the images.
        last_width: the same at the end.
        mask_weight, residual_weight, pose_weight: of the losses, against 1 for the colour.
    """

    rays: int = 1024
    samples: int = 10
    decoder_rate: float = 3e-3
    radius_rate: float = 1e-3
    pose_rate: float = 3e-4
    light_rate: float = 3e-3
    final_rate: float = 0.05
    first_width: float = 1.0
    last_width: float = 0.35
    mask_weight: float = 0.2
    residual_weight: float = 0.02
    pose_weight: float = 0.1


class MovingPoses(nn.Module):
    """Poses of all parts in all frames, and small corrections to them that are learned.

    Args:
        T_scene_part_FP44: where they begin.
    """

    def __init__(self, T_scene_part_FP44: np.ndarray):
        super().__init__()
        poses = torch.tensor(T_scene_part_FP44, dtype=torch.float32)
        self.register_buffer('T_scene_part_FP44', poses)
        # Translation, then rotation vector, both in the frame of the part.
        self.twists_FP6 = nn.Parameter(torch.zeros(*poses.shape[:2], 6))

    def forward(self) -> torch.Tensor:
        """Return the corrected poses (F, P, 4, 4)."""
        motions = torch.zeros_like(self.T_scene_part_FP44)
        motions[..., :3, :3] = roma.rotvec_to_rotmat(self.twists_FP6[..., 3:])
        motions[..., :3, 3] = self.twists_FP6[..., :3]
        motions[..., 3, 3] = 1.0
        return self.T_scene_part_FP44 @ motions

    @torch.no_grad()
    def rigid(self) -> np.ndarray:
        """Return the corrected poses (F, P, 4, 4) in float64, with exact rotations."""
        T = self().double().cpu()
        T[..., :3, :3] = roma.special_procrustes(T[..., :3, :3])
        return T.numpy()


class SurfaceStage(Stage):
    """Trains `surface`, and the poses a little, on random pixels of all images."""

    name = 'surface'
    intervals = SHARPENINGS
    skips = SKIPS

    def __init__(
        self,
        motion: PartMotion,
        pixels: SurfacePixels,
        surface: SurfaceConfig,
        config: SurfaceStageConfig,
        generator: torch.Generator,
        device: torch.device,
    ):
        self.config = config
        self.schedule = Cosine(config.final_rate, warm_up=0.02)
        self.surface = Surface(torch.from_numpy(motion.radii_P3), surface, generator).to(device)
        self.poses = MovingPoses(motion.T_scene_part_FP44).to(device)
        self._pixels = pixels
        self._pixel_size = pixels.pixel_size(pixels.viewing_distance)
        self._motion = motion
        self._set_sharpness(0.0)

    def modules(self) -> dict[str, nn.Module]:
        """Return the surface and the poses."""
        return {'surface': self.surface, 'poses': self.poses}

    def parameter_groups(self) -> list[dict]:
        """Return decoder, light, radii and poses with their own rates."""
        config, surface = self.config, self.surface
        groups = [
            {'params': list(surface.decoder.parameters()), 'lr': config.decoder_rate},
            {'params': [surface.raw_radii_P3], 'lr': config.radius_rate},
            {'params': list(self.poses.parameters()), 'lr': config.pose_rate},
        ]
        if surface.shading is not None:
            groups.append({'params': list(surface.shading.parameters()), 'lr': config.light_rate})
        return groups

    def on_interval(self, fraction: float) -> bool:
        """Sharpen the surface."""
        self._set_sharpness(fraction)
        return False

    def step(self, step: int, generator: torch.Generator) -> dict[str, torch.Tensor | float]:
        """Render random pixels and compare."""
        config = self.config
        batch = self._pixels.draw(config.rays, generator)
        poses_FP44 = self.poses()
        rays = RayBundle(batch.origins_R3, batch.directions_R3, poses_FP44[batch.rows_R])
        shells = find_shells(self.surface, rays)
        hit = shells.hit_R
        colours = torch.full_like(batch.colours_R3, self._pixels.background)
        opacities = torch.zeros_like(batch.masks_R)
        penalty = 0.0
        if hit.any():
            render = render_in_shells(
                self.surface,
                rays.select(hit),
                shells.select(hit),
                config.samples,
                self._pixels.background,
                generator,
            )
            colours = colours.masked_scatter(hit[:, None], render.colours_R3)
            opacities = opacities.masked_scatter(hit, render.opacities_R)
            penalty = (render.residuals_RK / self.surface.residual).square().mean()
        square = (colours - batch.colours_R3).square()
        loss = square.mean() + config.mask_weight * _cross_entropy(opacities, batch.masks_R)
        loss = loss + config.residual_weight * penalty
        loss = loss + config.pose_weight * self.poses.twists_FP6.square().mean()
        psnr = -10.0 * math.log10(max(float(square.detach().mean()), 1e-10))
        return {'loss': loss, 'psnr': psnr}

    def result(self) -> PartMotion:
        """Return the parts with the radii and poses that were learned."""
        radii = self.surface.radii_P3.detach().double().cpu().numpy()
        return replace(self._motion, radii_P3=radii, T_scene_part_FP44=self.poses.rigid())

    def _set_sharpness(self, fraction: float) -> None:
        first, last = self.config.first_width, self.config.last_width
        width = first * (last / first) ** fraction * self._pixel_size
        self.surface.sharpness.fill_(1.0 / width)


def _cross_entropy(opacities_R: torch.Tensor, masks_R: torch.Tensor) -> torch.Tensor:
    """Return the mean binary cross-entropy, bounded where a ray cannot be helped."""
    opacities = opacities_R.clamp(1e-3, 1.0 - 1e-3)
    return nn.functional.binary_cross_entropy(opacities, masks_R)
