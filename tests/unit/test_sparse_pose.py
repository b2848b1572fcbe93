"""A pose from matches of pixels with map points."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from posefield.features.sift import Keypoints, root_normalised
from posefield.geometry.poses import invert, perturbed, pose_errors, retract
from posefield.relocalization.refiners.alignment import twist_between
from posefield.relocalization.sparse_pose import (
    PointMatches,
    SparseIndex,
    SparsePoseConfig,
    count_inliers,
    mean_descriptors,
    projection_jacobian,
    refine_sparse_pose,
    solve_sparse_pose,
)
from posefield.relocalization.triangulation import View
from support.point_cloud import CAMERA, cloud, projected
from support.textured_room import look_at

CONFIG = SparsePoseConfig()
T_TRUE = look_at(np.array([3.6, 0.8, 0.4]), np.array([0.1, 0.0, -0.1]))


def matches_of(count: int, noise_px: float, seed: int, outliers: float = 0.0) -> PointMatches:
    generator = np.random.default_rng(seed)
    points = cloud(count, seed)
    pixels = projected(View(CAMERA, T_TRUE), points)
    pixels = pixels + noise_px * generator.normal(size=pixels.shape)
    wrong = generator.random(count) < outliers
    pixels[wrong] = generator.uniform([0, 0], [640, 480], size=(wrong.sum(), 2))
    return PointMatches(pixels, points, np.full(count, 1e-4))


def test_the_jacobian_is_the_derivative_of_the_projection():
    points = cloud(8, seed=0) + [0.0, 0.0, 3.0]
    fx, fy = 400.0, 500.0
    x, y, z = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2], points[:, 2]
    found = projection_jacobian(x, y, z, fx, fy)
    assert found.shape == (8, 2, 6)
    for axis in range(6):
        pixels = []
        for step in (1e-6, -1e-6):
            twist = torch.zeros(6, dtype=torch.float64)
            twist[axis] = step
            T = retract(torch.eye(4, dtype=torch.float64), twist).numpy()
            X = points @ T[:3, :3].T + T[:3, 3]
            pixels.append(X[:, :2] / X[:, 2:] * [fx, fy])
        expected = (pixels[0] - pixels[1]) / 2e-6
        np.testing.assert_allclose(found[:, :, axis], expected, atol=1e-4)


@pytest.mark.parametrize('seed', range(5))
def test_half_of_the_matches_may_be_wrong(seed):
    matches = matches_of(200, 0.7, seed, outliers=0.5)
    found = solve_sparse_pose(matches, CAMERA, CONFIG)
    errors = pose_errors(invert(found.T_cam_map), T_TRUE)
    assert errors.translation < 0.02
    assert errors.rotation_deg < 0.2
    assert 80 <= found.inliers <= 120
    assert found.matches is matches


def test_the_same_matches_give_the_same_pose():
    matches = matches_of(100, 0.7, 0, outliers=0.4)
    first, second = (solve_sparse_pose(matches, CAMERA, CONFIG) for _ in range(2))
    np.testing.assert_array_equal(first.T_cam_map, second.T_cam_map)
    np.testing.assert_array_equal(first.information_66, second.information_66)


@pytest.mark.parametrize(
    ('count', 'noise_px', 'outliers'),
    [(60, 1.0, 0.0), (60, 0.4, 0.0), (60, 2.0, 0.0), (60, 1.0, 0.3), (20, 0.3, 0.0)],
)
def test_the_information_is_honest_whatever_the_noise(count, noise_px, outliers):
    nees = []
    for seed in range(150):
        matches = matches_of(count, noise_px, seed, outliers)
        found = refine_sparse_pose(invert(T_TRUE), matches, CAMERA, CONFIG)
        twist = twist_between(
            torch.from_numpy(found.T_cam_map), torch.from_numpy(invert(T_TRUE))
        ).numpy()
        nees.append(twist @ found.information_66 @ twist)
    assert 0.7 < np.mean(nees) / 6.0 < 1.4


def test_uncertain_points_count_less():
    matches = matches_of(100, 0.5, 3)
    wrong = np.arange(100) < 50
    points = matches.points_K3 + 0.03 * wrong[:, None] * np.array([0.0, 1.0, 0.5])
    told = replace(matches, points_K3=points, point_sigmas_K=np.where(wrong, 0.05, 1e-4))
    untold = replace(matches, points_K3=points)
    errors = [
        pose_errors(
            invert(refine_sparse_pose(invert(T_TRUE), m, CAMERA, CONFIG).T_cam_map), T_TRUE
        ).translation
        for m in (told, untold)
    ]
    assert errors[0] < 0.5 * errors[1]


def test_refinement_comes_back_from_a_start_nearby():
    matches = matches_of(100, 0.0, 4)
    start = perturbed(T_TRUE, 0.02, 0.5, np.random.default_rng(0))
    found = refine_sparse_pose(invert(start), matches, CAMERA, CONFIG)
    assert pose_errors(invert(found.T_cam_map), T_TRUE).translation < 1e-6
    assert found.inliers == 100


@pytest.mark.parametrize('count', [0, 3, 11])
def test_too_few_matches_give_no_pose(count):
    assert solve_sparse_pose(matches_of(count, 0.0, 5), CAMERA, CONFIG) is None


def test_matches_that_agree_on_nothing_give_no_pose():
    matches = matches_of(40, 0.0, 6, outliers=1.0)
    assert solve_sparse_pose(matches, CAMERA, CONFIG) is None


def test_matches_of_a_single_point_give_no_pose_and_no_crash():
    matches = matches_of(30, 0.0, 7)
    same = PointMatches(
        np.repeat(matches.pixels_K2[:1], 30, axis=0),
        np.repeat(matches.points_K3[:1], 30, axis=0),
        matches.point_sigmas_K,
    )
    found = solve_sparse_pose(same, CAMERA, CONFIG)
    # A pose that explains one point leaves everything else open, and must say so.
    assert found is None or np.linalg.eigvalsh(found.information_66)[0] < 1e-3


def test_inliers_of_a_foreign_pose_are_counted():
    matches = matches_of(100, 0.5, 8, outliers=0.4)
    right = count_inliers(invert(T_TRUE), matches, CAMERA, CONFIG)
    assert 50 <= right <= 75
    away = perturbed(T_TRUE, 0.5, 10.0, np.random.default_rng(1))
    assert count_inliers(invert(away), matches, CAMERA, CONFIG) < 5
    behind = T_TRUE.copy()
    behind[:3, [0, 2]] *= -1.0
    assert count_inliers(invert(behind), matches, CAMERA, CONFIG) == 0
    nothing = matches_of(0, 0.0, 0)
    assert count_inliers(invert(T_TRUE), nothing, CAMERA, CONFIG) == 0


def descriptors_of(count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (200.0 * generator.random((count, 128)) ** 4).astype(np.uint8)


def index_of(descriptors: np.ndarray) -> SparseIndex:
    count = len(descriptors)
    points = np.arange(3.0 * count).reshape(count, 3)
    return SparseIndex(points, 0.1 * np.arange(count), root_normalised(descriptors))


def test_a_query_is_matched_to_the_right_points_the_surest_first():
    descriptors = descriptors_of(50, seed=0)
    rows = np.array([7, 3, 40, 21])
    generator = np.random.default_rng(1)
    noise = np.array([40.0, 0.0, 20.0, 5.0])[:, None] * generator.random((4, 128))
    query = np.clip(descriptors[rows] + noise, 0, 255).astype(np.uint8)
    pixels = np.arange(8, dtype=np.float32).reshape(4, 2)
    index = index_of(descriptors)
    found = index.match(Keypoints(pixels, np.ones(4, np.float32), query), 0.95)
    order = [1, 3, 2, 0]
    np.testing.assert_array_equal(found.points_K3, index.points_N3[rows[order]])
    np.testing.assert_array_equal(found.pixels_K2, pixels[order])
    np.testing.assert_array_equal(found.point_sigmas_K, index.sigmas_N[rows[order]])


def test_each_point_is_matched_at_most_once_by_its_surest_keypoint():
    descriptors = descriptors_of(20, seed=2)
    query = np.repeat(descriptors[5:6], 3, axis=0).astype(np.int64)
    query[0, :64] += 30
    query[2, :64] += 20
    pixels = np.array([[0, 0], [1, 1], [2, 2]], np.float32)
    keypoints = Keypoints(pixels, np.ones(3, np.float32), query.clip(0, 255).astype(np.uint8))
    found = index_of(descriptors).match(keypoints, 0.95)
    assert found.pixels_K2.tolist() == [[1.0, 1.0]]


def test_nothing_to_match_gives_no_matches():
    empty = Keypoints(
        np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 128), np.uint8)
    )
    some = Keypoints(
        np.zeros((5, 2), np.float32), np.ones(5, np.float32), descriptors_of(5, seed=3)
    )
    whole, nothing = index_of(descriptors_of(20, seed=3)), index_of(descriptors_of(0, seed=3))
    for index, keypoints in ((whole, empty), (nothing, some)):
        assert index.match(keypoints, 0.9).pixels_K2.shape == (0, 2)
        assert solve_sparse_pose(index.match(keypoints, 0.9), CAMERA, CONFIG) is None


def test_mean_descriptors_average_the_views_of_a_point():
    descriptors = descriptors_of(5, seed=4)
    found = mean_descriptors(descriptors, np.array([0, 1, 0, 1, 1]), 3)
    root = root_normalised(descriptors)
    expected = torch.nn.functional.normalize(
        torch.stack([root[[0, 2]].sum(0), root[[1, 3, 4]].sum(0)])
    )
    torch.testing.assert_close(found[:2], expected)
    assert torch.equal(found[2], torch.zeros(128))


def test_a_few_near_misses_do_not_pull_a_pose_of_precise_matches():
    matches = matches_of(100, 0.05, 9)
    matches.pixels_K2[:8] += [4.0, 3.0]
    found = refine_sparse_pose(invert(T_TRUE), matches, CAMERA, CONFIG)
    assert pose_errors(invert(found.T_cam_map), T_TRUE).translation < 5e-4
