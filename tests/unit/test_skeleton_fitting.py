"""Joints fitted to images, and the run whose joints go on."""

from dataclasses import replace
import threading

import numpy as np
import pytest
import torch

from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.hierarchy import ROOT
from posefield.articulation.skeleton_fitting import (
    Candidate,
    SkeletonFittingConfig,
    choose_joints,
    fit_proposed,
    propose_anew,
)
from posefield.articulation.skeleton_search import SkeletonSearchConfig
from posefield.articulation.skeleton_stage import SkeletonLossConfig, SkeletonStage
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.structure import ProposedTree, StructureConfig
from posefield.errors import LearningError, LearningInterrupted
from posefield.learning.budget import Budget
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.progress import Progress, QuietProgress
from posefield.learning.run import LearningRun
from support.recorder import Recorder
from support.rendered_arm import (
    FRAMES,
    arm_motion,
    arm_pictures,
    arm_tree,
    axis_errors_deg,
    with_a_joint_too_many,
    with_axes_turned,
    with_the_second_link_in_two,
)

FEW = SkeletonLossConfig(counts=(16, 16, 24, 8), images=10)


@pytest.fixture(scope='module')
def pixels():
    return arm_pictures(arm_tree())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(('square_weight', 'bound_deg'), [(0.0, 8.0), (0.1, 5.0)])
def test_axes_are_found_in_images(pixels, square_weight, bound_deg):
    """The arm is slender and of plain colours: images alone leave some of each turn open."""
    turned = with_axes_turned(arm_tree(), np.radians(15.0), np.random.default_rng(1))
    assert axis_errors_deg(turned).min() > 14.0
    stage = SkeletonStage('joints', SkeletonTracks.from_tree(turned, arm_motion(arm_tree())),
                          pixels, replace(FEW, square_weight=square_weight))  # fmt: skip
    optimizer = stage.make_optimizer(stage.parameter_groups())
    generator = seeded()
    for step in range(250):
        stage.on_interval(step / 250)
        loss = stage.step(step, generator)['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert axis_errors_deg(stage.tracks.tree()).max() < bound_deg


def a_run(
    stop: threading.Event | None = None,
    progress: Progress | None = None,
    store: CheckpointStore | None = None,
) -> LearningRun:
    stop, progress = stop or threading.Event(), progress or QuietProgress()
    return LearningRun(0, torch.device('cpu'), progress, stop, store)


def fitted(proposed: ProposedTree, pixels: FittingPixels, steps: int) -> Candidate:
    motion, budget = arm_motion(arm_tree()), Budget(steps=steps)
    return fit_proposed(proposed, motion, pixels, FEW, a_run(), budget, 'joints 1')


@pytest.mark.parametrize(('noise', 'joints'), [(0.003, 3), (0.01, 4), (10.0, 4)])
def test_trees_proposed_anew_are_kept_where_images_are_explained_as_well(pixels, noise, joints):
    """Two joints that move alike are one; with too much noise none is left, or too few."""
    candidate = fitted(ProposedTree(with_the_second_link_in_two(), ()), pixels, 5)
    config = SkeletonFittingConfig(FEW, anew_noise=noise, anew_steps=20)
    recorder = Recorder()
    run = a_run(progress=recorder)
    found = propose_anew(candidate, pixels, config, StructureConfig(), run, 'structure 1 anew')
    assert found.tracks.joints == joints
    assert list(recorder.metrics) == ['structure 1 anew']
    if joints == 3:
        assert found.tracks.hierarchy.joint_of_part == (ROOT, 0, 1, 1, 2)
        assert len(found.proposed.tree.parents) == 4
        torch.testing.assert_close(
            found.tracks.first_log_radii_P3, candidate.tracks.first_log_radii_P3
        )
    else:
        assert found is candidate


def test_the_fitted_motion_is_that_of_the_tree(pixels):
    config = SkeletonFittingConfig(FEW, SkeletonSearchConfig(frozen_steps=5, changed_steps=8))
    candidate = fitted(ProposedTree(with_a_joint_too_many(), ()), pixels, 5)
    found, motion = choose_joints(
        [candidate],
        pixels,
        config,
        a_run(),
        search_s=None,
        last_budget=Budget(steps=4),
        prune_s=None,
    )
    tree = found.tree
    np.testing.assert_allclose(motion.T_scene_part_FP44, tree.part_poses(), atol=1e-9)
    assert motion.frames_F == tuple(range(FRAMES))


def test_the_run_whose_joints_explain_the_images_goes_on(pixels):
    """Of three proposals: nothing turns, all is right, one joint more than is needed."""
    tree = arm_tree()
    hardly = replace(tree, positions_FL=0.05 * tree.positions_FL)
    levels = ('hardly', 'right', 'too many')
    candidates = [
        fitted(ProposedTree(proposed, (level,)), pixels, 5)
        for proposed, level in zip((hardly, tree, with_a_joint_too_many()), levels, strict=True)
    ]
    never = SkeletonFittingConfig(
        FEW, SkeletonSearchConfig(rounds=0, frozen_steps=1, least_likely=0)
    )
    found, _ = choose_joints(
        candidates,
        pixels,
        never,
        a_run(),
        search_s=None,
        last_budget=Budget(steps=10),
        prune_s=None,
    )
    assert found.levels == ('right',)


def test_joints_that_are_not_missed_once_all_is_fitted_go(pixels):
    search = SkeletonSearchConfig(tolerance=0.02, frozen_steps=20)
    candidate = fitted(ProposedTree(with_a_joint_too_many(), ()), pixels, 5)
    for prune_s, joints in ((0.0, 4), (None, 3)):
        found, _ = choose_joints(
            [candidate], pixels, SkeletonFittingConfig(FEW, search), a_run(), search_s=0.0,
            last_budget=Budget(steps=5), prune_s=prune_s,
        )  # fmt: skip
        assert len(found.tree.parents) == joints + 1


def test_joints_once_chosen_are_not_chosen_again_by_a_run_that_is_resumed(pixels, tmp_path):
    config = SkeletonFittingConfig(FEW, SkeletonSearchConfig(frozen_steps=2, rounds=0))
    candidate = fitted(ProposedTree(with_a_joint_too_many(), ()), pixels, 5)
    store, trees, stages = CheckpointStore(tmp_path / 'kept'), [], []
    for _ in range(2):
        recorder = Recorder()
        found, _ = choose_joints(
            [candidate], pixels, config, a_run(progress=recorder, store=store), search_s=None,
            last_budget=Budget(steps=3), prune_s=None,
        )  # fmt: skip
        trees.append(found.tree)
        stages.append(list(recorder.metrics))
    assert stages == [['choosing joints', 'joints', 'removing joints'], ['joints']]
    assert trees[1].parents == trees[0].parents
    np.testing.assert_array_equal(trees[1].positions_FL, trees[0].positions_FL)
    kept = store.load('removing joints')
    store.save('removing joints', {}, kept.state)
    with pytest.raises(LearningError, match='removing joints is not of this run'):
        choose_joints(
            [candidate], pixels, config, a_run(store=store), search_s=None,
            last_budget=Budget(steps=3), prune_s=None,
        )  # fmt: skip


def test_without_any_joint_the_first_run_goes_on(pixels):
    tree = arm_tree()
    still = replace(
        tree, parents=(-1,), prismatic_L=np.zeros(1, dtype=bool), link_of_part=np.zeros(5, int)
    )
    candidates = [fitted(ProposedTree(still, (level,)), pixels, 1) for level in ('one', 'two')]
    found, motion = choose_joints(
        candidates, pixels, SkeletonFittingConfig(FEW), a_run(), search_s=None,
        last_budget=Budget(steps=1), prune_s=None,
    )  # fmt: skip
    assert found is candidates[0].proposed
    assert motion is candidates[0].motion


def test_a_search_that_is_stopped_says_so(pixels):
    stop = threading.Event()

    class StopsLater(QuietProgress):
        """Sets the event when joints begin to be chosen."""

        def start(self, stage, total_fraction_known):
            if stage == 'choosing joints':
                stop.set()

    candidate = fitted(ProposedTree(arm_tree(), ()), pixels, 1)
    with pytest.raises(LearningInterrupted, match='choosing joints'):
        choose_joints(
            [candidate], pixels, SkeletonFittingConfig(FEW), a_run(stop, StopsLater()),
            search_s=None, last_budget=Budget(steps=1), prune_s=None,
        )  # fmt: skip
