"""Compact features start as the gradient features and learn from a map's own correspondences."""

import numpy as np
import pytest
import torch

from posefield.errors import BundleError
from posefield.features.compact import CompactFeatures
from posefield.features.extractors import extractor_tensors, load_extractor
from posefield.features.gradient import GradientFeatures
from posefield.geometry.camera import Camera
from posefield.learning.loop import run_stage
from posefield.relocalization.features_stage import FeaturesStage, FeaturesStageConfig
from posefield.relocalization.keyframes import Keyframe, encode_jpeg

WALL_DEPTH = 2.0
CAMERA = Camera(96, 72, 80.0, 80.0, 47.5, 35.5)


def wall_keyframe(x: float, texture_HW3: np.ndarray) -> Keyframe:
    """Return what a camera at (x, 0, 0) sees of a textured wall two units ahead."""
    pixels = np.stack(np.meshgrid(np.arange(96), np.arange(72)), axis=-1).reshape(-1, 2)
    points = CAMERA.unproject(pixels) * WALL_DEPTH + [x, 0.0, 0.0]
    rows = np.clip(points[:, 1] * 60 + 100, 0, 199).astype(int)
    columns = np.clip(points[:, 0] * 60 + 150, 0, 299).astype(int)
    T = np.eye(4)
    T[0, 3] = x
    return Keyframe(
        T_field_cam=T,
        camera=CAMERA,
        jpeg=encode_jpeg(texture_HW3[rows, columns].reshape(72, 96, 3)),
        depths_hw=np.full((36, 48), WALL_DEPTH, np.float16),
        trust_hw=np.full((36, 48), 255, np.uint8),
    )


@pytest.fixture(scope='module')
def keyframes() -> list[Keyframe]:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 255, size=(50, 75, 3), dtype=np.uint8)
    texture = coarse.repeat(4, axis=0).repeat(4, axis=1)
    return [wall_keyframe(x, texture) for x in (-0.3, -0.1, 0.1, 0.3)]


def test_untrained_features_are_the_gradient_features():
    image = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(CompactFeatures.untrained()(image), GradientFeatures()(image))


def test_training_matches_more_points_than_the_gradient_features_do(keyframes):
    config = FeaturesStageConfig(short_side=72, points=128, max_depth_error=0.05)
    device = torch.device('cpu')

    def matched(stage: FeaturesStage) -> float:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            return float(np.mean([stage.step(i, generator)['matched'] for i in range(12)]))

    torch.manual_seed(0)
    stage = FeaturesStage(keyframes, config, device)
    before = matched(stage)
    run_stage(stage, generator=torch.Generator().manual_seed(2), steps=120)
    after = matched(stage)
    assert before < 0.95
    assert after > before + 0.03


def test_correspondences_show_the_same_point_of_the_wall(keyframes):
    stage = FeaturesStage(keyframes, FeaturesStageConfig(short_side=72), torch.device('cpu'))
    first, second = stage._photos[0], stage._photos[1]
    pixels_first, pixels_second = stage._correspondences(
        first, second, torch.Generator().manual_seed(0)
    )
    # The second camera stands 0.2 to the right, so the wall moves left by f * 0.2 / depth.
    expected = pixels_first - torch.tensor([80.0 * 0.2 / WALL_DEPTH, 0.0])
    torch.testing.assert_close(pixels_second, expected, atol=1e-2, rtol=0.0)


def test_weights_survive_a_map():
    features = CompactFeatures.untrained()
    with torch.no_grad():
        features.network.layers[-1].weight.normal_(generator=torch.Generator().manual_seed(3))
    image = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(4))
    loaded = load_extractor('compact', extractor_tensors(features), 'cpu')
    torch.testing.assert_close(loaded(image), features(image))


def test_weights_of_another_network_are_refused():
    with pytest.raises(BundleError, match='do not fit'):
        load_extractor('compact', {'layers.0.weight': torch.zeros(3)}, 'cpu')
    with pytest.raises(BundleError, match='Unknown features'):
        load_extractor('dinosaur', {}, 'cpu')
