"""The three stages in which a feature synthesizer is trained (nefes.md section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
import math

from posefield.errors import LearningError
from posefield.learning.budget import Budget
from posefield.learning.schedules import EpochDecay

# The learning rate falls to a tenth in so many epochs.
DECAY_EPOCHS = 754
# Rate of the poses: 0.9 times as much every 100 epochs, as NeRF-- has it.
POSE_DECAY, POSE_DECAY_EPOCHS = 0.9, 100


@dataclass(frozen=True)
class NefesStageConfig:
    """One stage of training.

    Attributes:
        name: of the stage and its checkpoint.
        epochs: passes over the photos.
        first_epoch: of the learning-rate law 0.1^(e / 754) at the beginning of the stage.
        continues: whether the optimiser keeps the moments of the stage before.
        feature_weight, fusion_weight: of the feature losses against 1 for the colours.
        batch: photos a step.
        rays: random pixels of each photo of a batch, each at most once; without `patches`.
        patches: squares of each photo of a batch, at the same places in all; 0 for single rays.
        patch_size: their side in pixels.
        max_rays: rendered at a time; a batch of more is rendered in pieces, which takes less
            memory.  The fusion network then normalises every piece by itself.
        learning_rate: Adam's, at epoch 0.
        plane_rate: of the planes of a GridField.
        pose_rate: of the training poses, where they are learned.
        transient_weight: of the mean transient density (MlpField).
        distortion_weight, opacity_weight: of what keeps a GridField compact and closed.

    Raises:
        LearningError: for numbers that make no stage.
    """

    name: str
    epochs: int
    first_epoch: int = 0
    continues: bool = False
    feature_weight: float = 0.0
    fusion_weight: float = 0.0
    batch: int = 4
    rays: int = 1536
    patches: int = 0
    patch_size: int = 16
    max_rays: int = 8192
    learning_rate: float = 5e-4
    plane_rate: float = 2e-2
    pose_rate: float = 1e-3
    transient_weight: float = 0.01
    distortion_weight: float = 0.01
    opacity_weight: float = 0.05

    def __post_init__(self):
        counts = ('epochs', 'batch', 'rays', 'patch_size', 'max_rays')
        for name in counts:
            if getattr(self, name) < 1:
                raise LearningError(
                    f'{name} of stage {self.name} must be at least 1, found {getattr(self, name)}.'
                )
        if self.fusion_weight > 0 and not self.patches:
            raise LearningError(
                f'Stage {self.name} learns the fusion, which needs patches, but has none.'
            )

    @property
    def schedule(self) -> EpochDecay:
        """Return the law of the learning rate over the stage."""
        last = self.first_epoch + self.epochs
        return EpochDecay(self.first_epoch, last, 0.1, DECAY_EPOCHS)

    @property
    def pose_schedule(self) -> EpochDecay:
        """Return the law of the rate of the poses over the stage."""
        last = self.first_epoch + self.epochs
        return EpochDecay(self.first_epoch, last, POSE_DECAY, POSE_DECAY_EPOCHS, staircase=True)

    def steps(self, photos: int) -> int:
        """Return the optimiser steps of all epochs."""
        return self.epochs * math.ceil(photos / self.batch)


PHOTOMETRIC = NefesStageConfig('photometric', 600)
FEATURE = NefesStageConfig('feature', 200, feature_weight=0.04)
FUSION = NefesStageConfig(
    'fusion',
    400,
    first_epoch=200,
    continues=True,
    feature_weight=0.02,
    fusion_weight=0.02,
    patches=7,
)
PUBLISHED_STAGES = (PHOTOMETRIC, FEATURE, FUSION)


def stage_budgets(
    stages: Sequence[NefesStageConfig],
    photos: int,
    *,
    steps: int | None = None,
    seconds: float | None = None,
) -> list[Budget]:
    """Return how long to train each stage.

    Args:
        stages: in their order.
        photos: number of training photos.
        steps: of all stages together, shared out by their epochs; so is `seconds`.
        seconds: likewise.  Without either, every stage has all its epochs.
    """
    if steps is None and seconds is None:
        return [Budget(steps=stage.steps(photos)) for stage in stages]
    epochs = sum(stage.epochs for stage in stages)
    shares = [stage.epochs / epochs for stage in stages]
    if seconds is not None:
        return [Budget(seconds=share * seconds) for share in shares]
    return [Budget(steps=max(1, round(share * steps))) for share in shares]
