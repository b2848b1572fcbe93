"""Fitting rigid parts to a multi-view recording in minutes (part_fitting, stage 1)."""

from dataclasses import dataclass, field

import numpy as np
import torch

from posefield.articulation.ellipsoid_tracks import EllipsoidTracks
from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.joint_candidates import PairDistances, candidate_points
from posefield.articulation.part_fitting_stage import PartFittingStage, PartStageConfig
from posefield.articulation.part_seeding import seed_parts
from posefield.articulation.parts import PartMotion
from posefield.errors import LearningError
from posefield.learning.budget import Budget
from posefield.learning.run import LearningRun

LEAST_FRAMES = 3


@dataclass(frozen=True)
class PartFittingConfig:
    """How parts are fitted.

    Attributes:
        parts: ellipsoids; more than the thing has links, because those of one link are merged.
        short_side: of the images, at most.
        neighbours: of a part, whose motion against it is kept small.
        stage: of a run.
    """

    parts: int = 24
    short_side: int = 96
    neighbours: int = 6
    stage: PartStageConfig = field(default_factory=PartStageConfig)

    def __post_init__(self):
        if self.parts < 2:
            raise LearningError(f'Fitting needs at least 2 parts, found {self.parts}.')


def fit_parts(
    pixels: FittingPixels,
    frames: tuple[int, ...],
    first_frame: int,
    config: PartFittingConfig,
    run: LearningRun,
    budget: Budget,
    name: str = 'parts',
) -> PartMotion:
    """Find rigid parts and their poses in all frames, from one of them on.

    Args:
        pixels: what the parts are fitted to.
        frames: their numbers in the video.
        first_frame: where to begin, as an index of them.
        config: how.
        run: the run that this is part of.
        budget: how long.
        name: of the stage.

    Raises:
        LearningInterrupted: when stopped; a later call goes on.
        LearningError: when the loss is not finite, or there are too few frames.
    """
    check_frames(frames)
    random = np.random.default_rng(run.seed)
    seeds = seed_parts(pixels, first_frame, config.parts, random)
    tracks = EllipsoidTracks(seeds, len(frames), config.neighbours).to(run.device)
    stage = PartFittingStage(name, tracks, pixels, first_frame, config.stage)
    run.run_stage(stage, steps=budget.steps, seconds=budget.seconds)
    return motion_of(tracks, frames)


def check_frames(frames: tuple[int, ...]) -> None:
    """Refuse fewer frames than parts are found in.

    Raises:
        LearningError: when there are too few.
    """
    if len(frames) < LEAST_FRAMES:
        raise LearningError(
            f'There are {len(frames)} frames to learn from, expected at least {LEAST_FRAMES}.'
        )


def motion_of(tracks: EllipsoidTracks, frames: tuple[int, ...]) -> PartMotion:
    """Return learned ellipsoids as plain numbers, with the tree of their candidates."""
    poses = tracks.poses_FP44()
    with torch.no_grad():
        radii = tracks.radii_P3.double().cpu()
        colours = tracks.means_P3.clamp(0.0, 1.0).double().cpu().numpy()
    T = torch.from_numpy(poses)
    distances = PairDistances(tracks.parts).double()
    distances.update(T, candidate_points(T, radii))
    return PartMotion(radii.numpy(), poses, colours, distances.tree(), tuple(frames))
