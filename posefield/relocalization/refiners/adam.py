"""Adam through a renderer: the loop that all gradient refiners share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


class MovingPose(Protocol):
    """A pose as a function of parameters that an optimiser moves."""

    parameters: Sequence[torch.Tensor]
    optimiser: torch.optim.Optimizer

    def pose(self) -> torch.Tensor:
        """Return T_field_cam (4, 4) float64, differentiable in the parameters."""


@dataclass(frozen=True)
class Evaluation:
    """A loss at a pose, and the whole rendered view (3, h, w) where there was one."""

    loss: torch.Tensor
    colours_3HW: torch.Tensor | None = None


Objective = Callable[[torch.Tensor], Evaluation]


@dataclass(frozen=True)
class Descent:
    """What an optimisation did.

    Attributes:
        T_field_cam: (4, 4) after the last step.
        losses: at each iteration, before its step.
        first, last: at the first and at the last iteration.
    """

    T_field_cam: torch.Tensor
    losses: torch.Tensor
    first: Evaluation
    last: Evaluation


def descend(moving: MovingPose, objective: Objective, iterations: int) -> Descent:
    """Take `iterations` steps, each after one evaluation of the objective.

    Only the parameters of the pose are differentiated, whatever else could be.  A gradient that
    is not finite, as where a pose leaves the field, counts as zero, so that poses stay finite.
    """
    losses = []
    for iteration in range(iterations):
        value = objective(moving.pose())
        gradients = torch.autograd.grad(value.loss, moving.parameters, allow_unused=True)
        for parameter, gradient in zip(moving.parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else _finite(gradient)
        moving.optimiser.step()
        last = _detached(value)
        if iteration == 0:
            first = last
        losses.append(last.loss)
    with torch.no_grad():
        pose = moving.pose()
    return Descent(pose, torch.stack(losses), first, last)


def _finite(gradient: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)


def _detached(value: Evaluation) -> Evaluation:
    colours = value.colours_3HW
    return Evaluation(value.loss.detach(), None if colours is None else colours.detach())
