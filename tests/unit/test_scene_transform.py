"""From the user's map frame to the field's frame and back."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posefield.errors import DataError
from posefield.fields.scene_transform import SceneTransform, looked_at_point, scene_scale

TRANSFORM = SceneTransform((1.0, -2.0, 3.0), 0.25, 0.02, 30.0)


def random_poses(count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, random_state=seed).as_matrix()
    poses[:, :3, 3] = 5.0 * generator.normal(size=(count, 3))
    return poses


def looking_at(centre: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return T_map_cam with the optical axis through the target and x level."""
    z = (target - centre) / np.linalg.norm(target - centre)
    x = np.cross([0.0, 0.0, -1.0], z)
    x /= np.linalg.norm(x)
    T = np.eye(4)
    T[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    T[:3, 3] = centre
    return T


def ring(target: np.ndarray, radius: float, count: int = 12) -> np.ndarray:
    angles = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    offsets = radius * np.stack([np.cos(angles), np.sin(angles), 0.0 * angles], axis=1)
    return np.stack([looking_at(target + offset, target) for offset in offsets])


def test_cameras_go_to_the_field_and_back():
    poses = random_poses(20, seed=0)
    there = TRANSFORM.camera_to_field(poses)
    np.testing.assert_allclose(there[:, :3, :3], poses[:, :3, :3])
    np.testing.assert_allclose(TRANSFORM.camera_to_map(there), poses, atol=1e-12)


def test_a_point_keeps_its_ray_and_its_depth_is_scaled():
    poses = random_poses(20, seed=1)
    point = np.array([0.3, 0.2, 4.0])
    fields = TRANSFORM.camera_to_field(poses)
    for T_map_cam, T_field_cam in zip(poses, fields, strict=True):
        in_map = T_map_cam[:3, :3] @ point + T_map_cam[:3, 3]
        in_field = TRANSFORM.points_to_field(in_map)
        seen = T_field_cam[:3, :3].T @ (in_field - T_field_cam[:3, 3])
        np.testing.assert_allclose(seen, point * TRANSFORM.scale, atol=1e-12)


def test_transforms_leave_their_input_alone():
    poses = random_poses(2, seed=2)
    before = poses.copy()
    TRANSFORM.camera_to_field(poses)
    TRANSFORM.camera_to_map(poses)
    np.testing.assert_array_equal(poses, before)


def test_cameras_and_most_points_lie_in_the_unit_box():
    generator = np.random.default_rng(3)
    points = np.array([100.0, 0.0, 50.0]) + generator.uniform(-3.0, 3.0, size=(1000, 3))
    points[:10] += 1000.0  # a few wild points must not shrink the scene
    poses = ring(np.array([100.0, 0.0, 50.0]), 4.0)
    transform = SceneTransform.from_content(poses, points)
    centres = transform.camera_to_field(poses)[:, :3, 3]
    assert np.abs(centres).max() <= 1.0
    inside = np.abs(transform.points_to_field(points)).max(axis=1) <= 1.0
    assert inside.mean() > 0.9
    assert np.abs(centres).max() > 0.5
    nearest = np.linalg.norm(points[:, None] - poses[None, :, :3, 3], axis=2).min()
    assert 0.02 <= transform.near <= max(0.02, nearest * transform.scale)


def test_without_points_the_box_covers_what_the_cameras_look_at():
    target = np.array([5.0, 6.0, 7.0])
    poses = ring(target, 2.0)
    transform = SceneTransform.from_content(poses, np.zeros((0, 3)))
    assert np.abs(transform.points_to_field(target)).max() < 0.2
    assert 0.2 < 2.0 * transform.scale <= 1.0


def test_the_point_looked_at_and_the_scale_follow_from_the_axes():
    target = np.array([1.0, 2.0, 3.0])
    poses = ring(target, 2.5)
    np.testing.assert_allclose(looked_at_point(poses), target, atol=0.01)
    assert scene_scale(poses) == pytest.approx(2.5, rel=0.01)


def test_parallel_axes_give_a_finite_scale_ahead_of_the_cameras():
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, 0, 3] = np.arange(5)
    point = looked_at_point(poses)
    assert np.isfinite(point).all()
    assert point[2] > 0.0
    assert 0.5 < scene_scale(poses) < 10.0


@pytest.mark.parametrize('seed', range(3))
def test_cameras_in_one_place_without_points_have_no_scale(seed):
    poses = random_poses(6, seed)
    poses[:, :3, 3] = [10.0, 20.0, 30.0]
    with pytest.raises(DataError, match='one place'):
        SceneTransform.from_content(poses, np.zeros((0, 3)))


def test_what_is_given_takes_the_place_of_what_is_computed():
    poses, points = ring(np.zeros(3), 2.0), np.random.default_rng(0).normal(size=(100, 3))
    computed = SceneTransform.from_content(poses, points)
    given = SceneTransform.from_content(poses, points, near=0.0, far=4.0)
    assert (given.near, given.far) == (0.0, 4.0)
    assert (given.centre, given.scale) == (computed.centre, computed.scale)
    given = SceneTransform.from_content(poses, points, scale=0.1)
    assert (given.centre, given.scale, given.far) == (computed.centre, 0.1, computed.far)
    assert given.near == pytest.approx(max(0.02, computed.near * 0.1 / computed.scale))


def test_a_given_scale_needs_no_parallax():
    poses = random_poses(6, 0)
    poses[:, :3, 3] = [10.0, 20.0, 30.0]
    assert SceneTransform.from_content(poses, np.zeros((0, 3)), scale=0.5).scale == 0.5


def test_bounded_rays_reach_what_cameras_see_and_little_more():
    # Cameras at z = 0 and z = 1 look along z at a wall at z = 6; much lies behind them.
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, 2, 3] = 1.0
    generator = np.random.default_rng(5)
    wall = np.concatenate(
        [generator.uniform(-2.0, 2.0, size=(20_000, 2)), np.full((20_000, 1), 6.0)], axis=1
    )
    behind = wall * [1.0, 1.0, -50.0]
    stray = wall[:40] * [1.0, 1.0, 100.0]
    transform = SceneTransform((0.0, 0.0, 0.0), 0.25, 0.02, 30.0)
    far = transform.bounded_far(poses, np.concatenate([wall, behind, stray]))
    assert far == pytest.approx(1.1 * 6.0 * 0.25)


def test_bounded_rays_reach_as_far_as_anything_when_cameras_see_no_point():
    poses = np.tile(np.eye(4), (3, 1, 1))
    points = np.tile([0.0, 0.0, -4.0], (60, 1))
    assert TRANSFORM.bounded_far(poses, points) == pytest.approx(1.1 * 4.0 * TRANSFORM.scale)


def test_bounded_rays_are_guessed_from_the_cameras_without_points():
    poses = ring(np.array([5.0, 6.0, 7.0]), 2.0)
    transform = SceneTransform.from_content(poses, np.zeros((0, 3)))
    far = transform.bounded_far(poses, np.zeros((0, 3))) / transform.scale
    assert 2.0 < far < 8.0
