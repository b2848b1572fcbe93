"""Random views around the photos of a map."""

import numpy as np
import pytest
import torch

from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.poses import rotation_angle_deg
from posefield.relocalization.view_synthesis import (
    SynthesisConfig,
    random_poses,
    synthesise_views,
)
from support.analytic_field import AnalyticField
from support.textured_room import look_at, pinhole

CONFIG = SynthesisConfig(translation=0.2, rotation_deg=10.0)
TRANSFORM = SceneTransform((0.0, 0.0, 0.0), 1.0, 0.05, 30.0)


def photo_poses() -> np.ndarray:
    centres = np.array([[-0.5, 0.0, 0.0], [0.5, 0.2, 0.1], [0.0, -0.4, 0.0]])
    return np.stack([look_at(centre, np.array([0.0, 3.0, 0.2])) for centre in centres])


def test_random_poses_stay_near_a_photo_and_are_rigid():
    photos = photo_poses()
    poses = random_poses(photos, 400, 2.0, CONFIG, np.random.default_rng(0))
    assert poses.shape == (400, 4, 4)
    identity = np.tile(np.eye(3), (400, 1, 1))
    np.testing.assert_allclose(
        poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1), identity, atol=1e-12
    )
    reach = 0.2 * 2.0
    for pose in poses:
        near = [
            np.abs(pose[:3, 3] - photo[:3, 3]).max() <= reach + 1e-9
            and rotation_angle_deg(photo[:3, :3].T @ pose[:3, :3]) <= 10.0 * np.sqrt(3.0)
            for photo in photos
        ]
        assert any(near)
    spread = poses[:, :3, 3].std(axis=0)
    assert (spread > 0.5 * reach / np.sqrt(3.0)).all()


def test_random_poses_follow_their_seed_and_leave_the_photos_alone():
    photos = photo_poses()
    before = photos.copy()
    first, second, other = (
        random_poses(photos, 5, 1.0, CONFIG, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)
    np.testing.assert_array_equal(photos, before)


class Wall(AnalyticField):
    """Opaque red matter where y > 1."""

    def densities(self, points_N3: torch.Tensor) -> torch.Tensor:
        return 1e4 * (points_N3[:, 1] > 1.0).to(torch.float32)

    def colours_at(self, points_N3: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.2, 0.0]).expand(len(points_N3), 3)


def test_views_into_a_near_wall_are_left_out():
    free = look_at(np.array([0.0, -0.5, 0.0]), np.array([0.0, 3.0, 0.0]))
    blocked = look_at(np.array([0.0, 0.97, 0.0]), np.array([0.0, 3.0, 0.0]))
    fractions = []
    views = synthesise_views(
        Wall(samples=32),
        TRANSFORM,
        pinhole(12, 8, 10.0),
        np.stack([free, blocked, free]),
        lambda: None,
        fractions.append,
    )
    assert views.images_NHW3.shape == (2, 8, 12, 3)
    assert views.images_NHW3.dtype == np.uint8
    np.testing.assert_array_equal(views.T_field_cam_N44, np.stack([free, free]))
    assert views.images_NHW3[0, 4, 6].tolist() == [255, 51, 0]
    assert fractions[-1] == 1.0


def test_without_any_usable_view_the_result_is_empty_but_shaped():
    blocked = look_at(np.array([0.0, 0.97, 0.0]), np.array([0.0, 3.0, 0.0]))
    views = synthesise_views(
        Wall(samples=32),
        TRANSFORM,
        pinhole(12, 8, 10.0),
        blocked[None],
        lambda: None,
        lambda f: None,
    )
    assert views.images_NHW3.shape == (0, 8, 12, 3)
    assert views.T_field_cam_N44.shape == (0, 4, 4)


def test_synthesis_can_be_stopped():
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise_views(
            Wall(samples=32), TRANSFORM, pinhole(12, 8, 10.0), photo_poses(), stop, lambda f: None
        )
