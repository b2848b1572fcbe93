"""How long the stages of a map are learned: by the clock, by steps, or as published."""

from dataclasses import dataclass

from posefield.errors import LearningError
from posefield.relocalization.presets import MappingPreset

# Share of the time that reading and matching photos usually takes.
PHOTOS_SHARE = 0.15
MIN_SYNTHESISED = 8
# Random views for retrieval where the stages have their published lengths.
PUBLISHED_SYNTHESISED = 400
# The stages of the paper have no compact features, so their length is ours.
FEATURES_STEPS = 2000


@dataclass(frozen=True)
class StageLength:
    """The length of one stage: steps, or seconds, or neither for as long as is published."""

    steps: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class MapBudget:
    """The time or the steps of a map, and every stage's part of them.

    Attributes:
        preset: which says the parts.
        seconds: of the whole map, or None.
        steps: of the field, or None.
    """

    preset: MappingPreset
    seconds: float | None = None
    steps: int | None = None

    @classmethod
    def of(cls, preset: MappingPreset, minutes: float | None, steps: int | None) -> 'MapBudget':
        """Return the budget of these options; what the preset says where both are None.

        Raises:
            LearningError: when both are given, or one is not positive.
        """
        if minutes is not None and steps is not None:
            raise LearningError(
                f'A map is learned for minutes or for steps, found {minutes} minutes and {steps} '
                'steps.'
            )
        if steps is not None:
            if steps < 1:
                raise LearningError(f'A map needs at least one step, found {steps}.')
            return cls(preset, steps=steps)
        minutes = preset.minutes if minutes is None else minutes
        return cls(preset, seconds=None if minutes is None else 60.0 * minutes)

    def field(self, spent_s: float) -> StageLength:
        """Return the field's part; what was spent beyond the usual comes out of its time."""
        if self.seconds is None:
            return StageLength(self.steps)
        share = self.preset.field_share
        late = max(0.0, spent_s / self.seconds - PHOTOS_SHARE)
        return StageLength(seconds=max(0.5 * share, share - late) * self.seconds)

    def features(self) -> StageLength:
        """Return the part of learned features."""
        if self.steps is None and self.seconds is None:
            return StageLength(FEATURES_STEPS)
        return self._part(self.preset.features_share, self.preset.features_steps)

    def regressor(self) -> StageLength:
        """Return the part of the regressor."""
        return self._part(self.preset.regressor_share, self.preset.regressor_steps)

    def synthesised(self) -> int:
        """Return how many random views are rendered."""
        if self.steps is not None:
            count = self.preset.synthesised_per_step * self.steps
        elif self.seconds is not None:
            count = self.preset.synthesised_per_minute * self.seconds / 60.0
        else:
            count = PUBLISHED_SYNTHESISED
        return max(MIN_SYNTHESISED, round(count))

    def to_dict(self) -> dict[str, float]:
        """Return the budget as map.json says it; nothing where it was learned as published."""
        if self.steps is not None:
            return {'steps': self.steps}
        return {} if self.seconds is None else {'minutes': self.seconds / 60.0}

    def _part(self, share: float, steps_per_step: float) -> StageLength:
        if self.steps is not None:
            return StageLength(steps=max(1, round(steps_per_step * self.steps)))
        return StageLength(seconds=None if self.seconds is None else share * self.seconds)
