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


@dataclass(frozen=True)
class EpochDecay:
    """A constant rate of decay in epochs, of which the budget covers a stretch.

    Attributes:
        first, last: epochs at the beginning and the end of the budget.
        factor: what is left after `per_epochs` epochs, in (0, 1].
        per_epochs: see `factor`.
        staircase: whether the rate falls at every whole `per_epochs` only.
    """

    first: float
    last: float
    factor: float
    per_epochs: float
    staircase: bool = False

    def __post_init__(self):
        if not (0 <= self.first < self.last and 0 < self.factor <= 1 and self.per_epochs > 0):
            raise LearningError(
                'A schedule needs 0 <= first < last, factor in (0, 1] and per_epochs above 0, '
                f'found first={self.first}, last={self.last}, factor={self.factor}, '
                f'per_epochs={self.per_epochs}.'
            )

    def __call__(self, fraction: float) -> float:
        """Return the factor at a fraction in [0, 1] of the budget."""
        periods = (self.first + (self.last - self.first) * fraction) / self.per_epochs
        return self.factor ** (math.floor(periods) if self.staircase else periods)


def _check(final: float, warm_up: float, start: float) -> None:
    if not (0 <= final <= 1 and 0 <= warm_up < 1 and 0 <= start <= 1):
        raise LearningError(
            f'A schedule needs final and start in [0, 1] and warm_up in [0, 1), found '
            f'final={final}, start={start}, warm_up={warm_up}.'
        )
