"""Two gloo processes run Watch It Move as one process on the joined batch does."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.multiprocessing

from posefield.articulation.joint_candidates import PairDistances
from posefield.articulation.paper_stage import PaperStage, Stretch
from posefield.articulation.paper_training import train_paper
from posefield.errors import LearningError
from posefield.learning import distributed
from posefield.learning.loop import run_stage
from support.paper_scene import TINY, tiny_model, tiny_source

STEPS = 3
# Without a moment yet Adam's first steps are the signs of gradients, whatever these are.
CONFIG = replace(TINY, learning_rate=1e-4, epsilon=1e-2)


def _train(folder: Path) -> None:
    source = tiny_source()
    # An image with few pixels of the object and one without: the shares are not alike.
    source._masks[0, :, 10:] = 0
    source._masks[1, 0] = 0
    model, distances = tiny_model(source.frames), PairDistances(4)
    if distributed.rank() > 0:
        # The weights of the first process are the ones that count.
        model = tiny_model(source.frames, seed=9)
    stage = PaperStage(Stretch('tiny', 30, 33, STEPS), CONFIG, model, distances, source, seed=0)
    result = run_stage(stage, generator=distributed.process_generator(1), steps=STEPS)
    outcome = {**model.state_dict(), 'pairs': distances.candidates_PMPM}
    outcome['tree'], outcome['metrics'] = distances.tree(), result.metrics
    torch.save(outcome, folder / f'{distributed.world_size()}.{distributed.rank()}.pt')


def _process(rank: int, folder: Path, world_size: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=120),
    )
    _train(folder)
    odd, source = replace(CONFIG, images=3), tiny_source()
    try:
        generator = torch.Generator()
        train_paper(source, tuple(range(6)), odd, seed=0, generator=generator, steps=2)
    except LearningError as error:
        (folder / f'refused.{rank}').write_text(str(error))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """What one process and two wrote."""
    folder = tmp_path_factory.mktemp('paper')
    torch.multiprocessing.spawn(_process, (folder, 2), nprocs=2)
    with torch.random.fork_rng([]):
        _train(folder)
    return folder


@pytest.fixture(scope='module')
def outcomes(folder):
    return {path.stem: torch.load(path, weights_only=False) for path in folder.glob('*.pt')}


def test_two_processes_equal_one_on_the_joined_batch(outcomes):
    single, both = outcomes['1.0'], outcomes['2.0']
    assert single['metrics'].keys() == both['metrics'].keys()
    assert 'merging' in single['metrics']
    for name in single['metrics'].keys() - {'psnr'}:
        assert both['metrics'][name] == pytest.approx(single['metrics'][name], rel=1e-4), name
    start = {**tiny_model(6).state_dict()}
    moved = 0.0
    for name in start:
        torch.testing.assert_close(both[name], single[name], rtol=1e-4, atol=1e-6, msg=name)
        moved = max(moved, float((single[name] - start[name]).abs().max()))
    assert moved > 1e-4


def test_running_averages_are_means_of_both_and_give_one_tree(outcomes):
    single, first, second = (outcomes[name] for name in ('1.0', '2.0', '2.1'))
    torch.testing.assert_close(first['pairs'], single['pairs'], rtol=1e-4, atol=1e-7)
    assert torch.equal(first['pairs'], second['pairs'])
    assert single['tree'] == first['tree'] == second['tree']


def test_both_processes_end_with_the_same_weights(outcomes):
    first, second = outcomes['2.0'], outcomes['2.1']
    assert first['metrics'] == second['metrics']
    for name in tiny_model(6).state_dict():
        assert torch.equal(first[name], second[name]), name


def test_processes_that_cannot_share_a_batch_are_refused(folder):
    for rank in range(2):
        message = (folder / f'refused.{rank}').read_text()
        assert message.startswith('2 processes cannot share 3 images equally')
