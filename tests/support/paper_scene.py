"""A tiny model, rays and images for tests of Watch It Move."""

from dataclasses import replace

import numpy as np
import torch

from posefield.articulation.curriculum import CurriculumConfig
from posefield.articulation.decoder import DecoderConfig
from posefield.articulation.paper_images import ImageBatchSource
from posefield.articulation.paper_losses import PUBLISHED_WEIGHTS
from posefield.articulation.paper_model import PaperModel, PaperModelConfig
from posefield.articulation.paper_rendering import ImageRays, PaperRenderConfig
from posefield.articulation.paper_stage import PaperConfig
from support.multiviews import looking_at

TINY_MODEL = PaperModelConfig(
    parts=4, pose_features=5, pose_width=16, pose_depth=2, decoder=DecoderConfig(2, 16, 3)
)

TINY = PaperConfig(
    model=TINY_MODEL,
    weights=replace(PUBLISHED_WEIGHTS['robots'], structure_full=10, merging_begins=30),
    curriculum=CurriculumConfig(first_frames=2, hold=10, complete=20, recent=2),
    render=PaperRenderConfig(coarse_samples=12, fine_samples=8),
    iterations=40,
    images=4,
    rays=24,
    surface_points=20,
    size=32,
    learning_rate=3e-3,
)
BALL_COLOURS = ((200, 60, 40), (40, 90, 220))


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


def tiny_source(views: int = 3, frames: int = 6, size: int = 32, distance: float = 2.5):
    """Two balls, one of which goes around the other, seen from a ring on white."""
    focal, centre = 1.2 * size, (size - 1) / 2
    rows, columns = np.mgrid[:size, :size]
    local = np.stack([(columns - centre) / focal, (rows - centre) / focal, np.ones_like(rows)], -1)
    images = np.full((views, frames, size, size, 3), 255, np.uint8)
    masks = np.zeros((views, frames, size, size), np.uint8)
    poses = []
    for v in range(views):
        turn = 2.0 * np.pi * v / views
        eye = distance * np.array([np.cos(turn), np.sin(turn), 0.4])
        poses.append(looking_at(eye, np.zeros(3)))
        rays = local @ poses[-1][:3, :3].T
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        for f in range(frames):
            for ball, colour in zip(ball_centres(f, frames), BALL_COLOURS, strict=True):
                along = rays @ (ball - eye)
                hit = (ball - eye) @ (ball - eye) - along**2 < 0.2**2
                images[v, f][hit], masks[v, f][hit] = colour, 1
    return ImageBatchSource(
        torch.from_numpy(images),
        torch.from_numpy(masks),
        torch.tensor([[focal, focal, centre, centre]] * views),
        torch.from_numpy(np.stack(poses)),
        1.0,
        'cpu',
    )


def ball_centres(frame: int, frames: int) -> np.ndarray:
    """Where the two balls are, (2, 3)."""
    angle = 1.5 * frame / frames
    return np.array([[0.0, 0.0, -0.15], [0.35 * np.cos(angle), 0.35 * np.sin(angle), 0.15]])
