"""Seconds that the stages of a localization take."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import time


@dataclass
class Stopwatch:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the time inside the block to a stage."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - begun
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
