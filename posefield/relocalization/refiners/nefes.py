"""NeFeS refinement: rendered features against the query's (sections 5.1 to 5.3)."""

import copy
from dataclasses import dataclass
from typing import Protocol

import torch

from posefield.relocalization.query import Query
from posefield.relocalization.refiners.adam import Evaluation
from posefield.relocalization.refiners.feature_loss import FeatureLoss
from posefield.relocalization.refiners.synthesis import Synthesis, resized_maps


@dataclass(frozen=True)
class ComparedWindow:
    """Where maps are compared: brought to a size, then without a border, in pixels."""

    height: int
    width: int
    border: int = 0

    @classmethod
    def enlarged(cls, query: Query, short_side: int, border_px: int) -> 'ComparedWindow':
        """Return the window of mode a; a query smaller than `short_side` has a smaller border."""
        camera = query.sized(short_side).camera
        share = min(camera.height, camera.width) / short_side
        return cls(camera.height, camera.width, round(border_px * min(share, 1.0)))

    def of(self, maps_CHW: torch.Tensor) -> torch.Tensor:
        """Return what is compared of maps (C, h, w) of another size."""
        maps = resized_maps(maps_CHW, self.height, self.width)
        rows = slice(self.border, self.height - self.border)
        return maps[:, rows, self.border : self.width - self.border]


class FeatureObjective:
    """The cosine loss between the features rendered at a pose and those of the query."""

    def __init__(self, synthesis: Synthesis, loss: FeatureLoss, window: ComparedWindow):
        """Extract the query's features once.

        Args:
            synthesis: map and query.
            loss: of two feature maps.
            window: where they are compared.
        """
        self._synthesis = synthesis
        self._loss = loss
        self._window = window
        with torch.no_grad():
            observed = synthesis.observed_features(window.height, window.width)
            self._observed = window.of(observed)

    def __call__(self, T_field_cam: torch.Tensor) -> Evaluation:
        """Return the loss at a pose (4, 4)."""
        view = self._synthesis.view(T_field_cam.to(torch.float32))
        rendered = self._window.of(view.features_CHW)
        return Evaluation(self._loss(rendered, self._observed), view.colours_3HW)


class DifferentiableRegressor(Protocol):
    """The part of a regressor that mode a needs."""

    def poses(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Return rigid poses T_field_cam (B, 4, 4), differentiable in the weights."""


class NetworkPose:
    """A pose that Adam moves by the weights of a copy of the regressor (mode a).

    The pose is T_start F0(I)^-1 F(I): the change of the network since the first iteration moves
    the start.  From the regressor's own pose this is F(I), the paper's refinement.  The copy
    runs in evaluation mode, so that batch statistics stay and dropout does not disturb.

    Attributes:
        network: the copy.
    """

    def __init__(
        self,
        regressor: DifferentiableRegressor,
        view_13HW: torch.Tensor,
        T_start: torch.Tensor,
        rate: float,
    ):
        """Copy the regressor and begin at a pose.

        Args:
            regressor: stays as it is.
            view_13HW: the query as the regressor sees it.
            T_start: (4, 4) camera to world, float64.
            rate: of Adam.
        """
        self.network = copy.deepcopy(regressor).eval().requires_grad_(True)
        self._view = view_13HW
        self.parameters = list(self.network.parameters())
        self.optimiser = torch.optim.Adam(self.parameters, lr=rate)
        with torch.no_grad():
            self._T_start_regressed = T_start @ torch.linalg.inv(self._regressed(T_start.dtype))

    def pose(self) -> torch.Tensor:
        """Return the pose (4, 4), differentiable in the weights."""
        return self._T_start_regressed @ self._regressed(self._T_start_regressed.dtype)

    def _regressed(self, dtype: torch.dtype) -> torch.Tensor:
        return self.network.poses(self._view)[0].to(dtype)
