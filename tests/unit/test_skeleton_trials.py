"""Trials of joints: the same in this process and in others, given up where hopeless."""

import os
import threading

import pytest
import torch

from posefield.articulation import skeleton_trials
from posefield.articulation.skeleton_stage import SkeletonLossConfig, probe
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.articulation.skeleton_trials import Trial, Trials
from posefield.errors import LearningError, LearningInterrupted
from support.rendered_arm import arm_motion, arm_pictures, arm_tree, with_a_turn_shared

FEW = SkeletonLossConfig(counts=(8, 8, 12, 4), images=10)


@pytest.fixture(scope='module')
def pixels():
    return arm_pictures(arm_tree())


def arm_with_joint_turned(angle: float) -> SkeletonTracks:
    tracks = SkeletonTracks.from_tree(arm_tree(), arm_motion(arm_tree()))
    with torch.no_grad():
        tracks.positions_FJ[:, 1] += angle
    return tracks


class EndsTheProcess:
    """Ends the process in which it is unpickled."""

    def __reduce__(self):
        return os._exit, (3,)


def test_trials_in_other_processes_give_what_they_give_here(pixels):
    def trials():
        return [Trial(arm_with_joint_turned(0.1 * turn), 6) for turn in range(3)]

    with Trials(pixels, FEW, 1) as here, Trials(pixels, FEW, 2) as elsewhere:
        expected, found = list(here.all(trials())), list(elsewhere.all(trials()))
    assert [one.loss for one in found] == pytest.approx([one.loss for one in expected], rel=1e-4)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.tracks.positions_FJ, other.tracks.positions_FJ)


def test_a_trial_adapts_and_tells_its_loss(pixels):
    turned = arm_with_joint_turned(0.2)
    before = probe(turned, pixels, FEW)
    with Trials(pixels, FEW, 1) as trials:
        outcome = trials.one(Trial(turned, 40))
    assert outcome.loss < 0.8 * before
    assert outcome.loss == probe(outcome.tracks, pixels, FEW)


def test_a_trial_may_begin_with_where_parts_were(pixels):
    tracks = SkeletonTracks.from_tree(with_a_turn_shared(), arm_motion(arm_tree()))
    trials = Trials(pixels, FEW, 1)
    frozen = trials.one(Trial(tracks.without(1), 0))
    taken_over = trials.one(Trial(tracks.without(1), 0, before=tracks))
    assert taken_over.loss == pytest.approx(probe(tracks, pixels, FEW), rel=0.01)
    assert frozen.loss > 1.3 * taken_over.loss


def test_steps_whose_gradients_are_not_finite_are_left_out(pixels, monkeypatch):
    real, losses = skeleton_trials.loss_of, []

    def loss_of(*arguments):
        loss, *others = real(*arguments)
        losses.append(loss)
        return (loss * float('nan') if len(losses) == 3 else loss), *others

    monkeypatch.setattr(skeleton_trials, 'loss_of', loss_of)
    turned = arm_with_joint_turned(0.2)
    before = probe(turned, pixels, FEW)
    with Trials(pixels, FEW, 1) as trials:
        outcome = trials.one(Trial(turned, 40))
    assert len(losses) == 40 and outcome.loss < 0.8 * before


def test_a_hopeless_trial_is_given_up_after_its_first_steps(pixels):
    turned = arm_with_joint_turned(1.5)
    least = 2.0 * probe(arm_with_joint_turned(0.0), pixels, FEW)
    with Trials(pixels, FEW, 1) as trials:
        assert trials.one(Trial(turned, 10**9, first_steps=2, hopeless=least)) is None


def test_a_process_that_ends_too_early_is_told_of(pixels):
    with Trials(pixels, FEW, 2) as trials, pytest.raises(LearningError, match='ended before'):
        list(trials.all([Trial(EndsTheProcess(), 1)]))


def test_a_process_that_ends_because_all_is_to_end_is_no_failure(pixels):
    stop = threading.Event()
    stop.set()
    with Trials(pixels, FEW, 2, stop) as trials, pytest.raises(LearningInterrupted):
        list(trials.all([Trial(EndsTheProcess(), 1)]))


def test_trials_are_taken_as_they_are_needed(pixels):
    taken = []

    def trials():
        for turn in range(5):
            taken.append(turn)
            yield Trial(arm_with_joint_turned(0.0), 1)

    with Trials(pixels, FEW, 1) as bench:
        outcomes = bench.all(trials())
        next(outcomes)
        outcomes.close()
    assert taken == [0]
