"""From trees that the motion of free parts suggests to the one that the images ask for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
import threading
import time

import numpy as np
import torch

from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.parts import PartMotion
from posefield.articulation.skeleton_search import SkeletonSearch, SkeletonSearchConfig
from posefield.articulation.skeleton_stage import SkeletonLossConfig, SkeletonStage, probe
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.skeleton_trials import Trials
from posefield.articulation.structure import ProposedTree
from posefield.errors import LearningInterrupted
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import run_stage
from posefield.learning.progress import Progress

STEPS = 1200
# Of all steps or seconds: to fit all proposed trees, and to fit the last one in the end.
FIRST_SHARE, LAST_SHARE = 0.24, 0.18


@dataclass(frozen=True)
class SkeletonFittingConfig:
    """How joints are fitted to the images.

    Attributes:
        loss: what they are fitted to.
        search: how they are chosen.
    """

    loss: SkeletonLossConfig = field(default_factory=SkeletonLossConfig)
    search: SkeletonSearchConfig = field(default_factory=SkeletonSearchConfig)


def fit_skeleton(
    proposals: Sequence[tuple[ProposedTree, PartMotion]],
    pixels: FittingPixels,
    config: SkeletonFittingConfig,
    *,
    generator: torch.Generator,
    steps: int | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    checkpoints: CheckpointStore | None = None,
) -> tuple[ProposedTree, PartMotion]:
    """Fit trees to the images, choose joints of the best one anew, and fit it again.

    Args:
        proposals: trees, each with the motion of parts that it was found in.
        pixels: what the parts were fitted to.
        config: how.
        generator: the source of all randomness.
        steps, seconds: the budget of all; `STEPS` where neither is given.
        progress, stop, checkpoints: as in `learning.loop.run_stage`.

    Returns:
        the tree, and the parts moving as it says; the first proposal where none has a joint.

    Raises:
        LearningInterrupted: when stopped; a later call goes on.
        LearningError: when the loss is not finite.
    """
    jointed = [(proposed, motion) for proposed, motion in proposals if proposed.tree.freedoms]
    if not jointed:
        return proposals[0]
    if steps is None and seconds is None:
        steps = STEPS

    def fitted(
        name: str, tracks: SkeletonTracks, share: float, loss: SkeletonLossConfig
    ) -> SkeletonTracks:
        stage = SkeletonStage(name, tracks, pixels, loss)
        run_stage(
            stage,
            generator=generator,
            steps=None if steps is None else max(1, round(share * steps)),
            deadline_s=None if seconds is None else share * seconds,
            progress=progress,
            stop=stop,
            checkpoints=checkpoints,
        )
        return stage.tracks

    share = FIRST_SHARE / len(jointed)
    all_tracks = [
        fitted(f'joints {run}', _tracks(proposed, motion, pixels), share, config.loss)
        for run, (proposed, motion) in enumerate(jointed, start=1)
    ]
    left_s = None if seconds is None else (1.0 - FIRST_SHARE - LAST_SHARE) * seconds
    goes_on = _Budget(left_s, stop, progress).goes_on
    with Trials(pixels, config.loss, config.search.processes) as trials:
        search = SkeletonSearch(trials, config.search, goes_on)
        chosen, tracks = _searched(all_tracks, search, goes_on, partial(_cost, pixels, config))
    # Textures are learned within sharp outlines: soft ones would spoil what has been fitted.
    sharp = replace(config.loss, soft_px=config.loss.sharp_px)
    tracks = fitted('joints', tracks, LAST_SHARE, sharp)
    proposed, motion = jointed[chosen]
    return ProposedTree(tracks.tree(), proposed.levels), moving_as(tracks, motion)


def _tracks(proposed: ProposedTree, motion: PartMotion, pixels: FittingPixels) -> SkeletonTracks:
    return SkeletonTracks.from_tree(proposed.tree, motion).to(pixels.device)


def _searched(
    all_tracks: Sequence[SkeletonTracks],
    search: SkeletonSearch,
    goes_on: Callable[[], bool],
    cost: Callable[[SkeletonTracks], float],
) -> tuple[int, SkeletonTracks]:
    """Return which tracks are best once their joints are chosen, and those.

    The search begins with the best ones, and goes to the next while there is time.
    """
    found: dict[int, SkeletonTracks] = {}
    for index in np.argsort([cost(tracks) for tracks in all_tracks], kind='stable').tolist():
        if found and not goes_on():
            break
        found[index] = search.run(all_tracks[index])
    chosen = min(found, key=lambda index: cost(found[index]))
    return chosen, found[chosen]


def _cost(pixels: FittingPixels, config: SkeletonFittingConfig, tracks: SkeletonTracks) -> float:
    """Return the loss, and for every joint as much as it must be worth to stay."""
    per_joint = 1.0 + config.search.tolerance
    return probe(tracks, pixels, config.loss) * per_joint**tracks.joints


def moving_as(tracks: SkeletonTracks, motion: PartMotion) -> PartMotion:
    """Return the parts of a motion with the shapes and the poses of tracks."""
    tree = tracks.tree()
    poses = tree.poses()[0][:, tree.link_of_part] @ tree.T_link_part_P44
    with torch.no_grad():
        radii = tracks.radii_P3.double().cpu().numpy()
        colours = tracks.means_P3.clamp(0.0, 1.0).double().cpu().numpy()
    return replace(motion, radii_P3=radii, T_scene_part_FP44=poses, colours_P3=colours)


class _Budget:
    """Tells the search whether it may go on, and others that it is at it."""

    def __init__(
        self, seconds: float | None, stop: threading.Event | None, progress: Progress | None
    ):
        self._begun_s, self._seconds = time.monotonic(), seconds
        self._stop, self._progress = stop, progress
        self._name = 'choosing joints'
        if progress is not None:
            progress.start(self._name, seconds is not None)

    def goes_on(self) -> bool:
        """Return whether there is time left.

        Raises:
            LearningInterrupted: when stopped.
        """
        if self._stop is not None and self._stop.is_set():
            raise LearningInterrupted(f'Learning was stopped in stage {self._name}.')
        spent_s = time.monotonic() - self._begun_s
        fraction, left_s = 0.0, None
        if self._seconds is not None:
            left_s = max(0.0, self._seconds - spent_s)
            fraction = min(1.0, spent_s / max(self._seconds, 1e-9))
        if self._progress is not None:
            self._progress.update(self._name, fraction, {}, left_s)
        return fraction < 1.0
