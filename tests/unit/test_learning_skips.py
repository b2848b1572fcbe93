"""Steps whose gradients are not finite are left out, counted, and end training if they persist."""

import threading

import pytest
import torch

from posefield.errors import LearningError, LearningInterrupted
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import run_stage
from posefield.learning.stage import Stage


class Spoiled(Stage):
    """Fits a line; the gradient is not a number at some steps."""

    name = 'spoiled'
    learning_rate = 0.05
    skips = 3

    def __init__(self, bad=(), clip_norm=None, stop_at=None, stop=None):
        self.net = torch.nn.Linear(1, 1)
        torch.nn.init.zeros_(self.net.weight)
        torch.nn.init.zeros_(self.net.bias)
        self.bad, self.clip_norm = set(bad), clip_norm
        self.stop_at, self.stop = stop_at, stop
        self.seen = []

    def modules(self):
        return {'net': self.net}

    def step(self, step, generator):
        if step == self.stop_at:
            self.stop.set()
        self.seen.append(self.net.weight.item())
        x = torch.rand(8, 1, generator=generator)
        loss = (self.net(x) - 3 * x).square().mean()
        return {'loss': loss / 0.0 - loss / 0.0 if step in self.bad else loss}


def _run(stage, steps=20, **options):
    generator = torch.Generator().manual_seed(0)
    return run_stage(stage, generator=generator, steps=steps, **options)


@pytest.mark.parametrize('clip_norm', [None, 1.0])
def test_a_bad_step_changes_nothing_and_is_counted(clip_norm):
    stage = Spoiled(bad=(4, 9, 10), clip_norm=clip_norm)
    result = _run(stage)
    assert (result.steps, result.skipped) == (20, 3)
    assert stage.seen[4] == stage.seen[5] != stage.seen[6]
    assert stage.seen[9] == stage.seen[10] == stage.seen[11] != stage.seen[12]
    assert result.metrics['loss'] < 10
    assert result.metrics['skipped'] == 3
    assert stage.net.weight.isfinite().all()


def test_without_bad_steps_nothing_is_skipped_and_nothing_else_differs():
    skipping, plain = Spoiled(), Spoiled()
    plain.skips = None
    assert _run(skipping).skipped == 0
    assert 'skipped' not in _run(plain).metrics
    assert torch.equal(skipping.net.weight, plain.net.weight)


def test_bad_steps_that_persist_are_an_error_and_the_last_checkpoint_is_good(tmp_path):
    store = CheckpointStore(tmp_path)
    message = r'spoiled diverged: the gradients of 4 steps in a row, up to step 14, .* 3 such'
    with pytest.raises(LearningError, match=message):
        _run(Spoiled(bad=range(10, 20)), checkpoints=store, checkpoint_every_s=0)
    tensors = store.load('spoiled').tensors
    assert all(tensor.float().isfinite().all() for tensor in tensors.values())


def test_bad_steps_with_good_ones_between_go_on():
    assert _run(Spoiled(bad=set(range(20)) - {3, 7, 11, 15, 19})).skipped == 15


def test_the_count_is_kept_when_training_is_resumed(tmp_path):
    stop = threading.Event()
    with pytest.raises(LearningInterrupted):
        _run(
            Spoiled(bad=(2, 15), stop_at=6, stop=stop),
            stop=stop,
            checkpoints=CheckpointStore(tmp_path),
        )
    result = _run(Spoiled(bad=(2, 15)), checkpoints=CheckpointStore(tmp_path))
    assert (result.steps, result.skipped) == (20, 2)


def test_a_stage_that_skips_nothing_stops_at_once():
    stage = Spoiled(bad=(4,))
    stage.skips = 0
    with pytest.raises(LearningError, match='1 steps in a row, up to step 5'):
        _run(stage)
