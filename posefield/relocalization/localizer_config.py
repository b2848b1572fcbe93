"""What a localizer may use, and how."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from posefield.errors import PosefieldError
from posefield.relocalization.refiners.field_alignment import FieldAlignmentConfig
from posefield.relocalization.refiners.gradient_config import (
    GRADIENT_REFINERS,
    GradientConfig,
    LearningRates,
    gradient_config,
)
from posefield.relocalization.refiners.keyframe_alignment import KeyframeAlignmentConfig
from posefield.relocalization.sparse_pose import SparsePoseConfig

RUNGS = ('sparse', 'regressor', 'retrieval', 'field', 'keyframe')
REFINERS = {
    'none': frozenset(),
    'field': frozenset({'field'}),
    'keyframe': frozenset({'keyframe'}),
    'field+keyframe': frozenset({'field', 'keyframe'}),
    **{name: frozenset() for name in GRADIENT_REFINERS},
}


@dataclass(frozen=True)
class LocalizerConfig:
    """What a localizer may use, and how.

    Attributes:
        rungs: names out of RUNGS.
        strong_inliers: an accepted sparse pose with as many needs no other hypothesis, and one
            that is not accepted no second search.
        retrieved: reference views taken as hypotheses.
        narrow_query: a query that covers less than this share of a reference view's width or
            height is compared with enlarged keyframes instead.
        refined: hypotheses that get all rounds of field alignment.
        sought: reference views taken as hypotheses when the few did not lead to a pose that can
            be trusted and no prior is known; 0 for no second search.
        sought_refined: hypotheses of the second search that get all rounds.
        narrow_prior_deg: a prior surer than this (one deviation, of the angle under which the
            median depth's point moves) goes to the fine rounds at once.
        sparse, field, keyframe: settings of the rungs.
        gradient: refines by gradients in place of field alignment; None for field alignment.
    """

    rungs: frozenset[str] = frozenset(RUNGS)
    strong_inliers: int = 40
    retrieved: int = 3
    narrow_query: float = 0.75
    refined: int = 2
    sought: int = 16
    sought_refined: int = 6
    narrow_prior_deg: float = 1.5
    sparse: SparsePoseConfig = SparsePoseConfig()
    field: FieldAlignmentConfig = FieldAlignmentConfig()
    keyframe: KeyframeAlignmentConfig = KeyframeAlignmentConfig()
    gradient: GradientConfig | None = None

    def __post_init__(self):
        unknown = self.rungs - set(RUNGS)
        if unknown:
            raise PosefieldError(
                f'Unknown rung {sorted(unknown)[0]!r}, expected one of {", ".join(RUNGS)}.'
            )

    @classmethod
    def of_map(cls, info: Mapping[str, Any]) -> 'LocalizerConfig':
        """Return what a map was made to be used with.

        Args:
            info: the content of map.json.

        Raises:
            PosefieldError: for rungs or a refiner that do not exist.
        """
        asked = info.get('localizer', {})
        config = cls(rungs=frozenset(asked.get('rungs', RUNGS)))
        refiner = asked.get('refiner')
        return config if refiner is None else config.with_refiner(refiner)

    def without(self, rung: str) -> 'LocalizerConfig':
        """Return the configuration with a rung switched off.

        Raises:
            PosefieldError: for an unknown name.
        """
        if rung not in RUNGS:
            raise PosefieldError(f'Unknown rung {rung!r}, expected one of {", ".join(RUNGS)}.')
        return replace(self, rungs=self.rungs - {rung})

    def with_refiner(
        self, name: str, iterations: int | None = None, rates: LearningRates | None = None
    ) -> 'LocalizerConfig':
        """Return the configuration with these refiners and no others.

        Args:
            name: out of REFINERS.
            iterations, rates: of a gradient refiner; None takes the published ones.

        Raises:
            PosefieldError: for an unknown name, or settings that this refiner does not have.
        """
        if name not in REFINERS:
            raise PosefieldError(
                f'Unknown refiner {name!r}, expected one of {", ".join(REFINERS)}.'
            )
        gradient = None
        if name in GRADIENT_REFINERS:
            gradient = gradient_config(name, iterations, rates)
        elif iterations is not None or rates is not None:
            raise PosefieldError(
                f'The refiner {name} has no iterations or learning rates to set, expected one of '
                f'{", ".join(GRADIENT_REFINERS)}.'
            )
        rungs = (self.rungs - {'field', 'keyframe'}) | REFINERS[name]
        return replace(self, rungs=rungs, gradient=gradient)
