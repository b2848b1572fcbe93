"""The one training loop."""

from collections.abc import Mapping
from dataclasses import dataclass
import math
import threading
import time

import torch

from posefield.errors import LearningError, LearningInterrupted
from posefield.learning import distributed, gradients
from posefield.learning.budget import Budget
from posefield.learning.checkpoints import Checkpoint, CheckpointStore
from posefield.learning.progress import Progress, QuietProgress
from posefield.learning.randomness import global_randomness
from posefield.learning.smoothing import SmoothedMetrics
from posefield.learning.snapshot import (
    load_modules,
    load_training,
    stage_device,
    take_snapshot,
)
from posefield.learning.stage import Stage

REPORT_EVERY_S = 0.25


@dataclass(frozen=True)
class StageResult:
    """What training a stage took and came to.

    Attributes:
        steps: optimiser steps, over all runs of a resumed training.
        seconds: wall-clock seconds in the loop, over all runs.
        metrics: the last smoothed metrics.
        skipped: steps that changed nothing, because their gradients were not finite.
    """

    steps: int
    seconds: float
    metrics: dict[str, float]
    skipped: int = 0


def run_stage(
    stage: Stage,
    *,
    generator: torch.Generator,
    steps: int | None = None,
    deadline_s: float | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    checkpoints: CheckpointStore | None = None,
    checkpoint_every_s: float = 60.0,
) -> StageResult:
    """Train a stage to the end of its budget, going on from its checkpoint where it has one.

    Stages that follow each other are calls that follow each other.  In a resumed run those that
    were finished return at once, with the trained weights in the stage and the generator where
    it was, so that the same calls give the same result as without the interruption.

    Args:
        stage: what to train; its modules are changed in place.
        generator: the source of all randomness.
        steps: number of optimiser steps; either this or `deadline_s`.
        deadline_s: seconds of training, over all runs.
        progress: who to tell; nobody by default.
        stop: when set, the loop saves a checkpoint and raises LearningInterrupted.
        checkpoints: where to save and to resume from; nothing is saved by default.
        checkpoint_every_s: seconds of training between two checkpoints.

    Raises:
        LearningInterrupted: when stopped.
        LearningError: when the loss is not finite, when gradients are not finite for more steps
            in a row than the stage skips, or when the checkpoint is of something else.
    """
    budget = Budget(steps, deadline_s)
    with global_randomness(generator, stage_device(stage)):
        run = _Run(stage, budget, generator, progress or QuietProgress(), checkpoints)
        if run.resume():
            return run.result()
        run.train(stop or threading.Event(), checkpoint_every_s)
        return run.result()


class _Run:
    """A stage in training: where it is, and what moves it on."""

    def __init__(
        self,
        stage: Stage,
        budget: Budget,
        generator: torch.Generator,
        progress: Progress,
        checkpoints: CheckpointStore | None,
    ):
        self._stage = stage
        self._budget = budget
        self._generator = generator
        self._progress = progress
        self._checkpoints = checkpoints
        self._device = stage_device(stage)
        self._optimizer = _make_optimizer(stage)
        self._steps = 0
        self._seconds = 0.0
        self._intervals = 0
        self._skipped = 0
        self._skipped_in_row = 0
        self._smoothed = SmoothedMetrics()
        self._metrics: dict[str, float] = {}

    def result(self) -> StageResult:
        return StageResult(self._steps, self._seconds, self._metrics, self._skipped)

    def resume(self) -> bool:
        """Load the checkpoint, if any, and return whether it is of the finished stage."""
        self._progress.start(self._stage.name, total_fraction_known=True)
        checkpoint = self._checkpoints.load(self._stage.name) if self._checkpoints else None
        if checkpoint is None:
            distributed.share_initial_state(self._stage.modules().values())
            return False
        try:
            self._load(checkpoint)
            finished = checkpoint.state['finished']
        except KeyError as error:
            raise LearningError(
                f'The checkpoint of stage {self._stage.name} lacks {error}; start afresh.'
            ) from error
        if finished:
            self._tell(1.0, 0.0)
        return finished

    def _load(self, checkpoint: Checkpoint) -> None:
        load_modules(self._stage, checkpoint)
        self._optimizer = _make_optimizer(self._stage)
        load_training(self._stage, checkpoint, self._optimizer, self._generator)
        self._steps = checkpoint.state['steps']
        self._seconds = checkpoint.state['seconds']
        self._intervals = checkpoint.state['intervals']
        self._skipped = checkpoint.state['skipped']
        self._metrics = checkpoint.state['metrics']

    def train(self, stop: threading.Event, checkpoint_every_s: float) -> None:
        """Go on to the end of the budget."""
        begun = time.monotonic() - self._seconds
        next_report = self._seconds
        next_checkpoint = self._seconds + checkpoint_every_s
        stopped = distributed.largest([stop.is_set()], self._device)[0]
        while (fraction := self._fraction()) < 1:
            if stopped:
                self._interrupt()
            self._step(fraction)
            self._seconds, stopped = distributed.largest(
                [time.monotonic() - begun, stop.is_set()], self._device
            )
            self._call_interval()
            # A checkpoint comes after a report, which refuses a loss that is not finite.
            if self._seconds >= min(next_report, next_checkpoint):
                self._report()
                next_report = self._seconds + REPORT_EVERY_S
            if self._seconds >= next_checkpoint:
                self._save(finished=False)
                next_checkpoint = self._seconds + checkpoint_every_s
        self._report()
        self._save(finished=True)

    def _fraction(self) -> float:
        return self._budget.fraction(self._steps, self._seconds)

    def _step(self, fraction: float) -> None:
        for group in self._optimizer.param_groups:
            schedule = group.get('schedule', self._stage.schedule)
            group['lr'] = group['initial_lr'] * schedule(fraction)
        self._optimizer.zero_grad(set_to_none=True)
        metrics = self._stage.step(self._steps, self._generator)
        loss = _loss(self._stage, metrics)
        if isinstance(loss, torch.Tensor):
            loss.backward()
        parameters = [p for group in self._optimizer.param_groups for p in group['params']]
        distributed.average_gradients(parameters)
        if self._stage.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self._stage.clip_norm)
        self._steps += 1
        if self._stage.skips is not None and not gradients.are_finite(parameters):
            self._skip(self._stage.skips)
            return
        self._skipped_in_row = 0
        self._optimizer.step()
        self._smoothed.add(metrics)

    def _skip(self, most_in_row: int) -> None:
        """Leave out a step whose gradients are not finite, in all processes alike."""
        self._skipped += 1
        self._skipped_in_row += 1
        if self._skipped_in_row > most_in_row:
            raise LearningError(
                f'Stage {self._stage.name} diverged: the gradients of {self._skipped_in_row} '
                f'steps in a row, up to step {self._steps}, have entries that are not finite; '
                f'{most_in_row} such steps are skipped at most.'
            )

    def _call_interval(self) -> None:
        due = math.floor(self._fraction() * self._stage.intervals)
        if due > self._intervals:
            self._intervals = due
            if self._stage.on_interval(self._fraction()):
                self._optimizer = _make_optimizer(self._stage)

    def _report(self) -> None:
        metrics = distributed.mean(self._smoothed.read(), self._device)
        if 'loss' in metrics and not math.isfinite(metrics['loss']):
            raise LearningError(
                f'Stage {self._stage.name} diverged: its loss is {metrics["loss"]} after '
                f'{self._steps} steps, expected a finite number.'
            )
        if metrics:
            self._metrics = {**metrics, 'skipped': self._skipped} if self._skipped else metrics
        left = self._budget.seconds_left(self._steps, self._seconds)
        self._tell(self._fraction(), left)

    def _tell(self, fraction: float, seconds_left: float | None) -> None:
        metrics = {**self._metrics, 'steps': self._steps}
        self._progress.update(self._stage.name, fraction, metrics, seconds_left)

    def _save(self, *, finished: bool) -> None:
        if self._checkpoints is None:
            return
        snapshot = take_snapshot(self._stage, self._optimizer, self._generator)
        state = {
            **snapshot.state,
            'steps': self._steps,
            'seconds': self._seconds,
            'intervals': self._intervals,
            'skipped': self._skipped,
            'metrics': {n: v for n, v in self._metrics.items() if math.isfinite(v)},
            'finished': finished,
        }
        if distributed.rank() == 0:
            self._checkpoints.save(self._stage.name, snapshot.tensors, state)

    def _interrupt(self) -> None:
        self._report()
        self._save(finished=False)
        where = (
            f'a checkpoint is in {self._checkpoints.folder}'
            if self._checkpoints
            else 'nothing was saved'
        )
        raise LearningInterrupted(
            f'Learning was stopped in stage {self._stage.name} at '
            f'{100 * self._fraction():.0f} %; {where}.'
        )


def _make_optimizer(stage: Stage) -> torch.optim.Optimizer:
    optimizer = stage.make_optimizer(stage.parameter_groups())
    for group in optimizer.param_groups:
        group['initial_lr'] = group['lr']
    return optimizer


def _loss(stage: Stage, metrics: Mapping[str, torch.Tensor | float]) -> torch.Tensor | float:
    if 'loss' not in metrics:
        raise LearningError(
            f'A step of stage {stage.name} must return a loss, found {sorted(metrics)}.'
        )
    loss = metrics['loss']
    if isinstance(loss, torch.Tensor) and not loss.requires_grad:
        raise LearningError(
            f'The loss of stage {stage.name} does not depend on what it trains; a stage that '
            'calls backward itself returns it as a float.'
        )
    return loss
