"""Watch It Move from start to end: first the parts, then their merging (section 6)."""

from dataclasses import dataclass, replace
import threading

import numpy as np
import roma
import torch

from posefield.articulation.joint_candidates import PairDistances
from posefield.articulation.paper_images import ImageBatchSource
from posefield.articulation.paper_model import PaperModel
from posefield.articulation.paper_stage import PaperConfig, PaperStage, Stretch
from posefield.articulation.parts import PartMotion
from posefield.errors import LearningError
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import StageResult, run_stage
from posefield.learning.progress import Progress

PARTS_STAGE, MERGING_STAGE = 'paper-parts', 'paper-merging'
# No point of the thing is farther from the scene's origin, scene units.
SCENE_RADIUS = 0.75
LEAST_NEAR_PLANE = 0.05
# Points on each ellipsoid whose mean colour is the part's.
COLOUR_POINTS = 256


@dataclass(frozen=True)
class PaperResult:
    """What Watch It Move found.

    Attributes:
        motion: parts, poses and tree, scene frame.
        model: networks and radii, on the device where they were learned.
        stages: what the two took, by name.
    """

    motion: PartMotion
    model: PaperModel
    stages: dict[str, StageResult]


def train_paper(
    source: ImageBatchSource,
    frames_F: tuple[int, ...],
    config: PaperConfig,
    *,
    seed: int,
    generator: torch.Generator,
    steps: int | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    checkpoints: CheckpointStore | None = None,
) -> PaperResult:
    """Learn parts, their motion, surface and colours, and the tree of joints.

    With checkpoints, a run that was stopped goes on in the stage where it was.  Under torchrun
    every process calls this alike, within its process group.

    Args:
        source: the training images.
        frames_F: index in the video of each frame of the source.
        config: `PaperConfig()` is the published one.
        seed: of the first weights and all draws, the same in every process.
        generator: of each process; nothing of the method draws from it.
        steps: of both stages together; the schedule is stretched over them.  So it is over
            `seconds`.  Without either, there are `config.iterations` steps.
        seconds: see `steps`.
        progress, stop, checkpoints: see `run_stage`.

    Raises:
        LearningError, LearningInterrupted: see `run_stage`.
    """
    if len(frames_F) != source.frames:
        raise LearningError(
            f'There are {source.frames} frames of images, but {len(frames_F)} numbers of them.'
        )
    config = _fitted_to(source, config)
    first_weights = torch.Generator().manual_seed(seed)
    model = PaperModel(config.model, source.frames, generator=first_weights).to(source.device)
    distances = PairDistances(config.model.parts).to(source.device)
    results = {}
    for stretch, stage_seconds in _stretches(config, steps, seconds):
        stage = PaperStage(stretch, config, model, distances, source, seed)
        results[stretch.name] = run_stage(
            stage,
            generator=generator,
            steps=stretch.steps,
            deadline_s=stage_seconds,
            progress=progress,
            stop=stop,
            checkpoints=checkpoints,
        )
    return PaperResult(part_motion(model, distances, frames_F), model, results)


def _fitted_to(source: ImageBatchSource, config: PaperConfig) -> PaperConfig:
    """Return the configuration with what nobody should have to set by hand.

    The near plane comes nearer for cameras that are close.  Where masks are unreliable anywhere,
    centres are not drawn to the silhouette (as for the dog, section 5.1): a part that is hidden
    would be pushed out of its place.
    """
    before_thing = max(source.closest_camera - SCENE_RADIUS, LEAST_NEAR_PLANE)
    near_plane = min(config.render.near_plane, before_thing)
    config = replace(config, render=replace(config.render, near_plane=near_plane))
    if source.reliable:
        return config
    return replace(config, weights=replace(config.weights, centres=0.0))


def _stretches(
    config: PaperConfig, steps: int | None, seconds: float | None
) -> list[tuple[Stretch, float | None]]:
    """Return the two stages, each with its share of the seconds where these are given."""
    ends = (0, config.weights.merging_begins, config.iterations)
    if not 0 < ends[1] < ends[2]:
        raise LearningError(
            f'Merging must begin within the {ends[2]} iterations, found {ends[1]}.'
        )
    share = ends[1] / ends[2]
    names = (PARTS_STAGE, MERGING_STAGE)
    if seconds is not None:
        spans = [share * seconds, (1.0 - share) * seconds]
        return [
            (Stretch(names[k], ends[k], ends[k + 1], None), span) for k, span in enumerate(spans)
        ]
    steps = config.iterations if steps is None else steps
    if steps < 2:
        raise LearningError(f'Two stages need at least 2 steps, found {steps}.')
    first = min(max(1, round(share * steps)), steps - 1)
    counts = (first, steps - first)
    return [
        (Stretch(names[k], ends[k], ends[k + 1], count), None) for k, count in enumerate(counts)
    ]


@torch.no_grad()
def part_motion(
    model: PaperModel, distances: PairDistances, frames_F: tuple[int, ...]
) -> PartMotion:
    """Return what was learned of the parts, with exact rotations and the last tree."""
    T_scene_part = model.poses.all_frames().double().cpu()
    T_scene_part[..., :3, :3] = roma.special_procrustes(T_scene_part[..., :3, :3])
    return PartMotion(
        radii_P3=model.radii_P3.double().cpu().numpy(),
        T_scene_part_FP44=T_scene_part.numpy(),
        colours_P3=_mean_colours(model),
        edges=distances.tree(),
        frames_F=tuple(frames_F),
    )


def _mean_colours(model: PaperModel) -> np.ndarray:
    """Return the mean colour (P, 3) in [0, 1] of the surface around each ellipsoid."""
    radii_P3 = model.radii_P3
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(COLOUR_POINTS, 3, generator=generator).to(radii_P3.device)
    unit_M3 = torch.nn.functional.normalize(directions, dim=1)
    T_scene_part = model.poses.all_frames()[:1]
    colours = []
    for T, radii in zip(T_scene_part[0], radii_P3, strict=True):
        points = (unit_M3 * radii) @ T[:3, :3].T + T[:3, 3]
        _, found = model.surface(model.part_points(points[None], T_scene_part))
        colours.append(0.5 + 0.5 * found[0].mean(dim=0))
    return torch.stack(colours).double().cpu().numpy()
