"""Where rays are sampled: the spacing, and drawing from a histogram."""

import numpy as np
import pytest
import torch

from posefield.fields.sampling import (
    centred_edges,
    linear_distances,
    refined_distances,
    resampled_edges,
    spacing_to_distance,
    uniform_edges,
)


@pytest.mark.parametrize(('near', 'far'), [(0.02, 30.0), (0.5, 1.5), (3.0, 30.0), (1.9, 2.1)])
def test_spacing_is_monotone_and_spans_the_range(near, far):
    distances = spacing_to_distance(torch.linspace(0.0, 1.0, 400), near, far)
    assert (distances.diff() > 0).all()
    assert float(distances[0]) == pytest.approx(near, rel=1e-4)
    assert float(distances[-1]) == pytest.approx(far, rel=1e-3)


@pytest.mark.parametrize(('near', 'far'), [(0.02, 30.0), (3.0, 30.0)])
def test_spacing_can_be_inverted(near, far):
    """Linear up to distance 2, where contraction begins, and linear in disparity beyond."""

    def warped(distance: np.ndarray) -> np.ndarray:
        return np.where(distance < 2.0, distance / 2.0, 2.0 - 2.0 / np.maximum(distance, 1e-9))

    s = np.linspace(0.0, 1.0, 50)
    distances = spacing_to_distance(torch.from_numpy(s), near, far).numpy()
    ends = warped(np.array([near, far]))
    np.testing.assert_allclose((warped(distances) - ends[0]) / (ends[1] - ends[0]), s, atol=1e-9)


def test_edges_without_a_generator_are_evenly_spaced_and_the_same_for_all_rays():
    edges = uniform_edges(3, 4, None, torch.device('cpu'))
    expected = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).expand(3, -1)
    torch.testing.assert_close(edges, expected)


def test_jitter_moves_each_ray_by_at_most_half_a_step():
    generator = torch.Generator().manual_seed(0)
    edges = uniform_edges(500, 10, generator, torch.device('cpu'))
    assert edges.min() >= 0.0
    assert edges.max() <= 1.0
    assert (edges.diff(dim=1) >= 0).all()
    moved = edges[:, 5] - 0.5
    assert moved.abs().max() <= 0.05 + 1e-6
    assert moved.std() == pytest.approx(0.1 / np.sqrt(12.0), rel=0.1)


def numpy_inverse_cdf(
    edges: np.ndarray, weights: np.ndarray, u: np.ndarray, padding: float
) -> np.ndarray:
    histogram = weights + padding / len(weights)
    cdf = np.concatenate([[0.0], np.cumsum(histogram / histogram.sum())])
    return np.interp(u, cdf, edges)


def test_resampling_inverts_the_cumulative_histogram():
    generator = torch.Generator().manual_seed(1)
    edges = torch.rand(20, 9, generator=generator, dtype=torch.float64).sort(dim=1).values
    weights = torch.rand(20, 8, generator=generator, dtype=torch.float64) ** 4
    found = resampled_edges(edges, weights, 15, None)
    assert found.shape == (20, 16)
    u = (np.arange(16) + 0.5) / 16
    for ray in range(20):
        expected = numpy_inverse_cdf(edges[ray].numpy(), weights[ray].numpy(), u, 0.01)
        np.testing.assert_allclose(found[ray], expected, atol=1e-6)


def test_samples_gather_where_the_weight_is():
    edges = torch.linspace(0.0, 1.0, 11)[None]
    weights = torch.zeros(1, 10)
    weights[0, 7] = 1.0
    found = resampled_edges(edges, weights, 24, None)[0]
    assert ((found > 0.7) & (found < 0.8)).float().mean() > 0.9


def test_an_empty_histogram_is_sampled_evenly():
    edges = torch.linspace(0.0, 1.0, 11)[None]
    found = resampled_edges(edges, torch.zeros(1, 10), 4, None)[0]
    torch.testing.assert_close(found, torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]))


def test_jittered_samples_stay_ascending_and_pass_no_gradient():
    generator = torch.Generator().manual_seed(2)
    edges = torch.linspace(0.0, 1.0, 9).expand(50, -1)
    weights = torch.rand(50, 8, generator=generator, requires_grad=True)
    found = resampled_edges(edges, weights, 12, generator)
    assert not found.requires_grad
    assert (found.diff(dim=1) >= 0).all()
    assert found.min() >= 0.0
    assert found.max() <= 1.0
    assert found[:, 0].std() > 1e-3


def test_distances_are_linear_and_jittered_in_their_own_strata():
    plain = linear_distances(2, 9, 0.0, 4.0, None, torch.device('cpu'))
    torch.testing.assert_close(plain, torch.arange(9).expand(2, -1) * 0.5)
    generator = torch.Generator().manual_seed(5)
    jittered = linear_distances(2000, 9, 0.0, 4.0, generator, torch.device('cpu'))
    edges = centred_edges(plain[:1])
    assert (jittered >= edges[:, :-1]).all()
    assert (jittered <= edges[:, 1:]).all()
    torch.testing.assert_close(
        jittered.mean(dim=0), 0.5 * (edges[0, 1:] + edges[0, :-1]), atol=0.02, rtol=0.0
    )
    assert not torch.allclose(jittered[:, 3:4] - plain[0, 3], jittered[:, 4:5] - plain[0, 4])


def test_refinement_keeps_the_samples_and_adds_those_of_the_inverse_cdf():
    generator = torch.Generator().manual_seed(6)
    distances = torch.rand(10, 12, generator=generator, dtype=torch.float64).sort(dim=1).values
    weights = torch.rand(10, 12, generator=generator, dtype=torch.float64) ** 6
    found = refined_distances(distances, weights, 20, None)
    for ray in range(10):
        t = distances[ray].numpy()
        added = numpy_inverse_cdf(
            0.5 * (t[1:] + t[:-1]), weights[ray, 1:-1].numpy(), np.linspace(0, 1, 20), 1e-5 * 10
        )
        np.testing.assert_allclose(found[ray], np.sort(np.concatenate([t, added])), atol=1e-9)


def test_refinement_gathers_where_the_weight_is_and_carries_no_gradient():
    distances = torch.linspace(0.0, 1.0, 11).expand(50, -1)
    weights = torch.zeros(50, 11, requires_grad=True)
    with torch.no_grad():
        weights[:, 6] = 1.0
    for generator in (None, torch.Generator().manual_seed(7)):
        found = refined_distances(distances, weights, 100, generator)
        assert not found.requires_grad
        assert found.shape == (50, 111)
        assert (found.diff(dim=1) >= 0.0).all()
        near = ((found - 0.6).abs() <= 0.0501).float().mean()
        assert float(near) > 0.85
