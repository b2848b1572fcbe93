"""Photometric refinement: rendered colours against the query's (NeFeS section 5.4)."""

import torch

from posefield.relocalization.refiners.adam import Evaluation
from posefield.relocalization.refiners.synthesis import Synthesis


class ColourObjective:
    """The mean squared error of colours over the whole image, or over random rays of it."""

    def __init__(self, synthesis: Synthesis, rays: int | None, seed: int):
        """Prepare the query once.

        Args:
            synthesis: map and query.
            rays: random pixels in each evaluation, without replacement; None takes all.
            seed: of the pixels.
        """
        self._synthesis = synthesis
        observed = synthesis.observed_colours()
        self._observed_N3 = observed.flatten(1).T
        self._rays = None if rays is None else min(rays, len(self._observed_N3))
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, T_field_cam: torch.Tensor) -> Evaluation:
        """Return the loss at a pose (4, 4)."""
        rows = self._rows()
        rendered = self._synthesis.colours(T_field_cam.to(torch.float32), rows)
        observed = self._observed_N3 if rows is None else self._observed_N3[rows]
        return Evaluation(((rendered - observed) ** 2).mean())

    def _rows(self) -> torch.Tensor | None:
        if self._rays is None:
            return None
        order = torch.randperm(len(self._observed_N3), generator=self._generator)
        return order[: self._rays].to(self._observed_N3.device)
