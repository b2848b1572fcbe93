"""Progress that remembers, for tests of what learning tells and of stopping it."""

from collections.abc import Mapping
import threading


class Recorder:
    """Keeps what it is told, and may stop the learning at a point of a stage.

    Attributes:
        stop: set when that point is reached.
        seen: (stage, fraction) in the order told.
        metrics: of every stage, in the order told.
    """

    def __init__(self, stage: str = '', fraction: float = 2.0):
        self.stop = threading.Event()
        self.seen: list[tuple[str, float]] = []
        self.metrics: dict[str, list[Mapping[str, float]]] = {}
        self._stage, self._fraction = stage, fraction

    def start(self, stage: str, total_fraction_known: bool) -> None:
        pass

    def update(
        self,
        stage: str,
        fraction: float,
        metrics: Mapping[str, float],
        seconds_left: float | None,
    ) -> None:
        self.seen.append((stage, fraction))
        self.metrics.setdefault(stage, []).append(dict(metrics))
        if stage == self._stage and fraction >= self._fraction:
            self.stop.set()

    def close(self) -> None:
        pass
