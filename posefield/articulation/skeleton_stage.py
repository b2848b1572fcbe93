"""Fitting joints to the images: what was found in the motion of free parts is made sharp.

Free parts have six numbers a frame each; joints have one.  With so much less freedom the images
say better where the joints are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.hierarchy import Hierarchy
from posefield.articulation.part_fitting_stage import compare, make_adam
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.learning.schedules import Cosine
from posefield.learning.stage import Stage

# Images that tell how well joints explain all of them.
PROBED_IMAGES = 120


@dataclass(frozen=True)
class SkeletonLossConfig:
    """What joints are fitted to.

    Attributes:
        counts: pixels of an image of each kind (`FittingPixels.draw`).
        images: of a step; many, because every frame has positions of its own.
        soft_px, sharp_px: width of the outlines at first, and from the middle of a stage on.
        depth_blur: `render_ellipses`, scene units.
        colour_weight, smoothness_weight, square_weight: of the losses, against 1 for the
            silhouette.
        rates: Adam's learning rates of axes, points, positions, quaternions, centres, log radii,
            colours, textures, light.
    """

    counts: tuple[int, int, int, int] = (32, 32, 48, 10)
    images: int = 60
    soft_px: float = 1.0
    sharp_px: float = 0.5
    depth_blur: float = 0.03
    colour_weight: float = 5.0
    smoothness_weight: float = 0.03
    square_weight: float = 0.1
    rates: tuple[float, ...] = (0.006, 0.003, 0.015, 0.006, 0.003, 0.006, 0.006, 0.003, 0.003)


class SkeletonStage(Stage):
    """Trains `tracks` on random pixels of all images."""

    skips = 20
    intervals = 100

    def __init__(
        self, name: str, tracks: SkeletonTracks, pixels: FittingPixels, config: SkeletonLossConfig
    ):
        self.name = name
        self.tracks = tracks
        self.schedule = Cosine(0.05)
        self._config, self._pixels = config, pixels
        self._fraction = 0.0

    def modules(self) -> dict[str, torch.nn.Module]:
        """Return the tracks."""
        return {'tracks': self.tracks}

    def parameter_groups(self) -> list[dict]:
        """Return joints, positions, shapes and colours with their own rates."""
        return parameter_groups(self.tracks, self._config)

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        """Return Adam with a short memory."""
        return make_adam(groups)

    def on_interval(self, fraction: float) -> bool:
        """Note how far the stage is: outlines get sharper."""
        self._fraction = fraction
        return False

    def extra_state(self) -> dict:
        """Return what hangs on what, and how far the stage is."""
        return {'hierarchy': self.tracks.hierarchy.to_dict(), 'fraction': self._fraction}

    def load_extra_state(self, state: dict) -> None:
        """Take it back."""
        self.tracks = self.tracks.shaped_as(Hierarchy.from_dict(state['hierarchy']))
        self._fraction = float(state['fraction'])

    def step(self, step: int, generator: torch.Generator) -> Mapping[str, torch.Tensor | float]:
        """Render random pixels of some images, and compare."""
        config = self._config
        softer = config.soft_px - config.sharp_px
        softness_px = config.sharp_px + softer * max(0.0, 1.0 - 2.0 * self._fraction)
        loss, silhouette, colour = loss_of(
            self.tracks, self._pixels, config, softness_px, generator
        )
        return {
            'loss': loss,
            'silhouette': silhouette,
            'colour': colour,
            'joints': float(self.tracks.joints),
        }


def loss_of(
    tracks: SkeletonTracks,
    pixels: FittingPixels,
    config: SkeletonLossConfig,
    softness_px: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the loss of random pixels of random images; its silhouette and colour alone."""
    images = torch.randint(
        pixels.images, (config.images,), generator=generator, device=pixels.device
    )
    silhouette, colour = compare(
        tracks, pixels, images, config.counts, softness_px * pixels.pixel_size,
        config.depth_blur, generator,
    )  # fmt: skip
    loss = silhouette + config.colour_weight * colour + tracks.shape_losses()
    loss = loss + config.smoothness_weight * tracks.jerks()
    loss = loss + config.square_weight * tracks.skewness()
    return loss, silhouette.detach(), colour.detach()


@torch.no_grad()
def probe(tracks: SkeletonTracks, pixels: FittingPixels, config: SkeletonLossConfig) -> float:
    """Return how badly tracks explain the images: always the same pixels of the same images."""
    generator = torch.Generator(pixels.device).manual_seed(0)
    chosen = torch.randperm(pixels.images, generator=generator, device=pixels.device)
    total, chosen = 0.0, chosen[:PROBED_IMAGES]
    for images in chosen.split(config.images):
        silhouette, colour = compare(
            tracks, pixels, images, config.counts, config.sharp_px * pixels.pixel_size,
            config.depth_blur, generator,
        )  # fmt: skip
        total += float(silhouette + config.colour_weight * colour) * len(images)
    return total / len(chosen)


def parameter_groups(tracks: SkeletonTracks, config: SkeletonLossConfig) -> list[dict]:
    """Return the parameters with their learning rates."""
    axes, points, positions, quaternions, centres, radii, colours, textures, light = config.rates
    rated = (
        (tracks.axes_J3, axes),
        (tracks.points_J3, points),
        (tracks.positions_FJ, positions),
        (tracks.root_quaternions_F4, quaternions),
        (tracks.root_centres_F3, centres),
        (tracks.rest_quaternions_P4, quaternions),
        (tracks.rest_centres_P3, centres),
        (tracks.log_radii_P3, radii),
        (tracks.means_P3, colours),
        (tracks.textures_P33, textures),
        (tracks.light_3, light),
    )
    return [{'params': [parameter], 'lr': rate} for parameter, rate in rated]
