"""What the training loop trains."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch

from posefield.errors import LearningError
from posefield.learning.schedules import Constant, Schedule


class Stage(ABC):
    """One thing to learn, such as a field or a regressor.

    A subclass sets the attributes it needs, and everything that it changes while it trains is
    in its modules' state or in `extra_state`: a resumed run has nothing else.

    Attributes:
        name: what progress shows, and the name of the checkpoint's folder.
        learning_rate: of the default `parameter_groups`, before the schedule's factor.
        schedule: factor on the learning rates as a function of the fraction done.
        clip_norm: largest norm of all gradients together; None for no limit.
        intervals: how often `on_interval` is called over the whole budget.
        skips: how many steps in a row may be left out because their gradients are not finite;
            None where that is not looked at.
    """

    name: str
    learning_rate: float = 1e-3
    schedule: Schedule = Constant()
    clip_norm: float | None = None
    intervals: int = 0
    skips: int | None = None

    @abstractmethod
    def modules(self) -> Mapping[str, torch.nn.Module]:
        """Return the modules to train, by names that stay the same from run to run."""

    @abstractmethod
    def step(self, step: int, generator: torch.Generator) -> Mapping[str, torch.Tensor | float]:
        """Compute the loss of one batch.

        Args:
            step: counts from 0 over all runs of this stage.
            generator: the only source of randomness; dropout and the like may use torch's
                global one, which the loop seeds from it.

        Returns:
            Metrics: scalars by name.  `loss` is a tensor that the loop differentiates, or a
            float when the stage has called backward itself (as for a batch in pieces).  `psnr`
            in decibels is shown too.
        """

    def parameter_groups(self) -> list[dict]:
        """Return the optimiser's groups, each with `params`, `lr` and perhaps a `schedule`.

        A group's own schedule stands in for the stage's.
        """
        parameters = [
            parameter
            for module in self.modules().values()
            for parameter in module.parameters()
            if parameter.requires_grad
        ]
        return [{'params': parameters, 'lr': self.learning_rate}]

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        """Return the optimiser of these groups."""
        return torch.optim.Adam(groups)

    def on_interval(self, fraction: float) -> bool:
        """Do what is due now and then, such as refreshing an occupancy grid or growing a field.

        Args:
            fraction: of the budget done, up to 1 in the last call.

        Returns:
            Whether parameters were replaced, so that the optimiser must be made anew.
        """
        return False

    def extra_state(self) -> dict:
        """Return what else a resumed run needs, as JSON can hold it."""
        return {}

    def load_extra_state(self, state: dict) -> None:
        """Take back `extra_state`; called before the modules' tensors are loaded.

        Raises:
            LearningError: by default for any, because then there is nothing to take it.
        """
        if state:
            raise LearningError(
                f'The checkpoint of stage {self.name} has {sorted(state)}, expected nothing extra.'
            )
