"""Learning-rate schedules: a factor as a function of the fraction of the budget done.

A fraction, not a step, so that a budget in seconds and one in steps use the same schedule.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math

from posefield.errors import LearningError

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Constant:
    """The same learning rate all along."""

    def __call__(self, fraction: float) -> float:
        """Return 1 at every fraction."""
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """A linear warm-up to 1, then half a cosine down to `final`.

    Attributes:
        final: the factor at the end, in [0, 1].
        warm_up: the fraction of the budget over which the factor rises from `start` to 1.
        start: the factor at the beginning of the warm-up.
    """

    final: float = 0.01
    warm_up: float = 0.0
    start: float = 0.1

    def __post_init__(self):
        _check(self.final, self.warm_up, self.start)

    def __call__(self, fraction: float) -> float:
        """Return the factor at a fraction in [0, 1] of the budget."""
        if fraction < self.warm_up:
            return self.start + (1.0 - self.start) * fraction / self.warm_up
        done = (fraction - self.warm_up) / (1.0 - self.warm_up)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Exponential:
    """A linear warm-up to 1, then a constant rate of decay down to `final` (above 0).

    Attributes are those of `Cosine`.
    """

    final: float = 0.01
    warm_up: float = 0.0
    start: float = 0.1

    def __post_init__(self):
        _check(self.final, self.warm_up, self.start)
        if self.final == 0:
            raise LearningError('An exponential schedule cannot end at 0, expected more.')

    def __call__(self, fraction: float) -> float:
        """Return the factor at a fraction in [0, 1] of the budget."""
        if fraction < self.warm_up:
            return self.start + (1.0 - self.start) * fraction / self.warm_up
        return self.final ** ((fraction - self.warm_up) / (1.0 - self.warm_up))


def _check(final: float, warm_up: float, start: float) -> None:
    if not (0 <= final <= 1 and 0 <= warm_up < 1 and 0 <= start <= 1):
        raise LearningError(
            f'A schedule needs final and start in [0, 1] and warm_up in [0, 1), found '
            f'final={final}, start={start}, warm_up={warm_up}.'
        )
