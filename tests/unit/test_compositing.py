"""Volume rendering sums against loops that are too slow to be wrong."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import torch

from posefield.fields.compositing import (
    compositing_weights,
    distortion_loss,
    interlevel_loss,
    joint_weights,
    median_depth,
    outer_bound,
)


def random_rays(rays: int, samples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return edges (R, S + 1) in [0, 1] and densities (R, S), some of them 0."""
    generator = torch.Generator().manual_seed(seed)
    edges = torch.rand(rays, samples + 1, generator=generator).sort(dim=1).values
    densities = 20.0 * torch.rand(rays, samples, generator=generator)
    return edges, densities * (torch.rand(rays, samples, generator=generator) > 0.3)


def normalised_weights(edges: torch.Tensor, densities: torch.Tensor) -> torch.Tensor:
    return compositing_weights(densities, edges[:, 1:] - edges[:, :-1])


def test_weights_are_what_light_loses_interval_by_interval():
    edges, densities = random_rays(5, 12, seed=0)
    lengths = edges[:, 1:] - edges[:, :-1]
    weights = compositing_weights(densities, lengths)
    for ray in range(5):
        light = 1.0
        for k in range(12):
            left = light * math.exp(-float(densities[ray, k] * lengths[ray, k]))
            assert float(weights[ray, k]) == pytest.approx(light - left, abs=1e-6)
            light = left


@given(st.integers(0, 10_000), st.floats(0.0, 1e4))
@settings(max_examples=50, deadline=None)
def test_weights_never_sum_to_more_than_one(seed, factor):
    edges, densities = random_rays(3, 8, seed)
    weights = normalised_weights(edges, factor * densities)
    assert (weights >= 0).all()
    assert (weights.sum(dim=1) <= 1.0 + 1e-5).all()


def test_a_wall_stops_everything_behind_it():
    densities = torch.tensor([[0.0, 1e6, 5.0]])
    torch.testing.assert_close(
        compositing_weights(densities, torch.ones(1, 3)), torch.tensor([[0.0, 1.0, 0.0]])
    )


def test_an_opaque_interval_loses_no_digits():
    """Light before a wall is a sum over what is before it, whatever the wall's density is."""
    densities = torch.tensor([[0.3, 0.2, 3e6, 1.0]])
    weights = compositing_weights(densities, torch.ones(1, 4))
    torch.testing.assert_close(float(weights[0, 2]), math.exp(-0.5), atol=1e-6, rtol=0.0)


def test_static_and_transient_parts_share_the_light():
    edges, static = random_rays(4, 7, seed=8)
    transient = random_rays(4, 7, seed=9)[1]
    lengths = edges[:, 1:] - edges[:, :-1]
    joint = joint_weights(static, transient, lengths)
    for ray in range(4):
        light = 1.0
        for k in range(7):
            length = float(lengths[ray, k])
            of_static = 1.0 - math.exp(-length * float(static[ray, k]))
            of_transient = 1.0 - math.exp(-length * float(transient[ray, k]))
            assert float(joint.static[ray, k]) == pytest.approx(light * of_static, abs=1e-6)
            assert float(joint.transient[ray, k]) == pytest.approx(light * of_transient, abs=1e-6)
            left = light * (1.0 - of_static) * (1.0 - of_transient)
            assert float(joint.total[ray, k]) == pytest.approx(light - left, abs=1e-6)
            light = left
    alone = joint_weights(static, torch.zeros_like(static), lengths)
    torch.testing.assert_close(alone.total, compositing_weights(static, lengths))
    assert alone.transient.abs().max() == 0.0


@given(st.integers(0, 10_000), st.floats(0.0, 1e4), st.floats(0.0, 1e4))
@settings(max_examples=50, deadline=None)
def test_both_parts_together_never_weigh_more_than_one(seed, static_factor, transient_factor):
    edges, static = random_rays(3, 8, seed)
    transient = random_rays(3, 8, seed + 1)[1]
    lengths = edges[:, 1:] - edges[:, :-1]
    joint = joint_weights(static_factor * static, transient_factor * transient, lengths)
    assert (joint.total.sum(dim=1) <= 1.0 + 1e-5).all()
    assert (joint.total + 1e-6 >= torch.maximum(joint.static, joint.transient)).all()
    assert (joint.static + joint.transient + 1e-6 >= joint.total).all()


def slow_median(weights: list[float], edges: list[float]) -> float:
    half, gathered = sum(weights) / 2, 0.0
    for k, weight in enumerate(weights):
        if gathered + weight >= half:
            return edges[k] + (half - gathered) / weight * (edges[k + 1] - edges[k])
        gathered += weight
    raise AssertionError('half of the weight is always reached')


def test_median_depth_halves_the_weight():
    edges, densities = random_rays(40, 16, seed=1)
    weights = normalised_weights(edges, densities) + 1e-4
    found = median_depth(weights, edges)
    for ray in range(40):
        expected = slow_median(weights[ray].tolist(), edges[ray].tolist())
        assert float(found[ray]) == pytest.approx(expected, abs=1e-4)


def test_median_depth_ignores_a_small_far_weight_and_the_opacity():
    edges = torch.tensor([[1.0, 2.0, 3.0, 100.0]])
    weights = torch.tensor([[0.0, 0.8, 0.2]])
    expected = torch.tensor([2.0 + 0.5 / 0.8])
    torch.testing.assert_close(median_depth(weights, edges), expected)
    torch.testing.assert_close(median_depth(0.3 * weights, edges), expected)


def test_median_depth_of_an_empty_ray_is_finite():
    assert torch.isfinite(median_depth(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 2.0, 3.0]])))


def test_outer_bound_sums_all_proposal_intervals_that_touch():
    edges, _ = random_rays(10, 7, seed=2)
    proposal_edges, densities = random_rays(10, 5, seed=3)
    proposal_weights = normalised_weights(proposal_edges, densities)
    found = outer_bound(edges, proposal_edges, proposal_weights)
    for ray in range(10):
        for k in range(7):
            low, high = edges[ray, k], edges[ray, k + 1]
            expected = sum(
                float(proposal_weights[ray, j])
                for j in range(5)
                if proposal_edges[ray, j] < high and proposal_edges[ray, j + 1] > low
            )
            assert float(found[ray, k]) == pytest.approx(expected, abs=1e-5)


def test_a_proposal_equal_to_the_field_costs_nothing():
    edges, densities = random_rays(6, 9, seed=4)
    weights = normalised_weights(edges, densities)
    assert float(interlevel_loss(edges, weights, edges, weights)) == pytest.approx(0.0, abs=1e-9)


def test_interlevel_loss_moves_only_the_proposal_and_towards_the_field():
    edges = torch.linspace(0.0, 1.0, 5)[None]
    weights = torch.tensor([[0.0, 0.0, 0.9, 0.0]], requires_grad=True)
    proposal = torch.tensor([[0.3, 0.3, 0.1, 0.2]], requires_grad=True)
    loss = interlevel_loss(edges, weights, edges, proposal)
    assert loss.item() == pytest.approx(0.8**2 / 0.9, rel=1e-4)
    loss.backward()
    assert weights.grad is None
    assert float(proposal.grad[0, 2]) < 0.0
    assert proposal.grad[0, [0, 1, 3]].abs().max() == 0.0


def test_distortion_loss_equals_the_double_sum():
    edges, densities = random_rays(4, 10, seed=5)
    weights = normalised_weights(edges, densities)
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    total = 0.0
    for ray in range(4):
        for i in range(10):
            for j in range(10):
                distance = abs(float(middles[ray, i] - middles[ray, j]))
                total += float(weights[ray, i] * weights[ray, j]) * distance
            total += float(weights[ray, i]) ** 2 * float(edges[ray, i + 1] - edges[ray, i]) / 3
    assert float(distortion_loss(weights, edges)) == pytest.approx(total / 4, rel=1e-4)
