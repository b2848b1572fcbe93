"""Signed distances to ellipsoids (watch_it_move.md 3.1)."""

import math

import numpy as np
import pytest
import torch

from posefield.articulation.ellipsoid_sdf import ellipsoid_distance


def _points(count=2000, scale=0.5, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, 3, generator=generator, dtype=dtype)


def _nearest_distance(point_3, radii_3):
    """The distance to the surface by bisection on the equation of the foot, in float64."""
    x, r2 = np.abs(point_3), radii_3**2
    low, high = -r2.min(), np.linalg.norm(x * radii_3) - r2.min() + 1e-12
    for _ in range(200):
        middle = 0.5 * (low + high)
        above = (r2 * x**2 / (r2 + middle) ** 2).sum() > 1.0
        low, high = (middle, high) if above else (low, middle)
    return float(np.linalg.norm(x - r2 * x / (r2 + 0.5 * (low + high))))


def test_a_sphere_has_the_distance_of_its_formula():
    x = _points()
    outside = x[x.norm(dim=1) > 0.1].double()
    found = ellipsoid_distance(outside, torch.full((3,), 0.1, dtype=torch.float64))
    assert (found - (outside.norm(dim=1) - 0.1)).abs().max() < 1e-7
    single = ellipsoid_distance(outside.float(), torch.full((3,), 0.1))
    assert (single - (outside.norm(dim=1) - 0.1)).abs().max() < 5e-7
    near = 0.1 * torch.nn.functional.normalize(outside.float(), dim=1) * 1.2
    assert (ellipsoid_distance(near, torch.full((3,), 0.1)) - 0.02).abs().max() < 1e-7


def test_distances_equal_a_bisection():
    generator = torch.Generator().manual_seed(3)
    x = _points(200, 0.2, dtype=torch.float64)
    radii = 0.01 + 0.29 * torch.rand(200, 3, generator=generator, dtype=torch.float64)
    found = ellipsoid_distance(x, radii)
    inside = (x / radii).square().sum(1) < 1
    assert 0 < inside.sum() < 200
    for k in range(200):
        expected = _nearest_distance(x[k].numpy(), radii[k].numpy())
        if not inside[k]:
            assert float(found[k]) == pytest.approx(expected, abs=1e-7)
        elif found[k] > -radii[k].min():
            assert float(found[k]) == pytest.approx(-expected, abs=1e-6)


def test_float32_is_as_exact_as_published_outside():
    generator = torch.Generator().manual_seed(4)
    x = _points(20000, 0.3)
    radii = 0.01 + 0.29 * torch.rand(20000, 3, generator=generator)
    outside = (x / radii).square().sum(1) > 1
    single = ellipsoid_distance(x, radii)[outside]
    double = ellipsoid_distance(x.double(), radii.double(), iterations=50)[outside]
    assert (single - double).abs().max() < 5e-7
    assert (single - double).abs().median() < 3e-8


def test_the_gradient_outside_has_norm_one():
    x = _points(500, dtype=torch.float64)
    radii = torch.tensor([0.05, 0.1, 0.3], dtype=torch.float64)
    x = x[(x / radii).square().sum(1) > 1.01].requires_grad_()
    (gradient,) = torch.autograd.grad(ellipsoid_distance(x, radii).sum(), x)
    torch.testing.assert_close(gradient.norm(dim=1), torch.ones(len(x), dtype=torch.float64))


def test_gradients_to_points_and_radii_are_those_of_differences():
    x = torch.tensor([[0.2, -0.1, 0.3], [0.03, 0.04, 0.16]], dtype=torch.float64)
    radii = torch.tensor([0.1, 0.15, 0.2], dtype=torch.float64)
    assert ellipsoid_distance(x, radii)[1] < 0
    tensors = (x.requires_grad_(), radii.requires_grad_())
    gradients = torch.autograd.grad(ellipsoid_distance(*tensors).sum(), tensors)
    step = 1e-6
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(*gradient.shape):
            moved = [[t.detach().clone() for t in tensors] for _ in range(2)]
            for sign, pair in zip((1, -1), moved, strict=True):
                pair[which][index] += sign * step
            slope = sum(
                s * ellipsoid_distance(*p, iterations=50).sum()
                for s, p in zip((1, -1), moved, strict=True)
            ) / (2 * step)
            assert float(gradient[index]) == pytest.approx(float(slope), abs=1e-5)


def test_the_centre_is_the_least_radius_deep_and_its_gradient_is_a_number():
    radii = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.1, 0.1]]).requires_grad_()
    x = torch.zeros(2, 3, requires_grad=True)
    found = ellipsoid_distance(x, radii)
    torch.testing.assert_close(found, torch.tensor([-0.1, -0.1]))
    gradients = torch.autograd.grad(found.sum(), (x, radii))
    assert all(g.isfinite().all() for g in gradients)
    assert gradients[1][0].tolist() == [-1.0, 0.0, 0.0]


def test_no_point_is_deeper_than_the_least_radius_or_not_a_number():
    radii = torch.tensor([0.01, 0.1, 0.3])
    line = torch.linspace(-0.5, 0.5, 201)
    grid = torch.cartesian_prod(line[::4], line[::4], line[::4])
    for points in (grid, _points(5000, 0.1), torch.diag_embed(torch.full((3,), 0.0999))):
        points = points.clone().requires_grad_()
        found = ellipsoid_distance(points, radii)
        assert found.isfinite().all()
        assert found.min() >= -0.01
        (gradient,) = torch.autograd.grad(found.sum(), points)
        assert gradient.isfinite().all()
        inside = (points / radii).square().sum(1) < 1
        assert torch.equal(found < 0, inside)


def test_a_point_on_the_surface_has_distance_zero_and_finite_gradients_of_gradients():
    radii = torch.tensor([0.1, 0.1, 0.1], requires_grad=True)
    x = torch.tensor([[0.1, 0.0, 0.0]], requires_grad=True)
    found = ellipsoid_distance(x, radii)
    assert abs(found.item()) < 1e-7
    (gradient,) = torch.autograd.grad(found.sum(), x, create_graph=True)
    (gradient.norm() - 1.0).square().backward()
    assert x.grad.isfinite().all()
    assert radii.grad.isfinite().all()


def test_shapes_broadcast_as_parts_against_points():
    points, radii = _points(12).reshape(4, 3, 3), torch.full((3, 3), 0.1)
    assert ellipsoid_distance(points, radii).shape == (4, 3)
    assert math.isclose(
        float(ellipsoid_distance(points, radii)[2, 1]),
        float(points[2, 1].norm() - 0.1),
        abs_tol=1e-6,
    )
