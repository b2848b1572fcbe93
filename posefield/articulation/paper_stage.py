"""One iteration of Watch It Move: sixteen images, their rays, and seven losses (section 7)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from posefield.articulation.chamfer import silhouette_chamfer
from posefield.articulation.curriculum import CurriculumConfig, ImageSampler
from posefield.articulation.joint_candidates import (
    PairDistances,
    candidate_points,
    merge_loss,
    separation_loss,
    structure_loss,
)
from posefield.articulation.paper_images import (
    PUBLISHED_SIZE,
    ImageBatch,
    ImageBatchSource,
    pixel_scale,
)
from posefield.articulation.paper_losses import PaperWeights, eikonal_loss, photometric_loss
from posefield.articulation.paper_model import PaperModel, PaperModelConfig
from posefield.articulation.paper_rendering import (
    ImageRays,
    PaperRender,
    PaperRenderConfig,
    render_rays,
)
from posefield.errors import LearningError
from posefield.learning import distributed
from posefield.learning.stage import Stage

# Squared distance in pixels of a 512 x 512 image below which an ellipsoid explains a pixel.
DEAD_ZONE = 9.0
# How often a stage that is given seconds looks where in the published schedule it is.
CLOCK_INTERVALS = 2000
# So many steps in a row may have gradients that are not finite.
SKIPS = 20


@dataclass(frozen=True)
class PaperConfig:
    """Everything about learning; the defaults are published, for people.

    Attributes:
        model: sizes of the networks.
        weights: of the losses.
        curriculum: of the frames.
        render: of the rays.
        iterations: tau_final, of both stages.
        images: of a batch, in all processes together.
        rays: of each image; 384 for 20 parts, 512 for fewer.
        surface_points: on each ellipsoid, which are to be in the silhouette.
        eikonal_points: on each ray.
        size: of the longer side of the images, at most, in pixels.
        learning_rate, weight_decay, epsilon: of AdamW.
        clip_norm: of all gradients together.
    """

    model: PaperModelConfig = PaperModelConfig()
    weights: PaperWeights = PaperWeights()
    curriculum: CurriculumConfig = CurriculumConfig()
    render: PaperRenderConfig = PaperRenderConfig()
    iterations: int = 200_000
    images: int = 16
    rays: int = 384
    surface_points: int = 200
    eikonal_points: int = 4
    size: int = PUBLISHED_SIZE
    learning_rate: float = 3e-4
    weight_decay: float = 0.005
    epsilon: float = 1e-20
    clip_norm: float = 2.0


@dataclass(frozen=True)
class PaperDraws:
    """What is random in a step, for this process's images of the joined batch.

    Attributes:
        ray_scores_BN, silhouette_scores_BN: uniform in [0, 1), one for each pixel.
        fine_BRN: the same, one for each fine sample.
        eikonal_BRK: indices of samples.
        sphere_PM3: points on the unit sphere, the same for all images.
    """

    ray_scores_BN: torch.Tensor
    silhouette_scores_BN: torch.Tensor
    fine_BRN: torch.Tensor
    eikonal_BRK: torch.Tensor
    sphere_PM3: torch.Tensor

    @classmethod
    def of_step(
        cls, config: PaperConfig, pixels: int, rays: int, seed: int, device: torch.device
    ) -> 'PaperDraws':
        """Draw for the joined batch, and keep the share of this process.

        Args:
            config: of the batch.
            pixels: of an image.
            rays: of an image.
            seed: another one in every step, the same in every process.
            device: of the results.
        """
        generator = torch.Generator(device).manual_seed(seed)
        kind = {'generator': generator, 'device': device}
        images, render = config.images, config.render
        samples = render.coarse_samples + render.fine_samples
        sphere = torch.randn(config.model.parts, config.surface_points, 3, **kind)
        drawn = (
            torch.rand(images, pixels, **kind),
            torch.rand(images, pixels, **kind),
            torch.rand(images, rays, render.fine_samples, **kind),
            torch.randint(0, samples, (images, rays, config.eikonal_points), **kind),
        )
        own = slice(distributed.rank(), None, distributed.world_size())
        return cls(*(values[own] for values in drawn), nn.functional.normalize(sphere, dim=2))


@dataclass(frozen=True)
class Stretch:
    """The iterations of the published schedule that a stage covers.

    Attributes:
        name: of the stage.
        first, last: iterations.
        steps: that cover them; None where a budget in seconds does.
    """

    name: str
    first: int
    last: int
    steps: int | None

    def iteration(self, step: int, fraction: float) -> int:
        """Return where in the schedule a step is, or a fraction where there are no steps."""
        if self.steps is None:
            return self.first + int(fraction * (self.last - self.first))
        return self.first + step * (self.last - self.first) // self.steps


class PaperStage(Stage):
    """Learns a model from a source of images.

    Several processes share the images of every batch, so that together they do what one would.

    Args:
        stretch: of the schedule.
        config: of everything.
        model, distances: learned in place; the running averages go on where they are.
        source: of the images.
        seed: of all draws, the same in every process.

    Raises:
        LearningError: when the processes cannot share the batch equally, or there are too few
            frames.
    """

    intervals = CLOCK_INTERVALS
    skips = SKIPS

    def __init__(
        self,
        stretch: Stretch,
        config: PaperConfig,
        model: PaperModel,
        distances: PairDistances,
        source: ImageBatchSource,
        seed: int,
    ):
        if config.images % distributed.world_size():
            raise LearningError(
                f'{distributed.world_size()} processes cannot share {config.images} images '
                'equally; run as many as divide them.'
            )
        if source.frames < 2:
            raise LearningError(
                f'Motion is learned from at least 2 frames, found {source.frames}.'
            )
        self.name = stretch.name
        self.clip_norm = config.clip_norm
        self.learning_rate = config.learning_rate
        self._stretch, self._config = stretch, config
        self._model, self._distances, self._source = model, distances, source
        self._sampler = ImageSampler(source.views, source.frames, config.curriculum, seed)
        self._seed = seed
        self._fraction = 0.0

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the model and the running averages of its joint candidates."""
        return {'model': self._model, 'distances': self._distances}

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        """Return AdamW, whose weight decay is on everything."""
        config = self._config
        return torch.optim.AdamW(groups, eps=config.epsilon, weight_decay=config.weight_decay)

    def on_interval(self, fraction: float) -> bool:
        """Note how far the stage is."""
        self._fraction = fraction
        return False

    def extra_state(self) -> dict:
        """Return how far the stage and its epochs are."""
        return {'fraction': self._fraction, 'drawn': self._sampler.drawn}

    def load_extra_state(self, state: dict) -> None:
        """Take back `extra_state`."""
        self._fraction, self._sampler.drawn = state['fraction'], state['drawn']

    def step(self, step: int, generator: torch.Generator) -> dict[str, torch.Tensor | float]:
        """Compare the images of a batch with their renders, and the poses with each other.

        The draws come from the seed and the step alone, the same in every process.
        """
        config, source = self._config, self._source
        iteration = self._stretch.iteration(step, self._fraction)
        batch = self._draw(step, iteration)
        rays = min(config.rays, source.pixels)
        seed = self._seed * 1_000_000_007 + self._stretch.first + step
        draws = PaperDraws.of_step(config, source.pixels, rays, seed, source.device)
        T_scene_part = self._model.poses(batch.frames_B)
        losses, psnr = self._image_losses(batch, draws, T_scene_part)
        losses |= self._pose_losses(batch, draws, T_scene_part, iteration)
        return {'loss': sum(losses.values()), 'psnr': psnr, **losses}

    def _draw(self, step: int, iteration: int) -> ImageBatch:
        """Return this process's share of the next images."""
        number = self._stretch.first + step
        views, frames = self._sampler.draw(number, iteration, self._config.images)
        own = slice(distributed.rank(), None, distributed.world_size())
        return self._source.batch(views[own], frames[own])

    def _image_losses(
        self, batch: ImageBatch, draws: PaperDraws, T_scene_part_BP44: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return the weighted losses of rendered rays, and the PSNR of these."""
        config, weights = self._config, self._config.weights
        pixels = batch.choose_pixels(draws.ray_scores_BN, draws.fine_BRN.shape[1])
        seen = batch.seen_at(pixels)
        rays = batch.rays(pixels, T_scene_part_BP44)
        render = render_rays(
            self._model, rays, self._source.background, draws.fine_BRN, config.render
        )
        photo = photometric_loss(render.colours_BR3, render.opacities_BR, seen)
        slopes = self._slopes(rays, render, draws)
        losses = {
            'photo': weights.photo * photo,
            'eikonal': weights.eikonal * eikonal_loss(slopes),
        }
        return losses, _psnr(render, seen.colours_BR3, seen.masks_BR)

    def _slopes(self, rays: ImageRays, render: PaperRender, draws: PaperDraws) -> torch.Tensor:
        """Return the gradients (N, 3) of the signed distance at samples drawn at random."""
        depths = render.depths_BRS.gather(2, draws.eikonal_BRK)
        points = rays.points(depths).flatten(1, 2).detach().requires_grad_()
        seen = self._model.part_points(points, rays.T_scene_part_BP44)
        total = self._model.distances(seen).sum()
        (slopes,) = torch.autograd.grad(total, points, create_graph=True)
        return slopes.flatten(0, 1)

    def _pose_losses(
        self,
        batch: ImageBatch,
        draws: PaperDraws,
        T_scene_part_BP44: torch.Tensor,
        iteration: int,
    ) -> dict[str, torch.Tensor]:
        """Return the weighted losses of ellipsoids and poses, those that have a weight."""
        weights, radii_P3 = self._config.weights, self._model.radii_P3
        candidates = candidate_points(T_scene_part_BP44, radii_P3)
        self._distances.update(T_scene_part_BP44, candidates)
        structure = structure_loss(candidates, self._distances.tree())
        centres = T_scene_part_BP44[..., :3, 3]
        losses = {
            'structure': weights.structure_at(iteration) * structure,
            'separation': weights.separation * separation_loss(centres),
            'silhouette': weights.silhouette
            * _ellipsoids_to_silhouette(batch, draws, T_scene_part_BP44, radii_P3),
        }
        if weights.centres > 0:
            losses['centres'] = weights.centres * _centres_to_silhouette(batch, centres)
        if weights.merging_at(iteration) > 0:
            merging = merge_loss(self._model.poses.all_frames())
            losses['merging'] = weights.merging_at(iteration) * merging
        return losses


def _ellipsoids_to_silhouette(
    batch: ImageBatch,
    draws: PaperDraws,
    T_scene_part_BP44: torch.Tensor,
    radii_P3: torch.Tensor,
) -> torch.Tensor:
    """Return L_E of points on the surfaces of all ellipsoids (section 5.4)."""
    height, width = batch.masks_BHW.shape[1:]
    local_PM3 = draws.sphere_PM3 * radii_P3[:, None]
    R, t = T_scene_part_BP44[..., :3, :3], T_scene_part_BP44[..., :3, 3]
    x, y, z = local_PM3[..., None].unbind(dim=2)
    columns = R[:, :, None].unbind(dim=-1)
    points = x * columns[0] + y * columns[1] + z * columns[2] + t[:, :, None]
    pixels = batch.choose_silhouette(draws.silhouette_scores_BN)
    square = silhouette_chamfer(
        batch.project(points.flatten(1, 2)),
        batch.positions(pixels),
        batch.masks_at(pixels),
        DEAD_ZONE * pixel_scale(height, width) ** 2,
    )
    return square / (height * width)


def _centres_to_silhouette(batch: ImageBatch, centres_BP3: torch.Tensor) -> torch.Tensor:
    """Return L_t of the centres of all parts (section 5.5)."""
    height, width = batch.masks_BHW.shape[1:]
    pixels = batch.every_second()
    square = silhouette_chamfer(
        batch.project(centres_BP3), batch.positions(pixels), batch.masks_at(pixels)
    )
    return square / (height * width)


@torch.no_grad()
def _psnr(render: PaperRender, colours_BR3: torch.Tensor, masks_BR: torch.Tensor) -> torch.Tensor:
    """Return the PSNR in dB of reliable pixels, for colours in [0, 1]."""
    errors = (0.5 * (render.colours_BR3 - colours_BR3)).square().mean(dim=2)
    reliable = masks_BR <= 1
    mean = (errors * reliable).sum() / reliable.sum().clamp(min=1)
    return -10.0 * mean.clamp(min=1e-10).log10()
