"""Following a model through images."""

import numpy as np
import pytest

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.tracking import TrackedView
from support.ball_model import NORMALISATION, ball_model
from support.two_balls import CAMERA, rig

LARGE = CAMERA.resized(96, 96)
SWING = 0.62


@pytest.fixture(scope='module')
def model() -> ArticulatedModel:
    return ball_model()


def views(
    model: ArticulatedModel, swing: float, masks: bool = True, T_world_root=None
) -> list[TrackedView]:
    """What three cameras see of the model at a position of its joint."""
    seen = []
    for one in rig()[:3]:
        T_world_cam = NORMALISATION.pose_to_world(one.T_world_cam)
        image = model.render(LARGE, T_world_cam, model.repose({'swing': swing}, T_world_root))
        mask = (image.opacities_HW > 0.5).astype(np.uint8) if masks else None
        seen.append(TrackedView(image.colours_HW3, mask, LARGE, T_world_cam))
    return seen


@pytest.mark.parametrize('masks', [True, False])
def test_a_pose_is_found_from_nothing(model, masks):
    tracked = model.track(views(model, SWING, masks))
    assert not tracked.lost
    assert tracked.score > 0.8
    assert np.rad2deg(abs(tracked.joint_positions[0] - SWING)) < 2.0
    np.testing.assert_allclose(tracked.T_world_part_P44, model.repose({'swing': SWING}), atol=0.04)
