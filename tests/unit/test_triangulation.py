"""Points from observations by known cameras."""

import numpy as np
import pytest

from posefield.relocalization.triangulation import Observations, View, triangulate
from support.point_cloud import CAMERA, arc_of_views, cloud, projected
from support.textured_room import look_at


def observed(views: list[View], points_N3: np.ndarray) -> Observations:
    """Return what all views see of all points, without noise."""
    count = len(points_N3)
    return Observations(
        np.repeat(np.arange(len(views)), count),
        np.tile(np.arange(count), len(views)),
        np.concatenate([projected(view, points_N3) for view in views]),
    )


def noisy(observations: Observations, sigma_px: float, seed: int) -> Observations:
    noise = sigma_px * np.random.default_rng(seed).normal(size=observations.pixels_M2.shape)
    return Observations(
        observations.frames_M, observations.points_M, observations.pixels_M2 + noise
    )


def test_exact_observations_give_exact_points():
    points = cloud(100, seed=0)
    views = arc_of_views(5)
    result = triangulate(views, observed(views, points), 100)
    np.testing.assert_allclose(result.points_N3, points, atol=1e-6)
    assert result.errors_M.max() < 1e-4


def test_cameras_of_different_intrinsics_agree():
    points = cloud(20, seed=1)
    views = arc_of_views(4)
    views[1] = View(CAMERA.resized(320, 200), views[1].T_map_cam)
    result = triangulate(views, observed(views, points), 20)
    np.testing.assert_allclose(result.points_N3, points, atol=1e-6)


@pytest.mark.parametrize(('count', 'sigma_px'), [(3, 1.0), (8, 1.0), (8, 0.3)])
def test_the_covariance_is_honest(count, sigma_px):
    points = cloud(1500, seed=2)
    views = arc_of_views(count)
    result = triangulate(
        views, noisy(observed(views, points), sigma_px, seed=3), 1500, pixel_sigma=sigma_px
    )
    errors = result.points_N3 - points
    scaled = np.linalg.solve(result.covariances_N33, errors[..., None])[..., 0]
    nees = (errors * scaled).sum(axis=1)
    assert 0.7 < np.mean(nees) / 3.0 < 1.4
    # Depth, the worst direction, must not hide behind the good ones.
    _, axes = np.linalg.eigh(result.covariances_N33)
    along = (errors * axes[:, :, 2]).sum(axis=1)
    sigma = np.sqrt(np.linalg.eigvalsh(result.covariances_N33)[:, 2])
    assert 0.7 < np.mean((along / sigma) ** 2) < 1.4


def test_a_wild_observation_hardly_moves_the_point_and_is_told_by_its_error():
    points = cloud(50, seed=4)
    views = arc_of_views(8)
    observations = noisy(observed(views, points), 0.5, seed=5)
    observations.pixels_M2[:50] += [25.0, -15.0]  # the first view is wrong about all points
    result = triangulate(views, observations, 50)
    assert np.linalg.norm(result.points_N3 - points, axis=1).max() < 0.03
    assert result.errors_M[:50].min() > 15.0
    assert np.median(result.errors_M[50:]) < 1.5


def test_one_place_gives_a_huge_covariance_along_the_ray_and_no_error():
    points = cloud(10, seed=6)
    views = [View(CAMERA, look_at(np.array([4.0, 0.0, 0.0]), np.zeros(3)))] * 3
    result = triangulate(views, observed(views, points), 10)
    assert np.isfinite(result.points_N3).all()
    variances, axes = np.linalg.eigh(result.covariances_N33)
    assert (np.sqrt(variances[:, 2]) > 1.0).all()
    rays = points - [4.0, 0.0, 0.0]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    # Where the point came to lie on its ray says nothing; the ray itself is known.
    assert (np.abs((rays * axes[:, :, 2]).sum(axis=1)) > 0.99).all()


def test_an_observation_from_behind_has_an_infinite_error():
    points = cloud(5, seed=7)
    views = arc_of_views(4)
    observations = observed(views, points)
    views[0] = View(CAMERA, look_at(np.array([4.0, 0.0, 0.0]), np.array([9.0, 0.0, 0.0])))
    result = triangulate(views, observations, 5)
    assert np.isinf(result.errors_M[:5]).all()
    assert (result.errors_M[5:] < 1.0).all()
    np.testing.assert_allclose(result.points_N3, points, atol=0.01)


def test_observations_can_be_kept_by_a_mask():
    points = cloud(3, seed=8)
    observations = observed(arc_of_views(2), points)
    kept = observations.kept(observations.points_M == 1)
    assert kept.frames_M.tolist() == [0, 1]
    assert kept.points_M.tolist() == [1, 1]
    np.testing.assert_array_equal(kept.pixels_M2, observations.pixels_M2[[1, 4]])
