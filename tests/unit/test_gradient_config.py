"""Names and numbers of the gradient refiners."""

import pytest

from posefield.errors import PosefieldError
from posefield.relocalization.refiners.gradient_config import (
    GRADIENT_REFINERS,
    NAMED_RATES,
    LearningRates,
    NefesAConfig,
    NefesBConfig,
    PhotometricConfig,
    gradient_config,
    parse_rates,
)


def test_the_published_rates_have_names():
    assert parse_rates('cambridge') == LearningRates(0.01, 0.1)
    assert parse_rates('seven-scenes') == LearningRates(0.0087, 0.01)
    assert parse_rates('split') == LearningRates(0.01, 0.1)
    for rate in ('0.1', '0.01', '0.003', '0.001'):
        assert parse_rates(f'equal-{rate}') == LearningRates(float(rate), float(rate))


def test_rates_are_read_from_two_numbers():
    assert parse_rates('0.02,0.5') == LearningRates(0.02, 0.5)


@pytest.mark.parametrize('text', ['fast', '', '0.1', '0.1,0.2,0.3', '-0.1,0.1', '0.1,nan', 'x,1'])
def test_other_rates_are_refused_with_the_names(text):
    with pytest.raises(PosefieldError, match=r'ROT,TRANS.*scaled.*split') as refusal:
        parse_rates(text)
    assert repr(text) in str(refusal.value)


def test_rates_come_to_the_field_by_its_scale_or_by_that_of_the_scene():
    absolute = LearningRates(0.01, 0.1).in_field(scene_scale=0.8, field_per_map=0.25)
    assert absolute == LearningRates(0.01, 0.025)
    relative = NAMED_RATES['scaled'].in_field(scene_scale=0.8, field_per_map=0.25)
    assert relative == LearningRates(0.0087, 0.006)


def test_the_paper_s_settings_are_the_defaults():
    assert all(config.iterations == 50 for config in GRADIENT_REFINERS.values())
    mode_a = gradient_config('nefes-a')
    assert (mode_a.rate, mode_a.short_side, mode_a.border_px, mode_a.verify) == (1e-5, 240, 10, 1)
    assert gradient_config('nefes-b') == NefesBConfig(rates=NAMED_RATES['scaled'], verify=False)
    assert gradient_config('photometric-sparse').rays == 1024
    assert gradient_config('photometric-dense').rays is None


def test_iterations_and_rates_replace_the_defaults():
    rates = LearningRates(0.1, 0.2)
    assert gradient_config('nefes-a', 20) == NefesAConfig(iterations=20)
    assert gradient_config('nefes-b', 20, rates) == NefesBConfig(iterations=20, rates=rates)
    assert gradient_config('photometric-dense', rates=rates) == PhotometricConfig(rates=rates)


def test_what_would_do_nothing_is_refused():
    with pytest.raises(PosefieldError, match='nefes-a moves the weights'):
        gradient_config('nefes-a', rates=NAMED_RATES['split'])
    with pytest.raises(PosefieldError, match='at least 1 iteration, found 0'):
        gradient_config('nefes-b', 0)
    with pytest.raises(PosefieldError, match="loss 'huber'"):
        NefesBConfig(loss='huber')
    with pytest.raises(PosefieldError, match='1 ray must be rendered, found 0'):
        PhotometricConfig(rays=0)
