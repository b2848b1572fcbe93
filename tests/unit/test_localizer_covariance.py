"""From the information of a camera-frame twist to the covariance that ROS wants."""

import numpy as np
import torch

from posefield.evaluation.metrics import error_twist
from posefield.geometry.poses import invert, retract
from posefield.relocalization.localizer import twist_covariance_in_map
from support.textured_room import look_at

T_MAP_CAM = look_at(np.array([1.0, -2.0, 0.7]), np.array([4.0, 1.0, -0.2]))


def random_information(seed: int) -> np.ndarray:
    """Return an information matrix with strong correlations, metres much surer than radians."""
    generator = np.random.default_rng(seed)
    A = generator.normal(size=(6, 6)) + np.eye(6)
    scale = np.diag([1 / 0.003] * 3 + [1 / 0.01] * 3)
    return scale @ A @ A.T @ scale


def test_the_covariance_is_that_of_the_errors_as_they_are_measured():
    information = random_information(0)
    generator = np.random.default_rng(1)
    twists = generator.multivariate_normal(np.zeros(6), np.linalg.inv(information), size=20_000)
    T_cam_map = torch.from_numpy(invert(T_MAP_CAM)).expand(len(twists), 4, 4)
    truths = invert(retract(T_cam_map, torch.from_numpy(twists)).numpy())
    errors = np.stack([error_twist(T_MAP_CAM, truth) for truth in truths[:4000]])
    found = twist_covariance_in_map(information, T_MAP_CAM[:3, :3])
    nees = (errors * np.linalg.solve(found, errors.T).T).sum(axis=1)
    assert abs(nees.mean() / 6.0 - 1.0) < 0.06
    # Whitened errors are white: every direction and correlation is right, not just the mean.
    whitened = np.linalg.solve(np.linalg.cholesky(found), errors.T)
    np.testing.assert_allclose(np.cov(whitened), np.eye(6), atol=0.1)


def test_the_order_is_position_then_rotation_about_the_axes_of_the_map():
    # A camera looking along the map's x: its depth is the map's x, its down the map's -z.
    T = look_at(np.zeros(3), np.array([1.0, 0.0, 0.0]))
    sigmas = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    found = twist_covariance_in_map(np.diag(1.0 / sigmas**2), T[:3, :3])
    expected = np.array([0.3, 0.1, 0.2, 0.6, 0.4, 0.5])
    np.testing.assert_allclose(found, np.diag(expected**2), atol=1e-8)


def test_an_ill_scaled_information_is_inverted_exactly():
    information = np.diag([1e12, 1e12, 1e12, 1e2, 1e2, 1e2])
    information[0, 3] = information[3, 0] = 0.5 * np.sqrt(1e14)
    found = twist_covariance_in_map(information, np.eye(3))
    sigmas = np.sqrt(np.diag(found))
    expected = np.eye(6)
    expected[0, 3] = expected[3, 0] = -0.5
    np.testing.assert_allclose(found / np.outer(sigmas, sigmas), expected, atol=1e-6)
    np.testing.assert_allclose(sigmas[[0, 1, 3, 4]], [1.1547e-6, 1e-6, 0.11547, 0.1], rtol=1e-4)


def test_a_direction_that_nothing_is_known_of_gets_a_huge_but_finite_variance():
    information = np.diag([1e4, 1e4, 0.0, 1e4, 1e4, 1e4])
    found = twist_covariance_in_map(information, T_MAP_CAM[:3, :3])
    assert np.isfinite(found).all()
    values, axes = np.linalg.eigh(found)
    assert values.min() > 0.0
    assert values[-1] > 1e8
    along = T_MAP_CAM[:3, 2]
    assert abs(axes[:3, -1] @ along) > 0.999


def test_a_singular_information_of_correlated_directions_stays_positive():
    information = np.full((6, 6), 1e4) + 1e-9 * np.eye(6)
    found = twist_covariance_in_map(information, T_MAP_CAM[:3, :3])
    assert np.linalg.eigvalsh(0.5 * (found + found.T)).min() > 0.0
