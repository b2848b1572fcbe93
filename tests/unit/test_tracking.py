"""Following a model through images."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.pose_alignment import Pose
from posefield.articulation.tracking import (
    PoseTracker,
    TrackedPose,
    TrackedView,
    TrackingConfig,
)
from posefield.errors import ArticulationError, PoseError
from posefield.geometry.camera import Camera
from support.ball_model import NORMALISATION, ball_model
from support.two_balls import CAMERA, rig

LARGE = CAMERA.resized(96, 96)
SWING = 0.62


@pytest.fixture(scope='module')
def model() -> ArticulatedModel:
    return ball_model()


def views(
    model: ArticulatedModel,
    swing: float,
    masks: bool = True,
    T_world_root: np.ndarray | None = None,
    camera: Camera = LARGE,
) -> list[TrackedView]:
    """What three cameras see of the model at a position of its joint."""
    seen = []
    for one in rig()[:3]:
        T_world_cam = NORMALISATION.pose_to_world(one.T_world_cam)
        poses = model.repose({'swing': swing}, T_world_root)
        image = model.render(camera, T_world_cam, poses)
        mask = (image.opacities_HW > 0.5).astype(np.uint8) if masks else None
        seen.append(TrackedView(image.colours_HW3, mask, camera, T_world_cam))
    return seen


def error_deg(tracked: TrackedPose, swing: float) -> float:
    return float(np.rad2deg(abs(tracked.joint_positions[0] - swing)))


@pytest.mark.parametrize('masks', [True, False])
def test_a_pose_is_found_from_nothing(model, masks):
    tracked = model.track(views(model, SWING, masks))
    assert not tracked.lost
    assert tracked.score > 0.8
    assert error_deg(tracked, SWING) < 2.0
    expected = model.repose({'swing': SWING})
    np.testing.assert_allclose(tracked.T_world_part_P44, expected, atol=0.04)
    T_world_link = model.structure.forward(tracked.joint_positions, tracked.T_world_root)
    np.testing.assert_allclose(tracked.T_world_link_L44, T_world_link)


def test_a_swing_is_followed_with_its_speed(model):
    swings = 0.5 * np.sin(np.arange(8) * 0.4)
    previous = None
    for number, swing in enumerate(swings):
        previous = model.track(views(model, swing), previous, 10.0 + 0.1 * number)
        assert not previous.lost
        assert error_deg(previous, swing) < 2.5
        assert previous.stamp_s == 10.0 + 0.1 * number
    rate = (swings[-1] - swings[-2]) / 0.1
    assert previous.speeds_D[0] == pytest.approx(rate, abs=0.4)


def test_speeds_are_not_carried_over_a_gap_or_a_jump_back(model):
    first = model.track(views(model, 0.1), None, 5.0)
    second = model.track(views(model, 0.2), first, 5.1)
    assert second.speeds_D[0] > 0.5
    for stamp_s in (4.0, 9.0):
        later = model.track(views(model, 0.25), second, stamp_s)
        assert not later.lost
        assert later.speeds_D[0] == 0.0


def test_what_is_not_there_is_lost_and_found_again(model):
    followed = model.track(views(model, 0.3), None, 0.0)
    nothing = [
        replace(view, image_HW3=np.ones_like(view.image_HW3), mask_HW=np.zeros_like(view.mask_HW))
        for view in views(model, 0.3)
    ]
    lost = model.track(nothing, followed, 0.1)
    assert lost.lost
    assert lost.score == 0.0
    np.testing.assert_array_equal(lost.joint_positions, followed.joint_positions)
    found = model.track(views(model, -0.6), lost, 0.2)
    assert not found.lost
    assert error_deg(found, -0.6) < 2.5


def test_something_else_is_not_believed(model):
    wrong = []
    for view in views(model, 0.0):
        mask = np.zeros_like(view.mask_HW)
        mask[:20, :20] = 1
        wrong.append(replace(view, mask_HW=mask))
    tracked = model.track(wrong)
    assert tracked.lost
    assert tracked.score < 0.5


def test_cameras_of_several_sizes_and_unsure_outlines_help_too(model):
    seen = views(model, SWING)
    wide = Camera(120, 96, LARGE.fx, LARGE.fy, 59.5, LARGE.cy)
    seen[1] = views(model, SWING, camera=wide)[1]
    for view in seen:
        edges = np.abs(np.diff(view.mask_HW.astype(int), axis=1, prepend=0)) > 0
        view.mask_HW[edges] = 2
    tracked = model.track(seen)
    assert error_deg(tracked, SWING) < 3.0


def test_a_lens_is_undistorted(model):
    bent = replace(LARGE, model='plumb_bob', distortion=(0.0, 0.0, 0.0, 0.0, 1e-9))
    seen = [replace(view, camera=bent) for view in views(model, SWING)]
    assert error_deg(model.track(seen), SWING) < 2.0


def test_a_root_that_moved_while_learned_is_tracked_too(model):
    roots = model.found.T_scene_root_F44.copy()
    roots[:, 0, 3] += np.linspace(0.0, 0.3, len(roots))
    loose = replace(model, found=replace(model.found, T_scene_root_F44=roots))
    T_true = roots[4].copy()
    T_true[:3, :3] = Rotation.from_rotvec([0.0, 0.1, 0.15]).as_matrix() @ T_true[:3, :3]
    T_true[:3, 3] += [0.05, -0.04, 0.06]
    tracked = loose.track(views(loose, SWING, T_world_root=T_true))
    assert not tracked.lost
    assert error_deg(tracked, SWING) < 4.0
    np.testing.assert_allclose(tracked.T_world_root[:3, 3], T_true[:3, 3], atol=0.04)
    again = loose.track(views(loose, SWING, T_world_root=T_true), tracked)
    assert np.abs(again.root_speed_6).max() < 0.05


def test_what_has_no_joint_and_stands_still_is_compared_only(model):
    swing = model.structure.joint('swing')
    fixed = replace(swing, kind='fixed', lower=0.0, upper=0.0)
    rigid = replace(
        model,
        found=replace(
            model.found,
            skeleton=replace(model.structure, joints=(fixed,)),
            positions_FD=model.found.positions_FD[:, :0],
        ),
    )
    tracked = rigid.track(views(model, 0.0))
    assert tracked.joint_positions.shape == (0,)
    assert tracked.score > 0.8
    assert rigid.track(views(model, 0.7), tracked).score < tracked.score - 0.1


def test_one_step_closes_most_of_a_small_gap(model):
    tracker = PoseTracker(model, TrackingConfig(coarse_steps=0, fine_steps=1))
    near = Pose(np.array([SWING + 0.05]), model.root_pose(model.frames[0]))
    previous = replace(
        tracker.track(views(model, SWING + 0.05)), joint_positions=near.joint_positions
    )
    one = tracker.track(views(model, SWING), previous)
    assert one.iterations == 1
    assert error_deg(one, SWING) < 1.5, 'of 2.9 degrees'


def test_what_cannot_be_tracked_is_a_sentence(model):
    view = views(model, 0.0)[0]
    with pytest.raises(ArticulationError, match='at least one view'):
        model.track([])
    with pytest.raises(ArticulationError, match=r'shape \(96, 96, 3\)'):
        replace(view, image_HW3=view.image_HW3[:50])
    with pytest.raises(ArticulationError, match='mask'):
        replace(view, mask_HW=view.mask_HW[:50])
    with pytest.raises(PoseError, match='T_world_cam'):
        replace(view, T_world_cam=np.full((4, 4), np.nan))
    tracked = model.track([view])
    with pytest.raises(ArticulationError, match='Joint positions must hold 1'):
        model.track([view], replace(tracked, joint_positions=np.zeros(3)))
    for wrong in ({'points': 0}, {'fine_steps': -1}, {'lost_below': 2.0}):
        with pytest.raises(ArticulationError, match=next(iter(wrong)).split('_')[0]):
            TrackingConfig(**wrong)
