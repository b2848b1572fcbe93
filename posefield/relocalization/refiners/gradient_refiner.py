"""Refiners that descend a gradient through the field: NeFeS modes a and b, and photometric."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from posefield.geometry.camera import Camera
from posefield.geometry.poses import as_rigid
from posefield.relocalization.query import Query
from posefield.relocalization.reference_view import to_reference_view
from posefield.relocalization.refiners.adam import Descent, MovingPose, Objective, descend
from posefield.relocalization.refiners.feature_loss import feature_loss
from posefield.relocalization.refiners.field_alignment import FieldAligner
from posefield.relocalization.refiners.gradient_config import (
    GradientConfig,
    LearningRates,
    NefesAConfig,
    NefesBConfig,
    PhotometricConfig,
)
from posefield.relocalization.refiners.nefes import (
    ComparedWindow,
    DifferentiableRegressor,
    FeatureObjective,
    NetworkPose,
)
from posefield.relocalization.refiners.photometric import ColourObjective
from posefield.relocalization.refiners.photometric_gate import Likeness
from posefield.relocalization.refiners.pose_parameters import PoseOffset
from posefield.relocalization.refiners.refined import Refined
from posefield.relocalization.refiners.synthesis import Synthesis


@dataclass(frozen=True)
class RefinedMap:
    """What gradient refiners need of a map.

    Attributes:
        synthesise: binds the map to a query.
        aligner: measures the information of a pose, without moving it.
        regressor: for mode a.
        reference_camera: its view.
        scene_scale: typical distance from the cameras to what they see, field units.
        field_per_map: length of a map unit in the field frame.
    """

    synthesise: Callable[[Query], Synthesis]
    aligner: FieldAligner
    regressor: DifferentiableRegressor
    reference_camera: Camera
    scene_scale: float
    field_per_map: float

    def rates(self, rates: LearningRates) -> LearningRates:
        """Return the rates in field units."""
        return rates.in_field(self.scene_scale, self.field_per_map)


@dataclass(frozen=True)
class Problem:
    """One query's optimisation.

    Attributes:
        moving: the pose and its parameters.
        objective: the loss.
        verified: where the first and the last render are compared with the query, or None.
    """

    moving: MovingPose
    objective: Objective
    verified: ComparedWindow | None


ProblemOf = Callable[[RefinedMap, GradientConfig, Query, torch.Tensor], Problem]


def _mode_a(
    refined_map: RefinedMap, config: NefesAConfig, query: Query, T_start: torch.Tensor
) -> Problem:
    view = torch.from_numpy(to_reference_view(query.image, refined_map.reference_camera))
    view = view.to(T_start.device).permute(2, 0, 1)[None]
    window = ComparedWindow.enlarged(query, config.short_side, config.border_px)
    synthesis = refined_map.synthesise(query)
    return Problem(
        NetworkPose(refined_map.regressor, view, T_start, config.rate),
        FeatureObjective(synthesis, feature_loss(config.loss), window),
        window if config.verify else None,
    )


def _mode_b(
    refined_map: RefinedMap, config: NefesBConfig, query: Query, T_start: torch.Tensor
) -> Problem:
    synthesis = refined_map.synthesise(query)
    window = ComparedWindow(synthesis.camera.height, synthesis.camera.width)
    return Problem(
        PoseOffset(T_start, refined_map.rates(config.rates), config.exponential),
        FeatureObjective(synthesis, feature_loss(config.loss), window),
        window if config.verify else None,
    )


def _photometric(
    refined_map: RefinedMap, config: PhotometricConfig, query: Query, T_start: torch.Tensor
) -> Problem:
    return Problem(
        PoseOffset(T_start, refined_map.rates(config.rates), config.exponential),
        ColourObjective(refined_map.synthesise(query), config.rays, config.seed),
        None,
    )


PROBLEMS: dict[type, ProblemOf] = {
    NefesAConfig: _mode_a,
    NefesBConfig: _mode_b,
    PhotometricConfig: _photometric,
}


class GradientRefiner:
    """Moves poses down the gradient of a loss between the render and the query."""

    def __init__(
        self, refined_map: RefinedMap, config: GradientConfig, device: torch.device | str
    ):
        """Keep the parts.

        Args:
            refined_map: what it renders.
            config: its type says what moves and what is compared.
            device: where it computes.
        """
        self.config = config
        self._map = refined_map
        self._device = device

    def align(self, query: Query, T_field_cam: np.ndarray) -> Refined:
        """Return the pose after all iterations, or the start where it is verified and worse."""
        start = torch.tensor(T_field_cam, dtype=torch.float64, device=self._device)
        problem = PROBLEMS[type(self.config)](self._map, self.config, query, start)
        descent = descend(problem.moving, problem.objective, self.config.iterations)
        T = as_rigid(descent.T_field_cam.cpu().numpy(), 'The refined pose')
        if problem.verified is not None and _became_less_alike(query, descent, problem.verified):
            T = np.array(T_field_cam, dtype=np.float64)
        check = self._map.aligner.check(query, T)
        return Refined(
            T_field_cam=T,
            information_66=check.information_66,
            cost=check.cost,
            inlier_share=check.inlier_share,
            overlap=check.overlap,
            renders=self.config.iterations,
            iterations=self.config.iterations,
        )


def _became_less_alike(query: Query, descent: Descent, window: ComparedWindow) -> bool:
    """Compare the render of the first and of the last iteration with the query."""
    observed = window.of(query.tensor(min(window.height, window.width))[0])
    first, last = (
        Likeness.of(window.of(value.colours_3HW).clamp(0.0, 1.0), observed)
        for value in (descent.first, descent.last)
    )
    return first.fell_to(last)
