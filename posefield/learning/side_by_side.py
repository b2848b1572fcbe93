"""Runs of learning that know nothing of each other, at once, in processes of their own."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
import multiprocessing
from multiprocessing.queues import SimpleQueue
import pickle
import threading
from typing import TypeVar

import torch

from posefield.errors import LearningError
from posefield.learning.run import LearningRun
from posefield.worker_processes import (
    new_processes_use_one_thread,
    raises_when_one_ends,
    serve_parent,
)

_Result = TypeVar('_Result')

# How often progress is passed on, and looked whether to stop.
POLL_S = 0.1


def learn_side_by_side(
    run: LearningRun, tasks: Sequence[Callable[[LearningRun], _Result]], processes: int
) -> list[_Result]:
    """Return what tasks come to, which is the same for any number of processes.

    Every task gets a run with a seed of its own; progress, stop and checkpoints are those of
    `run`, so that tasks must give their stages different names.

    Args:
        run: the run that the tasks are part of.
        tasks: each learns something; with more than one process, they and what they return are
            pickled.
        processes: that work at once, each with one thread; 1 works in this process.

    Raises:
        LearningInterrupted: when stopped.
        LearningError: when a process ends before its work is done.
        PosefieldError: what the first task that fails raises; the others are then stopped.
    """
    device = run.generator.device
    seeds = torch.randint(2**31, (len(tasks),), generator=run.generator, device=device).tolist()
    if processes == 1 or len(tasks) == 1:
        return [
            task(LearningRun(seed, run.device, run.progress, run.stop, run.store))
            for task, seed in zip(tasks, seeds, strict=True)
        ]
    # As bytes, because tensors themselves would go through shared memory.
    works = [
        pickle.dumps((task, seed, run.device, run.store))
        for task, seed in zip(tasks, seeds, strict=True)
    ]
    with _Workers(run, min(processes, len(tasks))) as workers:
        return [pickle.loads(found) for found in workers.results(works)]


class _Workers:
    """Processes that learn, heard by the run that they are part of; used as a context."""

    def __init__(self, run: LearningRun, processes: int):
        context = multiprocessing.get_context('spawn')
        self._run = run
        self._told: SimpleQueue = context.SimpleQueue()
        self._stop = context.Event()
        self._pool = ProcessPoolExecutor(
            processes, context, _Process.start, (self._told, self._stop)
        )

    def __enter__(self) -> '_Workers':
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._pool.shutdown()

    def results(self, works: Sequence[bytes]) -> list[bytes]:
        """Return what works come to; the first one that fails stops the others."""
        with new_processes_use_one_thread():
            futures = [self._pool.submit(_Process.learn, work) for work in works]
        running, failed = set(futures), None
        while running:
            done, running = wait(running, POLL_S, FIRST_COMPLETED)
            self._pass_on()
            failed = failed or next((one for one in done if one.exception()), None)
            if failed or self._run.stop.is_set():
                self._stop.set()
        with raises_when_one_ends(LearningError, 'learns', self._run.stop):
            return [one.result() for one in ([failed] if failed else futures)]

    def _pass_on(self) -> None:
        progress = self._run.progress
        while not self._told.empty():
            name, *told = self._told.get()
            (progress.start if name == 'start' else progress.update)(*told)


class _Teller:
    """A `Progress` that tells another process."""

    def __init__(self, told: SimpleQueue):
        self._told = told

    def start(self, stage: str, total_fraction_known: bool) -> None:
        """See `Progress`."""
        self._told.put(('start', stage, total_fraction_known))

    def update(
        self,
        stage: str,
        fraction: float,
        metrics: Mapping[str, float],
        seconds_left: float | None,
    ) -> None:
        """See `Progress`."""
        self._told.put(('update', stage, fraction, dict(metrics), seconds_left))

    def close(self) -> None:
        """See `Progress`; the parent closes its own."""


class _Process:
    """What one process has to learn, which only it has."""

    told: SimpleQueue
    stop: threading.Event

    @classmethod
    def start(cls, told: SimpleQueue, stop: threading.Event) -> None:
        """Take what connects to the parent; called once in every process."""
        serve_parent()
        torch.set_num_threads(1)
        cls.told, cls.stop = told, stop

    @classmethod
    def learn(cls, work: bytes) -> bytes:
        """Do a task."""
        task, seed, device, store = pickle.loads(work)
        return pickle.dumps(task(LearningRun(seed, device, _Teller(cls.told), cls.stop, store)))
