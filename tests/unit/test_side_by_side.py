"""Runs in processes of their own: the same as in this one, heard, stopped, and told of."""

from dataclasses import dataclass
import os
from pathlib import Path
import time

import pytest
import torch

from posefield.errors import DataError, LearningError, LearningInterrupted
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.run import LearningRun
from posefield.learning.side_by_side import learn_side_by_side
from support.recorder import Recorder

LONG_S = 60.0


@dataclass(frozen=True)
class Draws:
    """Returns random numbers, the process, and the threads of torch in it."""

    name: str

    def __call__(self, run: LearningRun) -> tuple[list[float], int, int]:
        run.reporter(self.name)(1.0)
        drawn = torch.rand(3, generator=run.generator).tolist()
        return drawn, os.getpid(), torch.get_num_threads()


@dataclass(frozen=True)
class Waits:
    """Tells that it has begun, then waits to be stopped."""

    name: str

    def __call__(self, run: LearningRun) -> None:
        run.reporter(self.name)(0.5)
        check_stop, end_s = run.stopper(self.name), time.monotonic() + LONG_S
        while time.monotonic() < end_s:
            check_stop()
            time.sleep(0.01)


@dataclass(frozen=True)
class Fails:
    """Fails in a sentence."""

    def __call__(self, run: LearningRun) -> None:
        raise DataError('The images are gone.')


@dataclass(frozen=True)
class Dies:
    """Ends its process."""

    def __call__(self, run: LearningRun) -> None:
        os._exit(3)


@dataclass(frozen=True)
class Saves:
    """Saves a checkpoint."""

    name: str

    def __call__(self, run: LearningRun) -> None:
        run.store.save(self.name, {'x': torch.zeros(1)}, {})


def a_run(recorder: Recorder | None = None, store: CheckpointStore | None = None) -> LearningRun:
    recorder = recorder or Recorder()
    return LearningRun(7, torch.device('cpu'), recorder, recorder.stop, store)


def test_tasks_get_the_same_seeds_in_other_processes_as_here():
    tasks = [Draws('one'), Draws('two'), Draws('three')]
    here, elsewhere = (learn_side_by_side(a_run(), tasks, processes) for processes in (1, 2))
    assert [drawn for drawn, *_ in elsewhere] == [drawn for drawn, *_ in here]
    assert here[0][0] != here[1][0]
    assert {process for _, process, _ in here} == {os.getpid()}
    assert os.getpid() not in {process for _, process, _ in elsewhere}
    assert {threads for *_, threads in elsewhere} == {1}


def test_the_run_hears_of_all_tasks():
    recorder = Recorder()
    learn_side_by_side(a_run(recorder), [Draws('one'), Draws('two')], 2)
    assert sorted(recorder.seen) == [('one', 1.0), ('two', 1.0)]


def test_stopping_the_run_stops_all_tasks():
    begun_s, recorder = time.monotonic(), Recorder('two', 0.5)
    with pytest.raises(LearningInterrupted, match='stopped in stage'):
        learn_side_by_side(a_run(recorder), [Waits('one'), Waits('two'), Waits('three')], 2)
    assert time.monotonic() - begun_s < LONG_S


def test_a_task_that_fails_stops_the_others_and_says_why():
    begun_s = time.monotonic()
    with pytest.raises(DataError, match='images are gone'):
        learn_side_by_side(a_run(), [Waits('one'), Fails()], 2)
    assert time.monotonic() - begun_s < LONG_S


def test_a_process_that_ends_too_early_is_told_of():
    with pytest.raises(LearningError, match='ended before its work was done'):
        learn_side_by_side(a_run(), [Dies(), Waits('two')], 2)


def test_processes_that_end_because_all_is_to_end_are_not_blamed_on_memory():
    run = a_run()
    run.stop.set()
    with pytest.raises(LearningInterrupted, match='with it a process that learns'):
        learn_side_by_side(run, [Dies(), Dies()], 2)


def test_checkpoints_of_all_tasks_are_in_one_store(tmp_path: Path):
    store = CheckpointStore(tmp_path / 'store', {'seed': 7})
    learn_side_by_side(a_run(store=store), [Saves('one'), Saves('two')], 2)
    assert store.stages() == ['one', 'two']
