"""The parts of the time, or of the steps, that the stages of a map get."""

from dataclasses import replace

import pytest

from posefield.errors import LearningError
from posefield.relocalization.map_budget import MapBudget, StageLength
from posefield.relocalization.presets import MappingPreset

PRESET = MappingPreset(
    minutes=2.0,
    field_share=0.5,
    features_share=0.1,
    regressor_share=0.05,
    synthesised_per_minute=50,
    features_steps=0.2,
    regressor_steps=0.5,
    synthesised_per_step=0.25,
)


def test_minutes_are_shared_out_and_default_to_the_presets():
    budget = MapBudget.of(PRESET, None, None)
    assert budget.field(spent_s=0.0) == StageLength(seconds=60.0)
    assert budget.features() == StageLength(seconds=12.0)
    assert budget.regressor() == StageLength(seconds=6.0)
    assert budget.synthesised() == 100
    assert budget.to_dict() == {'minutes': 2.0}
    assert MapBudget.of(PRESET, 1.0, None).field(spent_s=0.0) == StageLength(seconds=30.0)


@pytest.mark.parametrize(('spent_s', 'seconds'), [(18.0, 60.0), (30.0, 48.0), (500.0, 30.0)])
def test_slow_photos_take_from_the_field_but_never_more_than_half(spent_s, seconds):
    assert MapBudget.of(PRESET, 2.0, None).field(spent_s).seconds == pytest.approx(seconds)


def test_steps_are_the_same_however_long_anything_takes():
    budget = MapBudget.of(PRESET, None, 40)
    assert budget.field(spent_s=1e6) == StageLength(steps=40)
    assert budget.features() == StageLength(steps=8)
    assert budget.regressor() == StageLength(steps=20)
    assert budget.synthesised() == 10
    assert budget.to_dict() == {'steps': 40}


def test_small_budgets_keep_every_stage_alive():
    budget = MapBudget.of(PRESET, None, 1)
    assert budget.features() == budget.regressor() == StageLength(steps=1)
    assert budget.synthesised() == MapBudget.of(PRESET, 0.01, None).synthesised() == 8


def test_minutes_and_steps_together_are_refused():
    with pytest.raises(LearningError, match='2.0 minutes and 5 steps'):
        MapBudget.of(PRESET, 2.0, 5)
    with pytest.raises(LearningError, match='found 0'):
        MapBudget.of(PRESET, None, 0)


def test_the_published_length_is_left_to_the_stages():
    """All but the compact features, which the paper does not have."""
    budget = MapBudget.of(replace(PRESET, minutes=None), None, None)
    assert budget.field(spent_s=1e6) == budget.regressor() == StageLength()
    assert budget.features() == StageLength(steps=2000)
    assert budget.synthesised() == 400
    assert budget.to_dict() == {}
    assert MapBudget.of(replace(PRESET, minutes=None), 1.0, None).regressor().seconds == 3.0
