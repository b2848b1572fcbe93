"""Masses of links against what numbers of points and textbooks say."""

import numpy as np
import pytest

from posefield.articulation.inertia import (
    MASSLESS_MASS,
    ellipsoid_inertial,
    link_inertial,
    sum_of_inertials,
)
from posefield.articulation.link_geometry import Ellipsoid
from posefield.errors import ArticulationError
from support.articulated import pose

GREY = np.full(3, 0.5)


def test_sphere_has_the_inertia_of_the_textbook():
    found = ellipsoid_inertial(Ellipsoid(np.full(3, 0.2), np.eye(4), GREY), 1000.0)
    assert found.mass == pytest.approx(1000.0 * 4 / 3 * np.pi * 0.2**3)
    np.testing.assert_allclose(found.inertia_33, 0.4 * found.mass * 0.2**2 * np.eye(3))


def test_two_posed_ellipsoids_have_the_inertia_of_points_inside_them():
    generator = np.random.default_rng(0)
    ellipsoids = [
        Ellipsoid(np.array([0.1, 0.2, 0.3]), pose([0.3, -1, 2], [1.0, 0.5, -0.2]), GREY),
        Ellipsoid(np.array([0.2, 0.1, 0.1]), pose([1, 0, 0.4], [-1.0, 0.2, 0.4]), GREY),
    ]
    points, masses = [], []
    for item in ellipsoids:
        cube = generator.uniform(-1.0, 1.0, size=(200000, 3))
        inside = cube[np.linalg.norm(cube, axis=1) < 1.0] * item.radii_3
        points.append(inside @ item.T_link_part[:3, :3].T + item.T_link_part[:3, 3])
        masses.append(np.full(len(inside), 8.0 * 500.0 * np.prod(item.radii_3) / 200000))
    points_N3, masses_N = np.concatenate(points), np.concatenate(masses)
    found = sum_of_inertials([ellipsoid_inertial(item, 500.0) for item in ellipsoids])
    centre = masses_N @ points_N3 / masses_N.sum()
    levers = points_N3 - centre
    squares = (levers**2).sum(1)
    inertia = (masses_N * squares).sum() * np.eye(3) - (levers.T * masses_N) @ levers
    assert found.mass == pytest.approx(masses_N.sum(), rel=0.01)
    np.testing.assert_allclose(found.centre_3, centre, atol=0.01)
    np.testing.assert_allclose(found.inertia_33, inertia, atol=0.01 * np.abs(inertia).max())


@pytest.mark.parametrize('radii', [None, (1e-4, 1e-4, 1e-4), (1.0, 1e-5, 1e-5), (0.5, 0.2, 0.01)])
def test_every_link_can_be_simulated(radii):
    """A body's principal moments are positive and none exceeds the sum of the others."""
    T = pose([1, 2, 3], [0, 0, 1])
    ellipsoids = [Ellipsoid(np.array(radii), T, GREY)] if radii else []
    found = link_inertial(ellipsoids, 1000.0)
    moments = np.linalg.eigvalsh(found.inertia_33)
    assert found.mass >= MASSLESS_MASS
    assert moments[0] >= 1e-7
    assert moments[2] <= moments[0] + moments[1]


@pytest.mark.parametrize(
    'radii', [(0.1, 0.0, 0.1), (0.1, -0.2, 0.1), (0.1, np.nan, 0.1), (0.1, 0.1)]
)
def test_ellipsoids_without_a_volume_are_refused(radii):
    with pytest.raises(ArticulationError, match='3 positive numbers'):
        Ellipsoid(np.array(radii), np.eye(4), GREY)
