"""The time of one iteration of Watch It Move at its published sizes, on made-up images.

Sixteen images of 512x512 with 384 rays each, 64 coarse and 64 further fine samples, 20 parts that
are spread out over the object as after the curriculum, 300 frames, all seven losses, the optimiser
and what the loop does around it.
"""

from dataclasses import dataclass
import math

import torch

from posefield.articulation.decoder import DecoderConfig
from posefield.articulation.joint_candidates import PairDistances
from posefield.articulation.paper_images import ImageBatchSource
from posefield.articulation.paper_model import PaperModel, PaperModelConfig
from posefield.articulation.paper_rendering import PaperRenderConfig
from posefield.articulation.paper_stage import PaperConfig, PaperStage, Stretch
from posefield.articulation.published import published_config

# How far the parts are spread out, and the cameras away, scene units.
OBJECT_RADIUS, CAMERA_DISTANCE = 0.5, 2.2
SEED = 0


@dataclass(frozen=True)
class PaperSizes:
    """What an iteration of Watch It Move is measured on; the defaults are published.

    Attributes:
        config: of the iteration.
        views, frames: of the video.
    """

    config: PaperConfig = published_config('atlas')
    views: int = 5
    frames: int = 300


TINY_PAPER = PaperSizes(
    config=PaperConfig(
        model=PaperModelConfig(3, 4, 8, 2, DecoderConfig(2, 8, 2)),
        render=PaperRenderConfig(coarse_samples=6, fine_samples=6),
        images=2,
        rays=8,
        surface_points=10,
        size=32,
    ),
    views=2,
    frames=5,
)


def made_up_source(sizes: PaperSizes, device: torch.device) -> ImageBatchSource:
    """Return images of a disc, the same in all frames, from cameras around the scene."""
    size = sizes.config.size
    places = torch.arange(size) - (size - 1) / 2
    disc = (places[:, None] ** 2 + places**2).sqrt() < 0.3 * size
    masks = disc.to(torch.uint8).expand(sizes.views, sizes.frames, size, size)
    generator = torch.Generator().manual_seed(SEED)
    image = torch.randint(0, 256, (size, size, 3), generator=generator, dtype=torch.uint8)
    images = torch.where(disc[..., None], image, 255).expand(*masks.shape, 3)
    focal, centre = 1.2 * size, (size - 1) / 2
    intrinsics = torch.tensor([[focal, focal, centre, centre]] * sizes.views)
    poses = [_camera_pose(2.0 * math.pi * view / sizes.views) for view in range(sizes.views)]
    return ImageBatchSource(images, masks, intrinsics, torch.stack(poses), 1.0, device)


def _camera_pose(turn: float) -> torch.Tensor:
    """Return T_scene_cam of a camera that looks at the origin from a circle."""
    forward = -torch.tensor([math.cos(turn), math.sin(turn), 0.0])
    down = torch.tensor([0.0, 0.0, -1.0])
    T = torch.eye(4)
    T[:3, :3] = torch.stack([torch.linalg.cross(down, forward), down, forward], dim=1)
    T[:3, 3] = -CAMERA_DISTANCE * forward
    return T


class PaperIteration:
    """One iteration after another, each with all seven losses.

    Args:
        sizes: of everything.
        device: where it computes.
    """

    def __init__(self, sizes: PaperSizes, device: torch.device):
        config = sizes.config
        generator = torch.Generator().manual_seed(SEED)
        model = PaperModel(config.model, sizes.frames, generator=generator)
        parts = config.model.parts
        directions = torch.nn.functional.normalize(torch.randn(parts, 3, generator=generator))
        reach = OBJECT_RADIUS * torch.rand(parts, 1, generator=generator) ** (1 / 3)
        with torch.no_grad():
            model.poses.layers[-1].bias[6 * parts :] = (reach * directions).reshape(-1)
        begins = config.weights.merging_begins
        stretch = Stretch('bench', begins, config.iterations, config.iterations - begins)
        source = made_up_source(sizes, device)
        distances = PairDistances(parts).to(device)
        self.model = model.to(device)
        self._stage = PaperStage(stretch, config, self.model, distances, source, SEED)
        self._optimizer = self._stage.make_optimizer(self._stage.parameter_groups())
        self._step = 0

    def __call__(self) -> dict[str, torch.Tensor | float]:
        """Do the next iteration as the training loop does it, and return its metrics."""
        self._optimizer.zero_grad(set_to_none=True)
        metrics = self._stage.step(self._step, torch.Generator())
        metrics['loss'].backward()
        parameters = list(self.model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._stage.clip_norm)
        if norm.isfinite():
            self._optimizer.step()
        self._step += 1
        return metrics
