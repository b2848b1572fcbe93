"""From evidence to a probability and a threshold."""

import json
import math

import numpy as np
import pytest

from posefield.relocalization.acceptance import (
    AcceptanceModel,
    Evidence,
    Sample,
    fit_acceptance,
    fit_logistic,
)


def evidence(quality: float, generator: np.random.Generator) -> Evidence:
    """Return what a pose of this quality (0 to 1) tends to show."""
    noise = 0.05 * generator.normal(size=5)
    return Evidence(
        render_inliers=0.2 + 0.6 * quality + noise[0],
        render_cost=0.4 - 0.3 * quality + noise[1],
        keyframe_inliers=0.1 + 0.7 * quality + noise[2],
        keyframe_cost=0.4 - 0.3 * quality + noise[3],
        keyframe_overlap=0.5 + 0.3 * quality + noise[4],
        sparse_inliers=int(5 + 100 * quality),
    )


def validation_samples() -> list[Sample]:
    generator = np.random.default_rng(0)
    right = [Sample(evidence(0.9, generator), 0.005, 0.2) for _ in range(20)]
    near = [Sample(evidence(0.6, generator), 0.05, 2.0) for _ in range(10)]
    false = [Sample(evidence(0.1, generator), 0.8, 30.0) for _ in range(20)]
    return right + near + false


def test_right_near_and_false_poses_are_told_apart():
    generator = np.random.default_rng(1)
    some = evidence(0.5, generator)
    assert Sample(some, 0.019, 0.99).is_right
    assert not Sample(some, 0.021, 0.5).is_right
    assert not Sample(some, 0.01, 1.1).is_right
    assert not Sample(some, 0.09, 4.9).is_false
    assert Sample(some, 0.11, 0.0).is_false
    assert Sample(some, 0.0, 5.1).is_false


def test_separable_samples_give_a_finite_model():
    x = np.concatenate([np.linspace(-2, -1, 10), np.linspace(1, 2, 10)])[:, None]
    right = (x[:, 0] > 0).astype(float)
    model = fit_logistic(x, right, right == 0)
    assert np.isfinite([model.bias, *model.weights, model.threshold]).all()
    assert abs(model.weights[0]) < 20.0
    probabilities = np.array([model.probability(row) for row in x])
    assert (probabilities[right == 1] > 0.8).all()
    assert (probabilities[right == 0] < 0.2).all()
    assert (np.diff(probabilities) > 0).all()


def test_the_fit_is_the_minimum_of_the_penalised_likelihood():
    generator = np.random.default_rng(2)
    x = generator.normal(size=(80, 3))
    right = (x @ [1.0, -2.0, 0.5] + generator.normal(size=80) > 0).astype(float)
    model = fit_logistic(x, right, right == 0)
    z = (x - model.mean) / model.deviation

    def loss(bias: float, weights: np.ndarray) -> float:
        p = 1.0 / (1.0 + np.exp(-(bias + z @ weights)))
        likelihood = np.log(np.where(right == 1, p, 1.0 - p)).sum()
        return -likelihood + 0.1505 * (weights**2).sum() + 0.0005 * bias**2

    weights = np.array(model.weights)
    best = loss(model.bias, weights)
    for axis in range(3):
        for step in (0.02, -0.02):
            assert loss(model.bias, weights + step * np.eye(3)[axis]) > best
    assert loss(model.bias + 0.02, weights) > best
    assert loss(model.bias - 0.02, weights) > best


def test_probabilities_are_calibrated_on_overlapping_samples():
    generator = np.random.default_rng(3)
    x = generator.normal(size=(4000, 1))
    truth = 1.0 / (1.0 + np.exp(-(0.5 + 1.5 * x[:, 0])))
    right = (generator.random(4000) < truth).astype(float)
    model = fit_logistic(x, right, np.zeros(4000, bool))
    found = np.array([model.probability(row) for row in x])
    assert np.abs(found - truth).max() < 0.06


@pytest.mark.parametrize('seed', range(5))
def test_the_threshold_is_above_every_false_sample(seed):
    """Also where a false pose looks so good that nothing but it could be accepted."""
    generator = np.random.default_rng(seed)
    x = np.concatenate([generator.normal(3.0, 0.3, 40), generator.normal(-3.0, 0.3, 40)])[:, None]
    right = np.repeat([1.0, 0.0], 40)
    false = right == 0
    x[-1] = 5.0  # the worst pose of all has the best evidence
    model = fit_logistic(x, right, false)
    worst = max(model.probability(row) for row in x[false])
    assert worst > 0.9
    assert worst < model.threshold <= 1.0


def test_without_false_samples_the_threshold_is_even_odds():
    x = np.linspace(0.0, 1.0, 10)[:, None]
    model = fit_logistic(x, (x[:, 0] > 0.5).astype(float), np.zeros(10, bool))
    assert model.threshold == 0.5


@pytest.mark.parametrize('value', [0.0, 1.0])
def test_samples_that_are_all_alike_do_not_break_the_fit(value):
    x = np.tile([0.3, 0.7], (6, 1))
    model = fit_logistic(x, np.full(6, value), np.full(6, value == 0.0))
    probability = model.probability(x[0])
    assert math.isfinite(probability)
    assert (probability > 0.8) == (value == 1.0)


@pytest.mark.parametrize('with_keyframe', [True, False])
@pytest.mark.parametrize('with_sparse', [True, False])
def test_each_set_of_sources_has_its_own_model(with_keyframe, with_sparse):
    model = fit_acceptance(validation_samples())
    generator = np.random.default_rng(9)
    for quality, accepted in ((0.9, True), (0.1, False)):
        shown = evidence(quality, generator)
        kept = Evidence(
            shown.render_inliers,
            shown.render_cost,
            *(
                [shown.keyframe_inliers, shown.keyframe_cost, shown.keyframe_overlap]
                if with_keyframe
                else [None] * 3
            ),
            shown.sparse_inliers if with_sparse else None,
        )
        score, threshold = model.judge(kept, with_keyframe, with_sparse)
        assert (score >= threshold) == accepted


def test_many_sparse_inliers_count_no_more_than_a_hundred():
    few, many, most = (
        Evidence(0.5, 0.2, sparse_inliers=count).vector(False, True) for count in (0, 100, 5000)
    )
    assert few[2] == 0.0
    assert many[2] == most[2] == math.log1p(100)


def test_a_model_survives_json():
    model = fit_acceptance(validation_samples())
    again = AcceptanceModel.from_dict(json.loads(json.dumps(model.to_dict())))
    assert again == model
