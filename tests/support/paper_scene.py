"""A tiny model and rays for tests of Watch It Move."""

import torch

from posefield.articulation.decoder import DecoderConfig
from posefield.articulation.paper_model import PaperModel, PaperModelConfig
from posefield.articulation.paper_rendering import ImageRays

TINY_MODEL = PaperModelConfig(
    parts=4, pose_features=5, pose_width=16, pose_depth=2, decoder=DecoderConfig(2, 16, 3)
)


def tiny_model(frames: int = 6, seed: int = 0, config: PaperModelConfig = TINY_MODEL):
    """A model whose parts are spread out, and of different shapes."""
    generator = torch.Generator().manual_seed(seed)
    model = PaperModel(config, frames, generator=generator)
    with torch.no_grad():
        centres = 0.5 * torch.rand(config.parts, 3, generator=generator) - 0.25
        model.poses.layers[-1].bias[6 * config.parts :] = centres.reshape(-1)
        model.raw_radii_P3 *= 0.5 + torch.rand(config.parts, 3, generator=generator)
    return model


def tiny_rays(model: PaperModel, images: int = 2, rays: int = 30, seed: int = 1) -> ImageRays:
    """Rays of cameras at different distances on the z axis, of the first frames.

    The first ones go through the parts' centres, the others anywhere.
    """
    generator = torch.Generator().manual_seed(seed)
    slopes = 0.6 * torch.rand(images, rays, 2, generator=generator) - 0.3
    directions = torch.cat([slopes, torch.ones(images, rays, 1)], dim=2)
    origins = torch.zeros(images, 3)
    origins[:, 2] = -torch.linspace(2.0, 2.5, images)
    T_scene_part = model.poses(torch.arange(images))
    to_parts = T_scene_part[..., :3, 3].detach() - origins[:, None]
    aimed = min(rays, to_parts.shape[1])
    directions[:, :aimed] = (to_parts / to_parts[..., 2:])[:, :aimed]
    axes = torch.tensor([0.0, 0.0, 1.0]).expand(images, 3)
    return ImageRays(origins, axes, directions, T_scene_part)
