"""The pose regressor: rotations by construction, and that it can learn."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
import torch

from posefield.geometry.poses import pose_errors
from posefield.learning.loop import run_stage
from posefield.relocalization.regressors.posenet import (
    CompactPoseNet,
    CompactPoseNetConfig,
    contrast_normalised,
    rotation_from_six,
)
from posefield.relocalization.regressors.stage import RegressorStage, RegressorStageConfig
from posefield.relocalization.view_synthesis import ReferenceViews

SMALL = CompactPoseNetConfig(channels=(8, 16, 32), cells=4, width=64)
PLAIN = RegressorStageConfig(
    batch=8, learning_rate=3e-3, noise=0.0, gain=0.0, offset=0.0, max_blur_px=0.0
)


def views(count: int, seed: int) -> ReferenceViews:
    generator = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, random_state=seed).as_matrix()
    poses[:, :3, 3] = generator.uniform(-0.8, 0.8, size=(count, 3))
    coarse = generator.integers(0, 255, size=(count, 6, 8, 3))
    images = coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    return ReferenceViews(images, poses)


def no_views() -> ReferenceViews:
    return ReferenceViews(np.zeros((0, 24, 32, 3), np.uint8), np.zeros((0, 4, 4)))


def test_six_numbers_become_a_rotation():
    six = torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rotations = rotation_from_six(six)
    identity = torch.eye(3, dtype=torch.float64).expand(200, 3, 3)
    torch.testing.assert_close(rotations @ rotations.mT, identity)
    determinants = torch.linalg.det(rotations)
    torch.testing.assert_close(determinants, torch.ones(200, dtype=torch.float64))
    torch.testing.assert_close(rotation_from_six(torch.zeros(1, 6))[0], torch.eye(3))


def test_every_rotation_can_be_expressed():
    expected = torch.from_numpy(Rotation.random(50, random_state=1).as_matrix())
    offset = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    six = torch.cat([expected[:, :, 0], expected[:, :, 1]], dim=1) - offset
    torch.testing.assert_close(rotation_from_six(six), expected)


def test_exposure_drops_out_before_the_network():
    images = torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(2))
    normalised = contrast_normalised(images)
    torch.testing.assert_close(normalised.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        contrast_normalised(0.5 * images + 0.2), normalised, atol=0.02, rtol=0.0
    )
    assert torch.isfinite(contrast_normalised(torch.zeros(1, 3, 8, 8))).all()


def test_a_pose_is_rigid_in_double_precision():
    torch.manual_seed(3)
    network = CompactPoseNet(SMALL).eval()
    T = network.pose(torch.rand(24, 32, 3)).numpy()
    assert T.dtype == np.float64
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(T[:3, :3]) == pytest.approx(1.0)
    assert T[3].tolist() == [0.0, 0.0, 0.0, 1.0]


def test_a_configuration_survives_json():
    values = {**SMALL.to_dict(), 'channels': list(SMALL.channels)}
    assert CompactPoseNetConfig.from_dict(values) == SMALL


def test_the_regressor_learns_eight_views_by_heart():
    torch.manual_seed(4)
    photos = views(8, seed=4)
    stage = RegressorStage(photos, no_views(), SMALL, PLAIN, torch.device('cpu'))
    run_stage(stage, generator=torch.Generator().manual_seed(0), steps=300)
    for image, T_true in zip(photos.images_NHW3, photos.T_field_cam_N44, strict=True):
        T = stage.network.pose(torch.from_numpy(image).float() / 255.0).numpy()
        errors = pose_errors(T, T_true)
        assert errors.translation < 0.05
        assert errors.rotation_deg < 4.0


def test_half_of_a_batch_are_photos_and_half_are_renders():
    config = RegressorStageConfig(batch=40)
    generator = torch.Generator().manual_seed(5)
    both = RegressorStage(views(3, 5), views(50, 6), SMALL, config, torch.device('cpu'))
    rows = torch.cat([both._draw(generator) for _ in range(50)])
    assert (rows < 3).float().mean() == 0.5
    assert set(rows.tolist()) == set(range(53))
    alone = RegressorStage(views(3, 5), no_views(), SMALL, config, torch.device('cpu'))
    rows = alone._draw(generator)
    assert len(rows) == 40
    assert set(rows.tolist()) == {0, 1, 2}


def test_augmentation_changes_the_light_of_each_image_on_its_own():
    stage = RegressorStage(
        views(2, 7), no_views(), SMALL, RegressorStageConfig(), torch.device('cpu')
    )
    images = torch.full((6, 3, 24, 32), 0.5)
    augmented = stage._augmented(images, torch.Generator().manual_seed(8))
    means = augmented.mean(dim=(2, 3))
    assert means.std() > 0.03
    assert (means - 0.5).abs().max() < 0.5 * 0.4 + 0.1 + 0.01
    assert 0.02 < float(augmented.std(dim=(2, 3)).mean()) < 0.04
