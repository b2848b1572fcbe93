"""A learning rate that falls when the loss stops falling (nefes.md 1.2 and 1.5)."""

import math


class Plateau:
    """A schedule that is told the loss of every epoch.

    Args:
        factor: of the rate, whenever the loss has not fallen for longer than the patience.
        patience: epochs without a new lowest loss that are waited for.
        threshold: a loss is lower only when it is by this fraction.
    """

    def __init__(self, factor: float, patience: int, threshold: float = 1e-4):
        self._factor = factor
        self._patience = patience
        self._threshold = threshold
        self._rate = 1.0
        self._best = math.inf
        self._waited = 0

    def __call__(self, fraction: float) -> float:
        """Return the factor on the learning rate, whatever fraction of the budget is done."""
        return self._rate

    def observe(self, loss: float) -> None:
        """Take in the loss of an epoch."""
        if loss < self._best * (1.0 - self._threshold):
            self._best = loss
            self._waited = 0
            return
        self._waited += 1
        if self._waited > self._patience:
            self._rate *= self._factor
            self._waited = 0

    def state(self) -> dict:
        """Return what it remembers, as JSON can hold it."""
        best = self._best if math.isfinite(self._best) else None
        return {'rate': self._rate, 'best': best, 'waited': self._waited}

    def load_state(self, state: dict) -> None:
        """Take back `state`."""
        self._rate = state['rate']
        self._best = math.inf if state['best'] is None else state['best']
        self._waited = state['waited']
