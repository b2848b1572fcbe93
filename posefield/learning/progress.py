"""How far training is: a bar for a terminal, lines for a log, or nothing."""

from collections.abc import Callable, Mapping
import sys
import time
from typing import Protocol, TextIO

from rich.console import Console
import rich.progress


class Progress(Protocol):
    """What the training loop tells whoever watches it."""

    def start(self, stage: str, total_fraction_known: bool) -> None:
        """Begin a stage; without a known total its fraction stays 0."""

    def update(
        self,
        stage: str,
        fraction: float,
        metrics: Mapping[str, float],
        seconds_left: float | None,
    ) -> None:
        """Tell the fraction done in [0, 1], smoothed metrics and an estimate of what is left.

        Of a stage that is trained, `steps` among the metrics are those taken so far.
        """

    def close(self) -> None:
        """End; called once after the last stage, also after an error."""


class QuietProgress:
    """Shows nothing."""

    def start(self, stage: str, total_fraction_known: bool) -> None:
        """See `Progress`."""

    def update(
        self,
        stage: str,
        fraction: float,
        metrics: Mapping[str, float],
        seconds_left: float | None,
    ) -> None:
        """See `Progress`."""

    def close(self) -> None:
        """See `Progress`."""


class LogProgress:
    """Prints a plain line now and then, and one at the end of every stage.

    Args:
        stream: where to; standard error by default.
        every_s: least seconds between two lines.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        every_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._stream = stream or sys.stderr
        self._every_s = every_s
        self._clock = clock
        self._next_s = -float('inf')
        self._total_known = True

    def start(self, stage: str, total_fraction_known: bool) -> None:
        """See `Progress`."""
        self._total_known = total_fraction_known
        self._next_s = -float('inf')

    def update(
        self,
        stage: str,
        fraction: float,
        metrics: Mapping[str, float],
        seconds_left: float | None,
    ) -> None:
        """See `Progress`."""
        now = self._clock()
        if now < self._next_s and fraction < 1:
            return
        self._next_s = now + self._every_s
        done = f'{100 * fraction:.0f} %' if self._total_known else ''
        left = f'{seconds_text(seconds_left)} left' if seconds_left is not None else ''
        parts = [part for part in (done, metrics_text(metrics), left) if part]
        print(f'{stage}: {", ".join(parts)}', file=self._stream, flush=True)

    def close(self) -> None:
        """See `Progress`."""


class RichProgress:
    """A bar for every stage, on the terminal of standard error.

    Args:
        console: where to draw; standard error by default.
    """

    def __init__(self, console: Console | None = None):
        self._bars = rich.progress.Progress(
            rich.progress.TextColumn('{task.description}'),
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TextColumn('{task.fields[metrics]}'),
            rich.progress.TextColumn('{task.fields[left]}'),
            console=console or Console(stderr=True),
        )
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def start(self, stage: str, total_fraction_known: bool) -> None:
        """See `Progress`."""
        self._bars.start()
        total = 1.0 if total_fraction_known else None
        self._tasks[stage] = self._bars.add_task(stage, total=total, metrics='', left='')

    def update(
        self,
        stage: str,
        fraction: float,
        metrics: Mapping[str, float],
        seconds_left: float | None,
    ) -> None:
        """See `Progress`."""
        left = f'{seconds_text(seconds_left)} left' if seconds_left else ''
        self._bars.update(
            self._tasks[stage], completed=fraction, metrics=metrics_text(metrics), left=left
        )

    def close(self) -> None:
        """See `Progress`."""
        self._bars.stop()


def make_progress(quiet: bool) -> Progress:
    """Return a bar for a person at a terminal, plain lines for a log or one who wants quiet."""
    return LogProgress() if quiet or not sys.stderr.isatty() else RichProgress()


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Return metrics for reading: `loss 0.0123, psnr 24.1 dB, steps 1200`."""
    formats = {'psnr': '{:.1f} dB', 'steps': '{:.0f}'}
    return ', '.join(
        f'{name} {formats.get(name, "{:.3g}").format(value)}' for name, value in metrics.items()
    )


def seconds_text(seconds: float) -> str:
    """Return a duration for reading: `42 s`, `3 min 05 s` or `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60:02d} s'
    return f'{whole // 3600} h {whole % 3600 // 60:02d} min'
