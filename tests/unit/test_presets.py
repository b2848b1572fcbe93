"""Presets of maps by name."""

import pytest

from posefield.errors import LearningError
from posefield.relocalization.presets import PRESETS, preset_named


def test_auto_depends_on_the_device():
    assert preset_named('auto', 'cuda') == PRESETS['gpu']
    assert preset_named('auto', 'cpu') == PRESETS['cpu']
    assert preset_named('cpu', 'cuda') == PRESETS['cpu']
    assert preset_named('gpu', 'cpu') == PRESETS['gpu']


def test_an_unknown_preset_is_named_with_what_there_is():
    with pytest.raises(LearningError, match="'huge', expected auto or one of cpu, gpu"):
        preset_named('huge', 'cpu')


@pytest.mark.parametrize('name', sorted(PRESETS))
def test_the_parts_of_a_preset_fit_together(name):
    preset = PRESETS[name]
    shares = preset.field_share + preset.features_share + preset.regressor_share
    assert 0.0 < shares < 0.9  # photos, keyframes and calibration take time too
    assert preset.max_keyframes <= preset.max_photos
    sizes = preset.sizes
    assert sizes.sparse >= sizes.keyframe >= sizes.training
    assert sizes.keyframe >= sizes.depth
    assert 2 <= preset.validation_photos <= preset.max_keyframes


def test_a_larger_preset_has_a_larger_field():
    small, large = PRESETS['cpu'].field, PRESETS['gpu'].field
    assert sum(r**2 for r in large.resolutions) > sum(r**2 for r in small.resolutions)
