"""Aligning camera centres: exact where it can be, least squares elsewhere."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posefield.errors import PoseError
from posefield.geometry.poses import rotation_angle_deg
from posefield.geometry.similarity import Similarity, align_centres

TRUE = Similarity(2.5, Rotation.from_rotvec([0.4, -1.2, 2.0]).as_matrix(), np.array([3.0, -1, 2]))


def centres(count: int = 20) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3)) * [3.0, 1.0, 0.2]


def mapped(similarity: Similarity, points_N3: np.ndarray) -> np.ndarray:
    return similarity.scale * points_N3 @ similarity.R.T + similarity.t


@pytest.mark.parametrize('flat', [False, True])
def test_a_similarity_is_found_again(flat):
    points = centres() * [1.0, 1.0, 0.0 if flat else 1.0]
    found = align_centres(points, mapped(TRUE, points), with_scale=True)
    assert found.scale == pytest.approx(TRUE.scale)
    np.testing.assert_allclose(found.R, TRUE.R, atol=1e-12)
    np.testing.assert_allclose(found.t, TRUE.t, atol=1e-12)


def test_without_scale_the_motion_is_rigid_and_the_rotation_the_same():
    found = align_centres(centres(), mapped(TRUE, centres()), with_scale=False)
    assert found.scale == 1.0
    np.testing.assert_allclose(found.R, TRUE.R, atol=1e-12)
    np.testing.assert_allclose(
        found.t, mapped(TRUE, centres()).mean(0) - TRUE.R @ centres().mean(0)
    )


def test_a_mirror_image_is_never_taken_for_a_rotation():
    found = align_centres(centres(), centres() * [1.0, 1.0, -1.0], with_scale=True)
    assert np.linalg.det(found.R) == pytest.approx(1.0)


@pytest.mark.parametrize('with_scale', [False, True])
def test_no_nearby_similarity_fits_noisy_centres_better(with_scale):
    generator = np.random.default_rng(1)
    targets = mapped(TRUE, centres()) + 0.1 * generator.normal(size=(20, 3))
    best = align_centres(centres(), targets, with_scale)
    error = ((mapped(best, centres()) - targets) ** 2).sum()
    for _ in range(200):
        other = Similarity(
            best.scale * (1 + 0.01 * generator.normal() * with_scale),
            Rotation.from_rotvec(0.01 * generator.normal(size=3)).as_matrix() @ best.R,
            best.t + 0.01 * generator.normal(size=3),
        )
        assert ((mapped(other, centres()) - targets) ** 2).sum() > error


def test_poses_keep_looking_the_same_way_at_the_moved_scene():
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[:, :3, :3] = Rotation.from_euler('y', [[10], [50]], degrees=True).as_matrix()
    poses[:, :3, 3] = centres(2)
    moved = TRUE.poses(poses)
    ahead = poses[:, :3, 3] + poses[:, :3, 2]
    ahead_moved = moved[:, :3, 3] + TRUE.scale * moved[:, :3, 2]
    np.testing.assert_allclose(ahead_moved, mapped(TRUE, ahead), atol=1e-12)
    assert rotation_angle_deg(moved[0, :3, :3].T @ moved[1, :3, :3]) == pytest.approx(40.0)
    assert np.linalg.det(moved[0, :3, :3]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    'points', [centres(2), np.outer(np.arange(5.0), [1, 2, 3]), np.ones((4, 3))]
)
def test_centres_on_a_line_cannot_be_aligned(points):
    with pytest.raises(PoseError, match='on a line'):
        align_centres(points, points, with_scale=False)
