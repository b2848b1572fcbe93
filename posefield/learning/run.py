"""What all steps of one run of learning share."""

from collections.abc import Callable, Iterator
import contextlib
from dataclasses import dataclass, field
import threading
import time

import torch

from posefield.errors import LearningInterrupted
from posefield.learning import distributed
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import StageResult, run_stage
from posefield.learning.progress import Progress
from posefield.learning.stage import Stage


@dataclass
class LearningRun:
    """One run, from data to a map or model.

    Attributes:
        seed: of everything random.
        device: where it is learned.
        progress: who is told.
        stop: ends the run at the next chance.
        store: of checkpoints; None saves none.
        generator: of training; another in every process of a distributed run.
    """

    seed: int
    device: torch.device
    progress: Progress
    stop: threading.Event
    store: CheckpointStore | None = None
    generator: torch.Generator = field(init=False)
    _begun_s: float = field(init=False)

    def __post_init__(self):
        self.generator = distributed.process_generator(self.seed, self.device)
        self._begun_s = time.monotonic()

    @property
    def spent_s(self) -> float:
        """Return the seconds since the run began."""
        return time.monotonic() - self._begun_s

    def reporter(self, stage: str) -> Callable[[float], None]:
        """Begin a stage and return what tells its progress, with the time left."""
        self.progress.start(stage, True)
        begun_s = time.monotonic()

        def report(fraction: float) -> None:
            left_s = (time.monotonic() - begun_s) * (1.0 - fraction) / max(fraction, 1e-6)
            self.progress.update(stage, fraction, {}, left_s)

        return report

    def stopper(self, stage: str) -> Callable[[], None]:
        """Return what raises LearningInterrupted once the run is stopped."""

        def check_stop() -> None:
            if self.stop.is_set():
                raise LearningInterrupted(f'Learning was stopped in stage {stage}.')

        return check_stop

    @contextlib.contextmanager
    def uninterrupted(self, stage: str) -> Iterator[None]:
        """Tell of a stage that cannot be stopped on its way, but before and after it.

        Raises:
            LearningInterrupted: when stopped.
        """
        report, check_stop = self.reporter(stage), self.stopper(stage)
        check_stop()
        yield
        report(1.0)
        check_stop()

    def run_stage(
        self, stage: Stage, *, steps: int | None = None, seconds: float | None = None
    ) -> StageResult:
        """Train a stage in the one loop, with this run's checkpoints."""
        return run_stage(
            stage,
            generator=self.generator,
            steps=steps,
            deadline_s=seconds,
            progress=self.progress,
            stop=self.stop,
            checkpoints=self.store,
        )
