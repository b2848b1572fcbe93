"""How long to train: so many steps, or so many seconds."""

from dataclasses import dataclass
import math

from posefield.errors import LearningError


@dataclass(frozen=True)
class Budget:
    """Exactly one of a number of steps and a number of seconds of training.

    Attributes:
        steps: optimiser steps; the same seed then gives the same result.
        seconds: wall-clock seconds in the loop, over all runs of a resumed training.
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self):
        if (self.steps is None) == (self.seconds is None):
            raise LearningError(
                f'Training needs either a number of steps or of seconds, found {self.steps} '
                f'steps and {self.seconds} seconds.'
            )
        amount = self.seconds if self.steps is None else self.steps
        if not (math.isfinite(amount) and amount > 0):
            raise LearningError(f'A training budget must be positive, found {amount}.')

    def fraction(self, steps: int, seconds: float) -> float:
        """Return the fraction done in [0, 1]."""
        done = seconds / self.seconds if self.steps is None else steps / self.steps
        return min(1.0, done)

    def seconds_left(self, steps: int, seconds: float) -> float | None:
        """Return an estimate of the time to go; None before the first step."""
        if self.steps is None:
            return max(0.0, self.seconds - seconds)
        return seconds / steps * max(0, self.steps - steps) if steps else None
