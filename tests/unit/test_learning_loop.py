"""The training loop: budgets, schedules, interruption, and resuming to the same result."""

import threading
import time

import pytest
import torch

from posefield.errors import LearningError, LearningInterrupted
from posefield.learning.budget import Budget
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import run_stage
from posefield.learning.schedules import Cosine, EpochDecay
from posefield.learning.stage import Stage


class LineStage(Stage):
    """Fit y = 3 x - 1 from noisy batches, with dropout and a growing field for good measure."""

    name = 'line'
    learning_rate = 0.05
    schedule = Cosine(warm_up=0.1)
    clip_norm = 1.0
    intervals = 4

    def __init__(self, stop_at: int | None = None, stop: threading.Event | None = None):
        self.net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout(0.1))
        torch.nn.init.zeros_(self.net[0].weight)
        torch.nn.init.zeros_(self.net[0].bias)
        self.table = torch.nn.Embedding(2, 1)
        torch.nn.init.zeros_(self.table.weight)
        self.stop_at, self.stop = stop_at, stop
        self.fractions: list[float] = []
        self.steps_seen: list[int] = []
        self.rates: list[float] = []

    def modules(self):
        return {'net': self.net, 'table': self.table}

    def make_optimizer(self, groups):
        self.optimizer = torch.optim.Adam(groups)
        return self.optimizer

    def step(self, step, generator):
        self.steps_seen.append(step)
        self.rates.append(self.optimizer.param_groups[0]['lr'])
        if step == self.stop_at:
            self.stop.set()
        x = torch.rand(16, 1, generator=generator)
        y = 3 * x - 1 + 0.01 * torch.randn(16, 1, generator=generator)
        loss = ((self.net(x) + self.table.weight.mean() - y) ** 2).mean()
        return {'loss': loss, 'psnr': -10 * loss.detach().log10()}

    def on_interval(self, fraction):
        self.fractions.append(fraction)
        if fraction != 0.5:
            return False
        self._grow(2 * self.table.num_embeddings)
        return True

    def _grow(self, rows):
        old = self.table.weight.detach()
        self.table = torch.nn.Embedding(rows, 1)
        self.table.load_state_dict({'weight': old.repeat(rows // len(old), 1)})

    def extra_state(self):
        return {'rows': self.table.num_embeddings}

    def load_extra_state(self, state):
        self._grow(state['rows'])


class SleepStage(LineStage):
    """A step of about 5 ms."""

    name = 'sleep'

    def step(self, step, generator):
        time.sleep(0.005)
        return super().step(step, generator)


class Recorder:
    """A Progress that remembers."""

    def __init__(self):
        self.calls: list[tuple] = []

    def start(self, stage, total_fraction_known):
        self.calls.append(('start', stage, total_fraction_known))

    def update(self, stage, fraction, metrics, seconds_left):
        self.calls.append(('update', stage, fraction, dict(metrics), seconds_left))

    def close(self):
        self.calls.append(('close',))


def _weights(stage: Stage) -> torch.Tensor:
    return torch.cat(
        [p.detach().reshape(-1) for m in stage.modules().values() for p in m.parameters()]
    )


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_stage_learns_and_tells_how_far_it_is():
    stage, progress = LineStage(), Recorder()
    result = run_stage(stage, generator=_generator(), steps=400, progress=progress)
    assert result.steps == 400
    assert result.metrics['loss'] < 0.2
    assert result.metrics['psnr'] > 7
    assert progress.calls[0] == ('start', 'line', True)
    kind, name, fraction, metrics, left = progress.calls[-1]
    assert (kind, name, fraction, left) == ('update', 'line', 1.0, 0.0)
    assert metrics == {**result.metrics, 'steps': 400}


def test_the_same_seed_gives_the_same_result_whatever_the_global_seed():
    stages = [LineStage(), LineStage(), LineStage()]
    for stage, seed in zip(stages, (1, 1, 2), strict=True):
        torch.manual_seed(torch.seed())
        run_stage(stage, generator=_generator(seed), steps=30)
    assert torch.equal(_weights(stages[0]), _weights(stages[1]))
    assert not torch.equal(_weights(stages[0]), _weights(stages[2]))


def test_the_global_randomness_of_the_caller_is_left_alone():
    stage = LineStage()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run_stage(stage, generator=_generator(), steps=3)
    assert torch.equal(torch.rand(3), expected)


def test_the_schedule_and_the_intervals_follow_the_fraction_done():
    stage = LineStage()
    run_stage(stage, generator=_generator(), steps=40)
    assert stage.rates == [0.05 * LineStage.schedule(i / 40) for i in range(40)]
    assert stage.fractions == [0.25, 0.5, 0.75, 1.0]
    assert stage.table.num_embeddings == 4


def test_a_group_of_parameters_may_have_a_schedule_of_its_own():
    halving = EpochDecay(first=0, last=40, factor=0.5, per_epochs=10)

    class TwoRates(LineStage):
        def parameter_groups(self):
            net, table = (list(module.parameters()) for module in self.modules().values())
            return [{'params': net, 'lr': 0.05}, {'params': table, 'lr': 0.2, 'schedule': halving}]

        def step(self, step, generator):
            self.table_rates.append(self.optimizer.param_groups[1]['lr'])
            return super().step(step, generator)

    stage = TwoRates()
    stage.table_rates = []
    run_stage(stage, generator=_generator(), steps=40)
    assert stage.rates == [0.05 * LineStage.schedule(i / 40) for i in range(40)]
    assert stage.table_rates == [0.2 * halving(i / 40) for i in range(40)]


def test_gradients_are_clipped_together():
    class Steep(LineStage):
        intervals = 0

        def make_optimizer(self, groups):
            self.optimizer = torch.optim.SGD(groups)
            return self.optimizer

        def step(self, step, generator):
            return {'loss': 1e6 * super().step(step, generator)['loss']}

    stage = Steep()
    before = _weights(stage)
    run_stage(stage, generator=_generator(), steps=1)
    moved = float((_weights(stage) - before).norm())
    assert moved == pytest.approx(Steep.learning_rate * Steep.schedule(0) * Steep.clip_norm)


@pytest.mark.parametrize('stop_at', [0, 1, 19, 20, 33, 38])
def test_a_resumed_run_gives_exactly_the_uninterrupted_result(tmp_path, stop_at):
    straight = LineStage()
    straight_generator = _generator()
    straight_result = run_stage(straight, generator=straight_generator, steps=40)

    stop = threading.Event()
    store = CheckpointStore(tmp_path)
    with pytest.raises(LearningInterrupted, match=rf'stage line at \d+ %.*{tmp_path}'):
        run_stage(
            LineStage(stop_at, stop),
            generator=_generator(),
            steps=40,
            checkpoints=store,
            stop=stop,
        )
    resumed, generator = LineStage(), _generator(99)
    result = run_stage(resumed, generator=generator, steps=40, checkpoints=store)
    assert resumed.steps_seen == list(range(stop_at + 1, 40))
    assert torch.equal(_weights(resumed), _weights(straight))
    assert torch.equal(generator.get_state(), straight_generator.get_state())
    assert result.steps == straight_result.steps == 40


def test_stages_follow_each_other_and_a_resumed_run_enters_the_right_one(tmp_path):
    def train(store, stop=None, stop_at=None, seed=0):
        generator = _generator(seed)
        first, second = LineStage(), LineStage(stop_at, stop)
        second.name = 'second'
        run_stage(first, generator=generator, steps=20, checkpoints=store, stop=stop)
        run_stage(second, generator=generator, steps=20, checkpoints=store, stop=stop)
        return first, second

    straight = train(None)
    store, stop = CheckpointStore(tmp_path / 'training'), threading.Event()
    with pytest.raises(LearningInterrupted, match='stage second'):
        train(store, stop, stop_at=7)
    assert store.stages() == ['line', 'second']
    first, second = train(store, seed=1)
    assert first.steps_seen == []
    assert second.steps_seen == list(range(8, 20))
    assert torch.equal(_weights(first), _weights(straight[0]))
    assert torch.equal(_weights(second), _weights(straight[1]))
    store.clear()
    assert not store.folder.exists()


def test_a_stop_before_the_first_step_leaves_a_checkpoint_of_the_start(tmp_path):
    stop = threading.Event()
    stop.set()
    stage = LineStage()
    with pytest.raises(LearningInterrupted, match='at 0 %'):
        run_stage(
            stage,
            generator=_generator(),
            steps=9,
            stop=stop,
            checkpoints=CheckpointStore(tmp_path),
        )
    assert stage.steps_seen == []
    assert CheckpointStore(tmp_path).stages() == ['line']
    with pytest.raises(LearningInterrupted, match='nothing was saved'):
        run_stage(stage, generator=_generator(), steps=9, stop=stop)


def test_a_budget_of_seconds_survives_an_interruption(tmp_path):
    stop, store = threading.Event(), CheckpointStore(tmp_path)
    first = SleepStage(40, stop)
    begun = time.monotonic()
    with pytest.raises(LearningInterrupted):
        run_stage(first, generator=_generator(), deadline_s=1.0, stop=stop, checkpoints=store)
    used = store.load('sleep').state['seconds']
    assert 0.2 <= used <= time.monotonic() - begun
    time.sleep(0.3)
    begun = time.monotonic()
    second = SleepStage()
    result = run_stage(second, generator=_generator(), deadline_s=1.0, checkpoints=store)
    assert 1.0 <= result.seconds
    assert time.monotonic() - begun == pytest.approx(1.0 - used, abs=0.3)
    assert second.steps_seen[0] == 41
    assert len(first.fractions + second.fractions) <= SleepStage.intervals
    assert second.fractions[-1] == 1.0


def test_checkpoints_are_written_while_training(tmp_path):
    class Dies(SleepStage):
        def step(self, step, generator):
            if step == 30:
                raise RuntimeError('as if the machine went down')
            return super().step(step, generator)

    store = CheckpointStore(tmp_path)
    with pytest.raises(RuntimeError):
        run_stage(
            Dies(), generator=_generator(), steps=60, checkpoints=store, checkpoint_every_s=0.05
        )
    resumed, straight = SleepStage(), SleepStage()
    run_stage(resumed, generator=_generator(3), steps=60, checkpoints=store)
    run_stage(straight, generator=_generator(), steps=60)
    assert 0 < resumed.steps_seen[0] <= 30
    assert torch.equal(_weights(resumed), _weights(straight))


def test_a_loss_that_is_not_finite_is_an_error_and_never_in_a_checkpoint(tmp_path):
    class Diverges(SleepStage):
        name = 'diverges'

        def step(self, step, generator):
            metrics = super().step(step, generator)
            return {'loss': metrics['loss'] * (float('nan') if step >= 20 else 1)}

    store = CheckpointStore(tmp_path)
    with pytest.raises(LearningError, match='diverges diverged: its loss is nan after 2'):
        run_stage(
            Diverges(), generator=_generator(), steps=9999, checkpoints=store, checkpoint_every_s=0
        )
    tensors = store.load('diverges').tensors
    assert all(tensor.float().isfinite().all() for tensor in tensors.values())


def test_a_stage_may_call_backward_itself():
    class Pieces(LineStage):
        def step(self, step, generator):
            loss = super().step(step, generator)['loss']
            loss.backward()
            return {'loss': float(loss.detach())}

    whole, pieces = LineStage(), Pieces()
    run_stage(whole, generator=_generator(), steps=10)
    run_stage(pieces, generator=_generator(), steps=10)
    assert torch.equal(_weights(whole), _weights(pieces))


@pytest.mark.parametrize(
    ('metrics', 'message'),
    [
        ({'psnr': 3.0}, r"must return a loss, found \['psnr'\]"),
        ({'loss': torch.tensor(1.0)}, 'does not depend on what it trains'),
    ],
)
def test_a_step_without_a_usable_loss_is_an_error(metrics, message):
    class Bad(LineStage):
        def step(self, step, generator):
            return metrics

    with pytest.raises(LearningError, match=message):
        run_stage(Bad(), generator=_generator(), steps=2)


def test_a_stage_without_parameters_is_an_error():
    class Empty(LineStage):
        def modules(self):
            return {}

    with pytest.raises(LearningError, match='line has no parameters'):
        run_stage(Empty(), generator=_generator(), steps=2)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({}, 'either a number of steps or of seconds'),
        ({'steps': 1, 'seconds': 1.0}, 'either a number of steps or of seconds'),
        ({'steps': 0}, 'must be positive, found 0'),
        ({'seconds': -1.0}, 'must be positive, found -1'),
        ({'seconds': float('nan')}, 'must be positive, found nan'),
    ],
)
def test_bad_budgets_are_refused(arguments, message):
    with pytest.raises(LearningError, match=message):
        Budget(**arguments)


def test_time_left():
    assert Budget(steps=10).seconds_left(0, 0.0) is None
    assert Budget(steps=10).seconds_left(4, 2.0) == pytest.approx(3.0)
    assert Budget(seconds=60.0).seconds_left(7, 45.0) == pytest.approx(15.0)
    assert Budget(seconds=60.0).seconds_left(7, 61.0) == 0.0
