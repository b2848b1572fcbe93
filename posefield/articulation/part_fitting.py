"""Fitting rigid parts to a multi-view recording in minutes (part_fitting, stage 1)."""

from dataclasses import dataclass, field
import threading

import numpy as np
import torch

from posefield.articulation.ellipsoid_tracks import EllipsoidTracks
from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.joint_candidates import PairDistances, candidate_points
from posefield.articulation.part_fitting_stage import PartFittingStage, PartStageConfig
from posefield.articulation.part_seeding import seed_parts
from posefield.articulation.parts import PartMotion
from posefield.articulation.restarts import first_frames
from posefield.data.multiview import Multiview
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.errors import LearningError
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import run_stage
from posefield.learning.progress import Progress

STEPS = 2200
LEAST_FRAMES = 3


@dataclass(frozen=True)
class PartFittingConfig:
    """How parts are fitted.

    Attributes:
        parts: ellipsoids; more than the thing has links, because those of one link are merged.
        short_side: of the images, at most.
        restarts: runs from different frames.
        neighbours: of a part, whose motion against it is kept small.
        stage: of a run.
    """

    parts: int = 24
    short_side: int = 96
    restarts: int = 2
    neighbours: int = 6
    stage: PartStageConfig = field(default_factory=PartStageConfig)

    def __post_init__(self):
        if self.parts < 2 or self.restarts < 1:
            raise LearningError(
                f'Fitting needs at least 2 parts and 1 run, found {self.parts} parts and '
                f'{self.restarts} restarts.'
            )


@dataclass(frozen=True)
class FittedParts:
    """What came out.

    Attributes:
        motions: of every run, parts and poses in the training frames.
        first_frames: where every run began, as indices of the video.
        pixels: what they were fitted to.
    """

    motions: tuple[PartMotion, ...]
    first_frames: tuple[int, ...]
    pixels: FittingPixels


def fit_parts(
    multiview: Multiview,
    normalisation: SceneNormalisation,
    config: PartFittingConfig,
    *,
    generator: torch.Generator,
    steps: int | None = None,
    seconds: float | None = None,
    device: torch.device | str = 'cpu',
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    checkpoints: CheckpointStore | None = None,
) -> FittedParts:
    """Find rigid parts and their poses in the training frames of a recording.

    Args:
        multiview: only its training views and frames are used.
        normalisation: to the scene frame, in which the thing has about radius 1.
        config: how.
        generator: the source of all randomness.
        steps, seconds: the budget of all runs together; `STEPS` a run where neither is given.
        device: where to compute.
        progress, stop, checkpoints: as in `learning.loop.run_stage`.

    Raises:
        DataError: when the images cannot be used.
        LearningInterrupted: when stopped; a later call goes on.
        LearningError: when the loss is not finite, or there are too few frames.
    """
    frames = multiview.training_frames
    if len(frames) < LEAST_FRAMES:
        raise LearningError(
            f'{multiview.root} has {len(frames)} frames to learn from, expected at least '
            f'{LEAST_FRAMES}.'
        )
    pixels = FittingPixels.read(multiview, frames, normalisation, config.short_side, device)
    if steps is None and seconds is None:
        steps = STEPS * config.restarts
    starts = first_frames(pixels, config.restarts)
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    motions = []
    for run, start in enumerate(starts):
        seeds = seed_parts(pixels, start, config.parts, np.random.default_rng([seed, run]))
        tracks = EllipsoidTracks(seeds, len(frames), config.neighbours).to(device)
        stage = PartFittingStage(f'parts {run + 1}', tracks, pixels, start, config.stage)
        run_stage(
            stage,
            generator=generator,
            steps=None if steps is None else max(1, steps // config.restarts),
            deadline_s=None if seconds is None else seconds / config.restarts,
            progress=progress,
            stop=stop,
            checkpoints=checkpoints,
        )
        motions.append(motion_of(tracks, frames))
    began = tuple(frames[start] for start in starts)
    return FittedParts(tuple(motions), began, pixels)


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
