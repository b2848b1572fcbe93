"""Contraction of space, frequency encodings and spherical harmonics."""

import math

import torch

from posefield.fields.encodings import contract, frequency_encoding, spherical_harmonics


def test_contraction_is_the_identity_in_the_unit_box():
    points = 2.0 * torch.rand(100, 3, generator=torch.Generator().manual_seed(0)) - 1.0
    torch.testing.assert_close(contract(points), points)


def test_contraction_keeps_all_of_space_in_the_box_of_half_width_two():
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(1000, 3, generator=generator) * torch.logspace(-2, 6, 1000)[:, None]
    contracted = contract(points)
    assert contracted.abs().max() <= 2.0
    largest = points.abs().amax(dim=1)
    expected = torch.where(largest > 1.0, 2.0 - 1.0 / largest, largest)
    torch.testing.assert_close(contracted.abs().amax(dim=1), expected)
    torch.testing.assert_close(
        torch.nn.functional.normalize(contracted), torch.nn.functional.normalize(points)
    )


def test_contraction_is_continuous_at_the_box_and_has_finite_gradients():
    inside, outside = torch.tensor([[0.999999, 0.2, -0.3]]), torch.tensor([[1.000001, 0.2, -0.3]])
    torch.testing.assert_close(contract(inside), contract(outside), atol=1e-5, rtol=0.0)
    points = torch.tensor([[0.0, 0.0, 0.0], [1e5, -3.0, 0.5]], requires_grad=True)
    contract(points).sum().backward()
    assert torch.isfinite(points.grad).all()


def test_spherical_harmonics_are_orthonormal_over_the_sphere():
    generator = torch.Generator().manual_seed(2)
    directions = torch.nn.functional.normalize(torch.randn(400_000, 3, generator=generator))
    harmonics = spherical_harmonics(directions)
    assert harmonics.shape == (400_000, 9)
    gram = 4.0 * torch.pi * harmonics.T @ harmonics / len(directions)
    torch.testing.assert_close(gram, torch.eye(9), atol=0.02, rtol=0.0)


def test_odd_degrees_change_sign_with_the_direction():
    directions = torch.nn.functional.normalize(
        torch.randn(50, 3, generator=torch.Generator().manual_seed(3))
    )
    there, back = spherical_harmonics(directions), spherical_harmonics(-directions)
    sign = torch.tensor([1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    torch.testing.assert_close(back, sign * there)


def test_frequency_encodings_have_the_published_lengths():
    points = torch.randn(7, 5, 3, generator=torch.Generator().manual_seed(4))
    assert frequency_encoding(points, 10).shape == (7, 5, 63)
    assert frequency_encoding(points, 4).shape == (7, 5, 27)
    assert torch.equal(frequency_encoding(points, 0), points)


def test_frequencies_double_from_one_without_pi():
    x = [0.3, -1.2, 2.0]
    expected = list(x)
    for k in range(3):
        expected += [math.sin(2**k * v) for v in x] + [math.cos(2**k * v) for v in x]
    found = frequency_encoding(torch.tensor([x], dtype=torch.float64), 3)[0]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
