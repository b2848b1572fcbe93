"""Gradients that a step may use."""

from collections.abc import Iterable

import torch


def are_finite(parameters: Iterable[torch.nn.Parameter]) -> bool:
    """Return whether all gradients that there are have finite entries only."""
    norms = [p.grad.norm() for p in parameters if p.grad is not None]
    return not norms or bool(torch.stack(norms).isfinite().all())
