"""From trees that the motion of free parts suggests to the one that the images ask for."""

from collections.abc import Callable, Sequence
import copy
from dataclasses import dataclass, field, replace
from functools import partial
import time

import numpy as np
import torch

from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.hierarchy import Hierarchy
from posefield.articulation.part_halves import halved
from posefield.articulation.parts import PartMotion
from posefield.articulation.round_ends import with_round_ends
from posefield.articulation.skeleton_search import MUCH, SkeletonSearch, SkeletonSearchConfig
from posefield.articulation.skeleton_stage import SkeletonLossConfig, SkeletonStage, probe
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.skeleton_trials import Trials, adapt
from posefield.articulation.structure import ProposedTree, StructureConfig, propose_tree
from posefield.errors import LearningError
from posefield.learning.budget import Budget
from posefield.learning.run import LearningRun


@dataclass(frozen=True)
class SkeletonFittingConfig:
    """How joints are fitted to the images.

    Attributes:
        loss: what they are fitted to.
        search: how they are chosen.
        anew: trees that are proposed anew from joints that are fitted, each from the one before.
        anew_noise: see `StructureConfig.least_noise`; about a seventh of a pixel, which is as well
            as images say where joints hold parts.
        anew_steps: that all have to adapt to such a tree.
    """

    loss: SkeletonLossConfig = field(default_factory=SkeletonLossConfig)
    search: SkeletonSearchConfig = field(default_factory=SkeletonSearchConfig)
    anew: int = 2
    anew_noise: float = 0.003
    anew_steps: int = 240


@dataclass(frozen=True)
class Candidate:
    """Joints that one of several runs has found.

    Attributes:
        proposed: the tree that the motion of its parts suggests.
        motion: its parts.
        tracks: the tree fitted to the images; None where it has no joint.
    """

    proposed: ProposedTree
    motion: PartMotion
    tracks: SkeletonTracks | None


def fit_proposed(
    proposed: ProposedTree,
    motion: PartMotion,
    pixels: FittingPixels,
    loss: SkeletonLossConfig,
    run: LearningRun,
    budget: Budget,
    name: str,
) -> Candidate:
    """Fit a tree to the images as it was proposed.

    Args:
        proposed: the tree.
        motion: the parts that it was found in.
        pixels: what the parts were fitted to.
        loss: what the tree is fitted to.
        run: the run that this is part of.
        budget: how long.
        name: of the stage.

    Raises:
        LearningInterrupted: when stopped; a later call goes on.
        LearningError: when the loss is not finite.
    """
    if not proposed.tree.freedoms:
        return Candidate(proposed, motion, None)
    tracks = SkeletonTracks.from_tree(proposed.tree, motion).to(pixels.device)
    stage = SkeletonStage(name, tracks, pixels, loss)
    run.run_stage(stage, steps=budget.steps, seconds=budget.seconds)
    return Candidate(proposed, motion, stage.tracks)


def propose_anew(
    candidate: Candidate,
    pixels: FittingPixels,
    config: SkeletonFittingConfig,
    structure: StructureConfig,
    run: LearningRun,
    name: str,
) -> Candidate:
    """Propose trees from the motion of joints, and keep one that explains the images better.

    Parts on joints do not slip as free ones do, so that motion smaller than before is to be
    believed; what is smaller than the noise is not.

    Args:
        candidate: joints that are fitted.
        pixels: what they were fitted to.
        config: how.
        structure: how trees are proposed, but for the noise.
        run: the run that this is part of.
        name: of the stage.

    Raises:
        LearningInterrupted: when stopped; a later call begins again.
    """
    if candidate.tracks is None:
        return candidate
    structure = replace(structure, least_noise=config.anew_noise)
    for _ in range(config.anew):
        with run.uninterrupted(name):
            motion = moving_as(candidate.tracks, candidate.motion)
            proposed = propose_tree(motion, structure)
            if not proposed.tree.freedoms:
                return candidate
            run.stopper(name)()
            anew = SkeletonTracks.from_tree(proposed.tree, motion).to(pixels.device)
            anew = anew.painted_as(candidate.tracks)
            same = copy.deepcopy(candidate.tracks)
            for tracks in (same, anew):
                adapt(tracks, pixels, config.loss, config.anew_steps)
            if _cost(pixels, config, anew) >= _cost(pixels, config, same):
                return candidate
            candidate = Candidate(proposed, motion, anew)
    return candidate


def choose_joints(
    candidates: Sequence[Candidate],
    pixels: FittingPixels,
    config: SkeletonFittingConfig,
    run: LearningRun,
    *,
    search_s: float | None,
    last_budget: Budget,
    prune_s: float | None,
) -> tuple[ProposedTree, PartMotion]:
    """Choose the joints of candidates anew, as the images ask for, and fit the best ones again.

    Args:
        candidates: what runs have found.
        pixels: what they were fitted to.
        config: how.
        run: the run that this is part of.
        search_s: seconds that the search may take; None lets it come to its end.
        last_budget: how long to fit what was chosen.
        prune_s: seconds to find the joints that are not missed then; None for all it takes.

    Returns:
        the tree, and the parts moving as it says; the first candidate's where none has a joint.

    Raises:
        LearningInterrupted: when stopped; a later call goes on after what was finished.
        LearningError: when the loss is not finite.
    """
    jointed = [one for one in candidates if one.tracks is not None]
    if not jointed:
        return candidates[0].proposed, candidates[0].motion
    with Trials(pixels, config.loss, config.search.processes, run.stop) as trials:

        def search(stage: str, seconds: float | None) -> SkeletonSearch:
            goes_on = _SearchTime(stage, seconds, run).goes_on
            return SkeletonSearch(trials, config.search, goes_on)

        def choose(stage: str) -> tuple[int, SkeletonTracks]:
            cost = partial(_cost, pixels, config)
            return _searched([one.tracks for one in jointed], search(stage, search_s), cost)

        chosen, tracks = _found_once('choosing joints', choose, jointed, run)
        # Textures are learned within sharp outlines: soft ones would spoil what has been fitted.
        sharp = replace(config.loss, soft_px=config.loss.sharp_px)
        fitting = SkeletonStage('joints', halved(tracks), pixels, sharp)
        run.run_stage(fitting, steps=last_budget.steps, seconds=last_budget.seconds)

        def remove(stage: str) -> tuple[int, SkeletonTracks]:
            # What made up for others that were not right yet is missed no more.
            fewer = search(stage, prune_s).pruned(fitting.tracks)
            unseen = MUCH * config.search.tolerance
            return chosen, with_round_ends(fewer, pixels, config.loss, unseen)

        _, tracks = _found_once('removing joints', remove, jointed, run)
    best = jointed[chosen]
    return ProposedTree(tracks.tree(), best.proposed.levels), moving_as(tracks, best.motion)


def _found_once(
    stage: str,
    find: Callable[[str], tuple[int, SkeletonTracks]],
    candidates: Sequence[Candidate],
    run: LearningRun,
) -> tuple[int, SkeletonTracks]:
    """Return what a run that is resumed has found in a stage, else find and keep it.

    That is the index of a candidate, and what its tracks have become.
    """
    checkpoint = run.store.load(stage) if run.store else None
    if checkpoint is None:
        chosen, tracks = find(stage)
        if run.store:
            state = {'chosen': chosen, 'hierarchy': tracks.hierarchy.to_dict()}
            run.store.save(stage, tracks.state_dict(), state)
        return chosen, tracks
    try:
        chosen = int(checkpoint.state['chosen'])
        hierarchy = Hierarchy.from_dict(checkpoint.state['hierarchy'])
        tracks = candidates[chosen].tracks.shaped_as(hierarchy)
        tracks.load_state_dict(checkpoint.tensors)
    except (KeyError, IndexError, RuntimeError) as error:
        raise LearningError(
            f'The checkpoint of stage {stage} is not of this run ({error}); start afresh.'
        ) from error
    return chosen, tracks


def _searched(
    all_tracks: Sequence[SkeletonTracks],
    search: SkeletonSearch,
    cost: Callable[[SkeletonTracks], float],
) -> tuple[int, SkeletonTracks]:
    """Return which tracks are best once their joints are chosen, and those.

    The search begins with the best ones, and goes to the next while there is time.
    """
    found: dict[int, SkeletonTracks] = {}
    for index in np.argsort([cost(tracks) for tracks in all_tracks], kind='stable').tolist():
        if found and not search.goes_on():
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
    poses = tracks.tree().part_poses()
    with torch.no_grad():
        radii = tracks.radii_P3.double().cpu().numpy()
        colours = tracks.means_P3.clamp(0.0, 1.0).double().cpu().numpy()
    return replace(motion, radii_P3=radii, T_scene_part_FP44=poses, colours_P3=colours)


class _SearchTime:
    """Tells the search whether it may go on, and others that it is at it."""

    def __init__(self, name: str, seconds: float | None, run: LearningRun):
        self._begun_s, self._seconds = time.monotonic(), seconds
        self._name, self._progress = name, run.progress
        self._check_stop = run.stopper(self._name)
        self._progress.start(self._name, seconds is not None)

    def goes_on(self) -> bool:
        """Return whether there is time left.

        Raises:
            LearningInterrupted: when stopped.
        """
        self._check_stop()
        spent_s = time.monotonic() - self._begun_s
        fraction, left_s = 0.0, None
        if self._seconds is not None:
            left_s = max(0.0, self._seconds - spent_s)
            fraction = min(1.0, spent_s / max(self._seconds, 1e-9))
        self._progress.update(self._name, fraction, {}, left_s)
        return fraction < 1.0
