"""Mode b with features that a field has learned to predict."""

import numpy as np
import pytest
import torch

from posefield.features.gradient import GradientFeatures
from posefield.geometry.poses import perturbed, pose_errors
from posefield.learning.loop import run_stage
from posefield.relocalization.nefes_stage import NefesStage
from posefield.relocalization.photos import SizedImage
from posefield.relocalization.query import Query
from posefield.relocalization.refiners.adam import descend
from posefield.relocalization.refiners.feature_loss import channel_cosine_loss
from posefield.relocalization.refiners.gradient_config import NAMED_RATES
from posefield.relocalization.refiners.nefes import ComparedWindow, FeatureObjective
from posefield.relocalization.refiners.pose_parameters import PoseOffset
from posefield.relocalization.refiners.synthesis import LearnedSynthesis, synthesis_of
from support.nefes_room import (
    CAMERA,
    ROOM,
    SHORT_SIDE,
    TRANSFORM,
    room_photos,
    room_poses,
    room_synthesizer,
    room_views,
    tiny_stages,
)

SCENE_SCALE = 2.5 * TRANSFORM.scale
# Between two of the ten photos.
T_TRUE = room_poses(7)[2]


@pytest.fixture(scope='module')
def synthesis() -> LearnedSynthesis:
    synthesizer = room_synthesizer('grid', fusion=None)
    views, before = room_views(room_photos(10)), None
    for number, (config, steps) in enumerate(zip(tiny_stages('grid'), (150, 80), strict=False)):
        stage = NefesStage(config, views, synthesizer, number, before=before)
        run_stage(stage, generator=torch.Generator().manual_seed(number), steps=steps)
        before = stage
    query = Query(SizedImage(ROOM.view(CAMERA, T_TRUE)[0], CAMERA), GradientFeatures(), 'cpu')
    synthesizer.eval().requires_grad_(False)
    bound = synthesis_of(synthesizer, TRANSFORM, GradientFeatures(), query, SHORT_SIDE, 36)
    assert isinstance(bound, LearnedSynthesis)
    return bound


@pytest.mark.parametrize('seed', range(4))
def test_predicted_features_lead_nearer_to_the_truth(synthesis, seed):
    start = perturbed(T_TRUE, 0.2, 6.0, np.random.default_rng(seed))
    window = ComparedWindow(synthesis.camera.height, synthesis.camera.width)
    offset = PoseOffset(
        torch.from_numpy(TRANSFORM.camera_to_field(start)),
        NAMED_RATES['scaled'].in_field(SCENE_SCALE, TRANSFORM.scale),
        exponential=True,
    )
    descent = descend(offset, FeatureObjective(synthesis, channel_cosine_loss, window), 50)
    found = pose_errors(TRANSFORM.camera_to_map(descent.T_field_cam.numpy()), T_TRUE)
    # The render has 24x18 pixels of more than 2 degrees, where turning and moving look alike.
    assert found.rotation_deg < 4.0
    assert found.translation < 0.2
    assert descent.losses[-1] < 0.85 * descent.losses[0]
