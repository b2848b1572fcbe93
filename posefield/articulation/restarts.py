"""Several beginnings, of which the best goes on."""

from collections.abc import Sequence

import numpy as np
import torch

from posefield.articulation.ellipsoid_tracks import EllipsoidTracks
from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.part_fitting_stage import PartStageConfig, compare
from posefield.articulation.part_seeding import hull_volumes

# Frames in which a run may begin lie at least so many frames apart, as a share of the video.
SPACING = 0.2
# Images that are rendered together to score a run, and random pixels of each.
SCORED_IMAGES = 32
SCORED_SEED = 0


def first_frames(pixels: FittingPixels, count: int) -> list[int]:
    """Return where runs begin: frames with small visual hulls, apart from each other.

    The smaller a hull, the less of it is empty: there the silhouettes say most.
    """
    volumes = hull_volumes(pixels)
    volumes = np.where(volumes > 0, volumes, np.inf)
    apart = max(1, round(SPACING * pixels.frames))
    chosen: list[int] = []
    for frame in np.argsort(volumes, kind='stable').tolist():
        if all(abs(frame - other) >= apart for other in chosen):
            chosen.append(frame)
        if len(chosen) == count:
            return chosen
    # A short video has fewer frames apart than runs are wanted: begin in the best ones again.
    return [chosen[index % len(chosen)] for index in range(count)]


@torch.no_grad()
def score(tracks: EllipsoidTracks, pixels: FittingPixels, config: PartStageConfig) -> float:
    """Return how badly ellipsoids explain all training images: the data terms of the loss.

    The same pixels are asked of every run; none of a held-out view or frame.
    """
    generator = torch.Generator(pixels.device).manual_seed(SCORED_SEED)
    total = 0.0
    for images in torch.arange(pixels.images, device=pixels.device).split(SCORED_IMAGES):
        silhouette, colour = compare(
            tracks,
            pixels,
            images,
            config.counts,
            config.sharp_px * pixels.pixel_size,
            config.depth_blur,
            generator,
        )
        total += len(images) * float(silhouette + config.late_colour_weight * colour)
    return total / pixels.images


def best(scores: Sequence[float]) -> int:
    """Return the number of the run with the least score; one without a number never wins."""
    return int(np.argmin(np.nan_to_num(np.asarray(scores), nan=np.inf)))
