"""The stages of training a feature synthesizer: rates, epochs and budgets."""

from dataclasses import replace

import pytest

from posefield.errors import LearningError
from posefield.relocalization.nefes_config import (
    FEATURE,
    FUSION,
    PHOTOMETRIC,
    PUBLISHED_STAGES,
    NefesStageConfig,
    stage_budgets,
)


def _rate(stage: NefesStageConfig, fraction: float) -> float:
    return stage.learning_rate * stage.schedule(fraction)


def test_the_published_rates():
    assert _rate(PHOTOMETRIC, 0.0) == pytest.approx(5e-4)
    assert _rate(PHOTOMETRIC, 1.0) == pytest.approx(8e-5, rel=0.01)
    assert _rate(FEATURE, 0.0) == pytest.approx(5e-4)
    assert _rate(FEATURE, 1.0) == pytest.approx(2.7e-4, rel=0.01)
    assert _rate(FUSION, 0.0) == _rate(FEATURE, 1.0)
    assert _rate(FUSION, 1.0) == _rate(PHOTOMETRIC, 1.0)


def test_the_published_rates_at_every_epoch():
    for epoch in range(600):
        expected = 5e-4 * 0.1 ** (epoch / 754)
        assert _rate(PHOTOMETRIC, epoch / 600) == pytest.approx(expected)
        if epoch >= 200:
            assert _rate(FUSION, (epoch - 200) / 400) == pytest.approx(expected)


def test_the_rate_of_the_poses_falls_every_hundred_epochs():
    rates = [PHOTOMETRIC.pose_schedule((epoch + 0.5) / 600) for epoch in range(600)]
    assert rates == pytest.approx([0.9 ** (epoch // 100) for epoch in range(600)])
    assert FUSION.pose_schedule(0.01) == pytest.approx(0.9**2)


def test_the_published_weights_and_sizes():
    weights = [(stage.feature_weight, stage.fusion_weight) for stage in PUBLISHED_STAGES]
    assert weights == [(0.0, 0.0), (0.04, 0.0), (0.02, 0.02)]
    assert [stage.epochs for stage in PUBLISHED_STAGES] == [600, 200, 400]
    assert [stage.patches for stage in PUBLISHED_STAGES] == [0, 0, 7]
    assert {stage.rays for stage in PUBLISHED_STAGES} == {1536}
    assert FUSION.patches * FUSION.patch_size**2 == 1792
    assert [stage.continues for stage in PUBLISHED_STAGES] == [False, False, True]


def test_epochs_become_steps():
    budgets = stage_budgets(PUBLISHED_STAGES, photos=10)
    assert [budget.steps for budget in budgets] == [600 * 3, 200 * 3, 400 * 3]


def test_a_budget_is_shared_out_by_the_epochs():
    by_steps = stage_budgets(PUBLISHED_STAGES, photos=10, steps=1200)
    assert [budget.steps for budget in by_steps] == [600, 200, 400]
    by_time = stage_budgets(PUBLISHED_STAGES, photos=10, seconds=60.0)
    assert [budget.seconds for budget in by_time] == pytest.approx([30.0, 10.0, 20.0])
    assert [b.steps for b in stage_budgets(PUBLISHED_STAGES, 10, steps=2)] == [1, 1, 1]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'epochs': 0}, 'epochs of stage fusion must be at least 1, found 0'),
        ({'batch': -1}, 'batch of stage fusion'),
        ({'patches': 0}, 'fusion, which needs patches'),
    ],
)
def test_impossible_stages_are_refused(changes, message):
    with pytest.raises(LearningError, match=message):
        replace(FUSION, **changes)
