"""Checkpoints: kept whole, refused when they belong to something else."""

import json
import os
import pickle
import threading

import pytest
import torch

from posefield.errors import BundleError, LearningError, LearningInterrupted
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import run_stage
from posefield.learning.stage import Stage


class NetStage(Stage):
    name = 'net'

    def __init__(self, width: int = 2, stop: threading.Event | None = None):
        self.net = torch.nn.Linear(width, 1)
        self.stop = stop

    def modules(self):
        return {'net': self.net}

    def step(self, step, generator):
        if self.stop and step == 2:
            self.stop.set()
        return {'loss': self.net(torch.ones(1, self.net.in_features)).square().sum()}


class SgdStage(NetStage):
    def make_optimizer(self, groups):
        return torch.optim.SGD(groups, momentum=0.9)


def _train(store: CheckpointStore, stage: Stage) -> None:
    generator = torch.Generator().manual_seed(0)
    run_stage(stage, generator=generator, steps=9, stop=stage.stop, checkpoints=store)


@pytest.fixture
def store(tmp_path):
    """A store that an interrupted run left."""
    store = CheckpointStore(tmp_path / 'training', {'preset': 'cpu', 'seed': 0, 'size': (4, 3)})
    with pytest.raises(LearningInterrupted):
        _train(store, NetStage(stop=threading.Event()))
    return store


def test_the_same_settings_resume(store):
    again = CheckpointStore(store.folder, {'size': [4, 3], 'seed': 0, 'preset': 'cpu'})
    _train(again, NetStage())
    assert again.load('net').state['steps'] == 9


def test_other_settings_are_named(store):
    other = CheckpointStore(store.folder, {'preset': 'cpu', 'seed': 1, 'size': [4, 3]})
    with pytest.raises(LearningError, match='made with seed = 0, but this run has 1; resume'):
        _train(other, NetStage())
    with pytest.raises(LearningError, match="made with preset = 'cpu', but this run has None"):
        CheckpointStore(store.folder).load('net')


def test_a_stage_without_a_checkpoint_starts_afresh(tmp_path):
    store = CheckpointStore(tmp_path / 'none')
    assert store.load('net') is None
    assert store.stages() == []
    store.clear()
    assert not store.folder.exists()


def test_another_module_does_not_fit(store):
    with pytest.raises(
        LearningError, match='stage net does not fit its module net.*size mismatch'
    ):
        _train(store, NetStage(width=3))


def test_another_optimiser_does_not_fit(tmp_path):
    store = CheckpointStore(tmp_path)
    with pytest.raises(LearningInterrupted):
        _train(store, SgdStage(stop=threading.Event()))
    straight, resumed = SgdStage(), SgdStage()
    resumed.net.load_state_dict(straight.net.state_dict())
    tensors = store.load('net').tensors
    tensors['optimizer.7.momentum_buffer'] = torch.zeros(2)
    store.save('net', tensors, store.load('net').state)
    with pytest.raises(LearningError, match='does not fit its optimiser: found momentum_buffer'):
        _train(store, SgdStage())


def test_momentum_of_another_optimiser_than_adam_is_restored(tmp_path):
    straight, first, resumed = SgdStage(), SgdStage(stop=threading.Event()), SgdStage()
    first.net.load_state_dict(straight.net.state_dict())
    store = CheckpointStore(tmp_path)
    with pytest.raises(LearningInterrupted):
        _train(store, first)
    _train(store, resumed)
    run_stage(straight, generator=torch.Generator().manual_seed(0), steps=9)
    assert torch.equal(resumed.net.weight, straight.net.weight)


def test_extra_state_that_nobody_takes_is_an_error(store):
    checkpoint = store.load('net')
    checkpoint.state['stage_state'] = {'rows': 3}
    store.save('net', checkpoint.tensors, checkpoint.state)
    with pytest.raises(LearningError, match=r"stage net has \['rows'\], expected nothing extra"):
        _train(store, NetStage())


def test_another_number_of_processes_or_kind_of_device_is_an_error(store):
    checkpoint = store.load('net')
    store.save('net', checkpoint.tensors, {**checkpoint.state, 'processes': 2})
    with pytest.raises(LearningError, match='is of 2 processes, expected 1'):
        _train(store, NetStage())
    del checkpoint.tensors['random.0.cpu']
    store.save('net', checkpoint.tensors, checkpoint.state)
    with pytest.raises(LearningError, match='another kind of device than cpu'):
        _train(store, NetStage())


def test_a_state_that_lacks_something_is_an_error(store):
    checkpoint = store.load('net')
    del checkpoint.state['seconds']
    store.save('net', checkpoint.tensors, checkpoint.state)
    with pytest.raises(LearningError, match="checkpoint of stage net lacks 'seconds'"):
        _train(store, NetStage())


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda f: (f / 'tensors.safetensors').unlink(), 'tensors.safetensors is missing'),
        (lambda f: _truncate(f / 'tensors.safetensors'), 'is not a whole safetensors file'),
        (lambda f: _truncate(f / 'state.json'), 'state.json is not whole JSON'),
        (lambda f: _newer(f / 'state.json'), 'has schema 2, this posefield reads up to 1'),
        (lambda f: _pickle(f / 'tensors.safetensors'), 'is a pickle or zip archive'),
        (lambda f: _without_settings(f / 'state.json'), 'lacks the objects settings and state'),
    ],
    ids=['missing', 'truncated', 'truncated json', 'newer', 'pickle', 'settings'],
)
def test_damaged_checkpoints_are_a_sentence(store, damage, message):
    damage(store.folder / 'net')
    with pytest.raises(BundleError, match=message):
        _train(store, NetStage())


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def _newer(path):
    path.write_text(json.dumps({**json.loads(path.read_text()), 'schema': 2}))


def _without_settings(path):
    index = json.loads(path.read_text())
    del index['settings']
    path.write_text(json.dumps(index))


def _pickle(path):
    path.write_bytes(pickle.dumps({'weight': 1}))


def test_a_checkpoint_set_aside_by_a_crash_is_found_again(store):
    (store.folder / 'net').rename(store.folder / '.net.old')
    assert store.stages() == ['net']
    assert store.load('net').state['steps'] == 3


def test_clear_removes_checkpoints_and_leftovers_and_nothing_else(store):
    (store.folder / '.net.new-0123abcd' / 'net').mkdir(parents=True)
    (store.folder / 'notes.txt').write_text('mine')
    store.clear()
    assert os.listdir(store.folder) == ['notes.txt']


def test_the_store_of_a_map_is_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CheckpointStore.beside('maps/home/').folder == tmp_path / 'maps' / 'home.training'
