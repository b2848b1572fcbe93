"""Schedules and devices."""

from hypothesis import given
from hypothesis import strategies as st
import pytest
import torch

from posefield.errors import LearningError
from posefield.learning.devices import one_thread, select_device
from posefield.learning.schedules import Constant, Cosine, EpochDecay, Exponential


@pytest.mark.parametrize('kind', [Cosine, Exponential])
@given(
    final=st.floats(1e-4, 1.0),
    warm_up=st.floats(0.0, 0.9),
    start=st.floats(0.0, 1.0),
    a=st.floats(0.0, 1.0),
    b=st.floats(0.0, 1.0),
)
def test_a_schedule_rises_to_one_then_falls_to_its_end(kind, final, warm_up, start, a, b):
    schedule = kind(final=final, warm_up=warm_up, start=start)
    assert schedule(1.0) == pytest.approx(final)
    assert schedule(warm_up) == pytest.approx(1.0)
    if warm_up > 0:
        assert schedule(0.0) == pytest.approx(start)
    a, b = sorted((a, b))
    if b < warm_up:
        assert schedule(a) <= schedule(b) + 1e-12
    if a >= warm_up:
        assert schedule(a) >= schedule(b) - 1e-12


def test_half_way():
    assert Cosine(final=0.0)(0.5) == pytest.approx(0.5)
    assert Exponential(final=0.01)(0.5) == pytest.approx(0.1)
    assert Constant()(0.5) == 1.0


def test_decay_in_epochs():
    smooth = EpochDecay(first=200, last=600, factor=0.1, per_epochs=400)
    assert [smooth(0.0), smooth(0.5), smooth(1.0)] == pytest.approx([10**-0.5, 0.1, 10**-1.5])
    stairs = EpochDecay(first=0, last=250, factor=0.9, per_epochs=100, staircase=True)
    assert [stairs(f) for f in (0.0, 0.39, 0.41, 0.79, 0.81)] == pytest.approx(
        [1.0, 1.0, 0.9, 0.9, 0.81]
    )


@pytest.mark.parametrize(
    'make',
    [
        lambda: Cosine(final=1.5),
        lambda: Cosine(warm_up=1.0),
        lambda: Exponential(start=-0.1),
        lambda: Exponential(final=0.0),
        lambda: Cosine(final=float('nan')),
        lambda: EpochDecay(first=5, last=5, factor=0.5, per_epochs=1),
        lambda: EpochDecay(first=0, last=5, factor=0.0, per_epochs=1),
        lambda: EpochDecay(first=0, last=5, factor=0.5, per_epochs=float('nan')),
    ],
)
def test_impossible_schedules_are_refused(make):
    with pytest.raises(LearningError, match='schedule'):
        make()


def _pretend(monkeypatch, gpus: int) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)


def test_devices_with_gpus(monkeypatch):
    _pretend(monkeypatch, 2)
    names = ('auto', 'cpu', 'cuda', 'cuda:1')
    assert [str(select_device(name)) for name in names] == ['cuda', 'cpu', 'cuda', 'cuda:1']
    with pytest.raises(LearningError, match="'cuda:2' was asked for but there are 2 GPUs"):
        select_device('cuda:2')


def test_each_process_of_torchrun_gets_its_own_gpu(monkeypatch):
    _pretend(monkeypatch, 2)
    monkeypatch.setenv('LOCAL_RANK', '1')
    assert str(select_device('auto')) == str(select_device('cuda')) == 'cuda:1'
    # Who names a GPU gets it, and who names none of them none.
    assert str(select_device('cuda:0')) == 'cuda:0'
    assert str(select_device('cpu')) == 'cpu'
    monkeypatch.setenv('LOCAL_RANK', '2')
    assert str(select_device('auto')) == 'cuda:0'


def test_processes_without_gpus_share_the_cpu(monkeypatch):
    _pretend(monkeypatch, 0)
    monkeypatch.setenv('LOCAL_RANK', '1')
    assert str(select_device('auto')) == 'cpu'


def test_devices_without_gpus(monkeypatch):
    _pretend(monkeypatch, 0)
    assert str(select_device('auto')) == str(select_device('cpu')) == 'cpu'
    for name in ('cuda', 'cuda:0'):
        with pytest.raises(LearningError, match=f'{name!r} was asked for but torch .*use cpu'):
            select_device(name)


@pytest.mark.parametrize('name', ['', 'gpu', 'cuda:', 'cuda:x', 'cuda:-1', 'cpu:0', 'Cuda'])
def test_unknown_devices_are_refused(name):
    with pytest.raises(LearningError, match='Unknown device .* expected auto, cpu, cuda'):
        select_device(name)


def test_one_thread_is_for_the_block_only():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match='inside'), one_thread():
        assert torch.get_num_threads() == 1
        raise ValueError('inside')
    assert torch.get_num_threads() == before
