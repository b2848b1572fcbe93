"""Two gloo processes give the result of one process on the joined batch."""

from datetime import timedelta
from pathlib import Path
import threading

import pytest
import torch
import torch.multiprocessing

from posefield.errors import LearningError, LearningInterrupted
from posefield.learning import distributed
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import run_stage
from posefield.learning.stage import Stage

STEPS = 12


class ShardStage(Stage):
    """Each process takes its share of a fixed batch of 8."""

    name = 'shard'
    learning_rate = 0.1
    clip_norm = 0.5

    def __init__(
        self, stop: threading.Event | None = None, nan: bool = False, skips: int | None = None
    ):
        self.skips = skips
        # The weights of the first process are the ones that count.
        torch.manual_seed(distributed.rank())
        self.net = torch.nn.Linear(3, 1)
        self.head = torch.nn.Linear(1, 1, bias=False)
        self.unused = torch.nn.Linear(1, 1)
        self.stop, self.nan = stop, nan

    def modules(self):
        return {'net': self.net, 'head': self.head, 'unused': self.unused}

    def step(self, step, generator):
        last = distributed.rank() == distributed.world_size() - 1
        if self.stop and last and step == 4:
            self.stop.set()
        batch = torch.linspace(-1, 1, 24).reshape(8, 3) * (1 + step / STEPS)
        share = batch[distributed.rank() :: distributed.world_size()]
        # Of two processes only the first gives the head a gradient; nobody gives `unused` any.
        loss = self.net(share).square().mean()
        if distributed.rank() == 0:
            loss = loss + self.head(torch.ones(1, 1)).square().sum() * distributed.world_size()
        torch.rand(2, generator=generator)
        return {'loss': loss * (float('nan') if self.nan and last and step == 4 else 1)}


def _train(folder: Path, name: str, steps: int) -> None:
    """Train and write what came of it, as the test's own pickles."""
    stop = threading.Event()
    skips = 1 if name == 'skipping' else None
    stage = ShardStage(stop if name == 'stopped' else None, name in ('nan', 'skipping'), skips)
    generator = distributed.process_generator(7)
    outcome = {}
    try:
        result = run_stage(
            stage,
            generator=generator,
            steps=steps,
            stop=stop,
            checkpoints=CheckpointStore(folder / f'{name.removesuffix("-resumed")}.training'),
        )
        outcome['loss'], outcome['skipped'] = result.metrics['loss'], result.skipped
    except LearningError as error:
        outcome['error'] = error
    outcome['generator'] = generator.get_state()
    for key, module in stage.modules().items():
        outcome[key] = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
    torch.save(outcome, folder / f'{name}.{distributed.rank()}.pt')


def _process(rank: int, folder: Path, world_size: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=60),
    )
    _train(folder, 'straight', STEPS)
    _train(folder, 'stopped', STEPS)
    torch.distributed.barrier()
    if rank == 0:
        (folder / 'stopped.training').rename(folder / 'again.training')
    torch.distributed.barrier()
    _train(folder, 'again-resumed', STEPS)
    _train(folder, 'nan', STEPS)
    _train(folder, 'skipping', STEPS)
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
    """What one process (`single`) and two did."""
    folder = tmp_path_factory.mktemp('distributed')
    torch.multiprocessing.spawn(_process, (folder, 2), nprocs=2)
    with torch.random.fork_rng([]):
        _train(folder, 'single', STEPS)
    return {p.stem: torch.load(p, weights_only=False) for p in folder.glob('*.pt')}


def test_two_processes_equal_one_on_the_joined_batch(outcomes):
    single = outcomes['single.0']
    for rank in range(2):
        both = outcomes[f'straight.{rank}']
        for key in ('net', 'head', 'unused'):
            torch.testing.assert_close(both[key], single[key], rtol=1e-5, atol=1e-6)
        assert both['loss'] == pytest.approx(single['loss'], rel=1e-5)
    assert single['head'] != pytest.approx(float(_initial_head()))


def _initial_head() -> torch.Tensor:
    with torch.random.fork_rng([]):
        return ShardStage().head.weight.detach()


def test_every_process_ends_with_the_same_weights_and_its_own_randomness(outcomes):
    first, second = outcomes['straight.0'], outcomes['straight.1']
    assert torch.equal(first['net'], second['net'])
    assert not torch.equal(first['generator'], second['generator'])


def test_a_stop_of_one_process_stops_both_and_both_resume_exactly(outcomes):
    for rank in range(2):
        assert isinstance(outcomes[f'stopped.{rank}']['error'], LearningInterrupted)
        assert '42 %' in str(outcomes[f'stopped.{rank}']['error'])
        straight, resumed = outcomes[f'straight.{rank}'], outcomes[f'again-resumed.{rank}']
        for key in ('net', 'head', 'unused', 'generator'):
            assert torch.equal(straight[key], resumed[key])


def test_a_loss_of_one_process_that_is_not_finite_stops_both(outcomes):
    for rank in range(2):
        assert 'shard diverged: its loss is nan' in str(outcomes[f'nan.{rank}']['error'])


def test_a_gradient_of_one_process_that_is_not_finite_is_skipped_by_both(outcomes):
    first, second = outcomes['skipping.0'], outcomes['skipping.1']
    assert first['skipped'] == second['skipped'] == 1
    assert first['net'].isfinite().all()
    assert torch.equal(first['net'], second['net'])


@pytest.fixture
def joined(monkeypatch) -> list:
    """What process groups are made with and closed, without other processes."""
    calls = []

    def init(*arguments, **options):
        calls.append((arguments, options))

    monkeypatch.setattr(torch.distributed, 'init_process_group', init)
    monkeypatch.setattr(torch.distributed, 'destroy_process_group', lambda: calls.append('closed'))
    return calls


def test_a_process_alone_joins_nothing(joined, monkeypatch):
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    with distributed.process_group('cpu'):
        distributed.wait_for_all()
    monkeypatch.setenv('WORLD_SIZE', '1')
    with distributed.process_group('cuda'):
        pass
    assert joined == []


def test_processes_on_the_cpu_speak_gloo_and_part_also_after_an_error(joined, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(LearningError), distributed.process_group(torch.device('cpu')):
        assert joined == [(('gloo',), {})]
        raise LearningError('The loss is nan.')
    assert joined[1:] == ['closed']


def test_processes_on_gpus_speak_nccl_each_for_its_own(joined, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    with distributed.process_group(torch.device('cuda', 1)):
        pass
    assert joined == [(('nccl',), {'device_id': torch.device('cuda', 1)}), 'closed']
    with distributed.process_group('cuda'):
        pass
    assert joined[2:] == [(('nccl',), {}), 'closed']


def test_one_process_needs_no_agreement():
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    distributed.average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]
    assert distributed.largest([1.0, 0.0], parameter.device) == [1.0, 0.0]
    assert distributed.mean({'loss': 2.0}, parameter.device) == {'loss': 2.0}
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    seeded = torch.Generator().manual_seed(3).get_state()
    assert torch.equal(distributed.process_generator(3).get_state(), seeded)
