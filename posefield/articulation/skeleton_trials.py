"""Trials of other joints: how well the images are explained once all has adapted to a change.

Trials know nothing of each other, so that some run at once, in processes of their own: one process
spends most of its time between small operations, and gains nothing from a second thread.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
import contextlib
from dataclasses import dataclass
import math
import multiprocessing
import pickle
import threading

import torch

from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.joint_scanning import scanned
from posefield.articulation.part_fitting_stage import make_adam
from posefield.articulation.skeleton_refitting import refitted
from posefield.articulation.skeleton_stage import (
    SkeletonLossConfig,
    loss_of,
    parameter_groups,
    probe,
)
from posefield.articulation.skeleton_tracks import SkeletonTracks
from posefield.errors import LearningError
from posefield.learning import gradients
from posefield.learning.devices import processes_for
from posefield.worker_processes import (
    new_processes_use_one_thread,
    raises_when_one_ends,
    results_in_order,
    serve_parent,
)

MOST_PROCESSES = 4


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        tracks: changed already; they may be changed further in place.
        steps: that all have to adapt.
        first_steps, hopeless: it is given up when the loss after so many of the steps is higher.
        scanned: a joint whose angles are found first by trying all; None for none.
        before: tracks that those come nearer to first (`refitted`); None for none.
    """

    tracks: SkeletonTracks
    steps: int
    first_steps: int = 0
    hopeless: float = math.inf
    scanned: int | None = None
    before: SkeletonTracks | None = None


@dataclass(frozen=True)
class Outcome:
    """What came out: tracks that have adapted, and their loss."""

    tracks: SkeletonTracks
    loss: float


class Trials:
    """Runs trials; used as a context.

    Args:
        pixels: all images.
        loss: what joints are fitted to.
        processes: that run trials at once; None for one per core, up to 4, and 1 on a GPU.
        stop: set when processes end because the user has ended all.
    """

    def __init__(
        self,
        pixels: FittingPixels,
        loss: SkeletonLossConfig,
        processes: int | None = None,
        stop: threading.Event | None = None,
    ):
        if processes is None:
            processes = min(processes_for(pixels.device), MOST_PROCESSES)
        self._pixels, self._loss, self._processes = pixels, loss, processes
        self._stop = stop
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> 'Trials':
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def one(self, trial: Trial) -> Outcome | None:
        """Return what comes of a trial, or None where it was given up."""
        return run_trial(trial, self._pixels, self._loss)

    def all(self, trials: Iterable[Trial]) -> Iterator[Outcome | None]:
        """Yield what comes of trials, in their order.

        Raises:
            LearningError: when a process ends before its work is done.
            LearningInterrupted: when it ends because all is to end.
        """
        if self._processes == 1:
            yield from map(self.one, trials)
            return
        found = results_in_order(self._submit, trials, self._processes)
        told = raises_when_one_ends(LearningError, 'tries other joints', self._stop)
        with told, contextlib.closing(found):
            yield from map(pickle.loads, found)

    def _submit(self, trial: Trial) -> Future[bytes]:
        if self._pool is None:
            # As bytes, because tensors themselves would go through shared memory.
            task = pickle.dumps((self._pixels, self._loss))
            self._pool = ProcessPoolExecutor(
                self._processes, multiprocessing.get_context('spawn'), _Process.start, (task,)
            )
        with new_processes_use_one_thread():
            return self._pool.submit(_Process.run, pickle.dumps(trial))


def run_trial(trial: Trial, pixels: FittingPixels, loss: SkeletonLossConfig) -> Outcome | None:
    """Return the tracks of a trial after its steps, or None where it was given up."""
    tracks, left = trial.tracks, trial.steps
    if trial.scanned is not None:
        tracks = scanned(tracks, trial.scanned, pixels, loss)
    if trial.before is not None:
        tracks = refitted(tracks, trial.before)
    if trial.first_steps:
        adapt(tracks, pixels, loss, trial.first_steps)
        left -= trial.first_steps
        if not probe(tracks, pixels, loss) <= trial.hopeless:
            return None
    adapt(tracks, pixels, loss, left)
    return Outcome(tracks, probe(tracks, pixels, loss))


def adapt(
    tracks: SkeletonTracks,
    pixels: FittingPixels,
    config: SkeletonLossConfig,
    steps: int,
) -> None:
    """Fit tracks for some steps whose rate falls to a tenth.

    Steps whose gradients are not finite are left out.
    """
    optimizer = make_adam(parameter_groups(tracks, config))
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    first = [group['lr'] for group in optimizer.param_groups]
    generator = torch.Generator(pixels.device).manual_seed(1)
    for step in range(steps):
        for group, lr in zip(optimizer.param_groups, first, strict=True):
            group['lr'] = lr * (1.0 - 0.9 * step / steps)
        loss, *_ = loss_of(tracks, pixels, config, config.sharp_px, generator)
        optimizer.zero_grad()
        loss.backward()
        if gradients.are_finite(parameters):
            optimizer.step()


class _Process:
    """What one process has to run trials, which only it has."""

    pixels: FittingPixels
    loss: SkeletonLossConfig

    @classmethod
    def start(cls, task: bytes) -> None:
        """Take the images; called once in every process."""
        serve_parent()
        torch.set_num_threads(1)
        cls.pixels, cls.loss = pickle.loads(task)

    @classmethod
    def run(cls, trial: bytes) -> bytes:
        """Run a trial."""
        return pickle.dumps(run_trial(pickle.loads(trial), cls.pixels, cls.loss))
