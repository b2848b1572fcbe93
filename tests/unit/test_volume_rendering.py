"""Weights of signed distances along rays, and where samples go (watch_it_move.md section 4)."""

import math

import pytest
import torch

from posefield.articulation.volume_rendering import (
    coarse_depths,
    depth_range,
    fine_depths,
    needed_samples,
    rendering_weights,
)

SAMPLES = 128


def _plain_weights(distances, sharpness=600.0):
    """The formulas one after another, in float64."""
    weights, left = [], 1.0
    shares = [1.0 / (1.0 + math.exp(min(700.0, -sharpness * d))) for d in distances]
    for share, after in zip(shares[:-1], shares[1:], strict=True):
        alpha = max(0.0, (share - after) / (share + 1e-10))
        weights.append(alpha * left)
        left *= 1.0 - alpha
    return [*weights, 0.0]


def _sphere_ray(miss, radius=0.2, dtype=torch.float64):
    """Distances along a ray that passes a sphere's centre at a distance, from 1 to 2."""
    along = torch.linspace(-0.5, 0.5, SAMPLES, dtype=dtype)
    return (along.square() + miss**2).sqrt() - radius


@pytest.mark.parametrize('miss', [0.0, 0.1, 0.199, 0.201, 0.3])
def test_weights_are_those_of_the_formulas(miss):
    distances = _sphere_ray(miss)
    expected = torch.tensor(_plain_weights(distances.tolist()), dtype=torch.float64)
    torch.testing.assert_close(rendering_weights(distances[None])[0], expected)
    single = rendering_weights(distances.float()[None])[0].double()
    torch.testing.assert_close(single, expected, atol=2e-5, rtol=0)


def test_a_ray_through_a_closed_surface_loses_all_light():
    total = rendering_weights(_sphere_ray(0.0)[None]).sum()
    assert 0.0 <= 1.0 - float(total) < 2e-9
    assert float(rendering_weights(_sphere_ray(0.3)[None]).sum()) < 1e-12


@pytest.mark.parametrize('distance', [-0.01, -0.002, 0.0, 0.002, 0.005, 0.01])
def test_a_grazing_ray_loses_as_much_as_its_least_distance_says(distance):
    total = rendering_weights(_sphere_ray(0.2 + distance)[None]).sum()
    share = 1.0 / (1.0 + math.exp(-600.0 * float(_sphere_ray(0.2 + distance).min())))
    assert float(total) == pytest.approx(1.0 - share, abs=1e-6)


def test_weights_are_where_the_ray_enters_and_never_at_the_end():
    weights = rendering_weights(_sphere_ray(0.0)[None])[0]
    entry = (-0.2 + 0.5) * (SAMPLES - 1)
    assert abs(int(weights.argmax()) - entry) <= 1.5
    assert weights[-1] == 0
    # A ray that ends inside has weight only where it went in.
    inside = rendering_weights(torch.tensor([[0.1, 0.1, -0.1, -0.2]]))[0]
    torch.testing.assert_close(inside, torch.tensor([0.0, 1.0, 0.0, 0.0]))


def test_gradients_are_finite_everywhere_and_right():
    distances = torch.cat(
        [torch.linspace(1.0, -1.0, 40), torch.linspace(-1.0, 1.0, 40)]
    ).requires_grad_()
    rendering_weights(distances[None]).square().sum().backward()
    assert distances.grad.isfinite().all()
    smooth = (0.01 * torch.randn(3, 9, generator=torch.Generator().manual_seed(0))).double()
    assert torch.autograd.gradcheck(rendering_weights, smooth.requires_grad_())


def test_the_range_goes_around_all_centres_and_stays_beyond_the_near_plane():
    near, far = depth_range(torch.tensor([[2.0, 3.0], [1.2, 1.4], [-3.0, -2.0]]))
    torch.testing.assert_close(near, torch.tensor([1.5, 1.0, 1.0]))
    # Where all parts have left behind the camera there still is a range.
    torch.testing.assert_close(far, torch.tensor([3.5, 1.9, 1.5]))


def test_coarse_depths_are_equally_spaced_with_both_ends():
    depths = coarse_depths(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]), 5)
    torch.testing.assert_close(depths[1], torch.tensor([2.0, 2.5, 3.0, 3.5, 4.0]))


def test_fine_depths_fall_into_intervals_by_their_weights():
    coarse = torch.linspace(1.0, 2.0, 5)[None]
    weights = torch.tensor([[0.0, 0.25, 0.75, 0.0, 0.0]])
    draws = torch.rand(1, 4000, generator=torch.Generator().manual_seed(0))
    depths = fine_depths(coarse, weights, draws)[0]
    assert depths.shape == (4005,)
    assert (depths.diff() >= 0).all()
    added = depths[(depths > 1.25) & (depths < 1.75) & (depths != 1.5)]
    assert len(added) == 4000
    assert float((added < 1.5).float().mean()) == pytest.approx(0.25, abs=0.02)
    # Evenly in their interval.
    second = added[added > 1.5]
    assert float(second.mean()) == pytest.approx(1.625, abs=0.005)
    assert float(second.min()) < 1.501
    assert float(second.max()) > 1.749


def test_fine_depths_are_spread_evenly_where_nothing_is():
    coarse = torch.linspace(1.0, 2.0, 64)[None]
    draws = (torch.arange(63) + 0.5)[None] / 63
    depths = fine_depths(coarse, torch.zeros(1, 64), draws)[0]
    expected = 0.5 * (coarse[0, :-1] + coarse[0, 1:])
    torch.testing.assert_close(depths[1::2], expected, atol=1e-4, rtol=0)


def test_a_sample_is_needed_where_it_or_its_follower_can_be_near_the_surface():
    bounds = torch.tensor([[0.5, 0.4, 0.029, 0.5, 0.5, -0.2], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    expected = [[False, True, True, False, True, True], [False] * 6]
    assert needed_samples(bounds).tolist() == expected
    # What is left out takes no light in float32.
    assert rendering_weights(torch.tensor([[0.5, 0.03, 0.4]])).sum() == 0
