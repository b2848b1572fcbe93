"""What all steps of learning one map share."""

from dataclasses import dataclass, field

import numpy as np

from posefield.learning.loop import StageResult
from posefield.learning.run import LearningRun
from posefield.learning.stage import Stage
from posefield.relocalization.map_budget import MapBudget, StageLength
from posefield.relocalization.presets import MappingPreset


@dataclass
class MappingRun(LearningRun):
    """One run of mapping.

    Attributes:
        preset: how the map is made.
        budget: how long its stages are.
        random: of poses; the same in every process.
    """

    preset: MappingPreset = field(kw_only=True)
    budget: MapBudget = field(kw_only=True)
    random: np.random.Generator = field(init=False)

    def __post_init__(self):
        super().__post_init__()
        self.random = np.random.default_rng(self.seed)

    def train(self, stage: Stage, length: StageLength) -> StageResult:
        """Train a stage in the one loop, with this run's checkpoints."""
        return self.run_stage(stage, steps=length.steps, seconds=length.seconds)
