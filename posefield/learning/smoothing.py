"""Smoothed metrics for a person to look at."""

from collections.abc import Mapping

import torch


class SmoothedMetrics:
    """Running averages that stay on the device until they are read.

    So a step waits for the accelerator only when somebody looks at the numbers.

    Args:
        decay: weight of the past at every step; 0.95 averages over about 20 steps.
    """

    def __init__(self, decay: float = 0.95):
        self._decay = decay
        self._sums: dict[str, torch.Tensor | float] = {}
        self._weights: dict[str, float] = {}

    def add(self, metrics: Mapping[str, torch.Tensor | float]) -> None:
        """Take in the metrics of a step: scalars by name."""
        for name, value in metrics.items():
            if isinstance(value, torch.Tensor):
                value = value.detach()
            weight = 1 - self._decay
            self._sums[name] = self._decay * self._sums.get(name, 0.0) + weight * value
            self._weights[name] = self._decay * self._weights.get(name, 0.0) + weight

    def read(self) -> dict[str, float]:
        """Return the averages; NaN in any step so far gives NaN."""
        return {name: float(total) / self._weights[name] for name, total in self._sums.items()}
