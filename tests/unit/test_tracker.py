"""The state machine that turns localizations into published poses."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posefield.geometry.camera import Camera
from posefield.geometry.poses import invert
from posefield.relocalization.tracker import (
    RelocalizationTracker,
    TrackingState,
    moved_covariance,
)
from posefield.relocalization.tracker_config import TrackerConfig
from support.fake_localizer import FakeLocalizer, localization

CAMERA = Camera(8, 6, 10.0, 10.0, 3.5, 2.5)
IMAGE = np.zeros((6, 8, 3), np.uint8)
T_BASE_CAM = np.eye(4)
T_BASE_CAM[:3, :3] = Rotation.from_euler('xyz', [-np.pi / 2, 0, -np.pi / 2]).as_matrix()
T_BASE_CAM[:3, 3] = [0.2, 0.0, 0.5]


def at(x: float, y: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler('z', yaw).as_matrix()
    T[:3, 3] = [x, y, 0.0]
    return T


class Drive:
    """A robot whose true base pose and odometry are scripted; one image a second."""

    def __init__(self, config: TrackerConfig | None = None, odometry: bool = True):
        self.T_map_base = np.eye(4)
        self.T_map_odom = at(3.0, -1.0, 0.7)
        self.accepted = True
        self.error = np.zeros(3)
        self.odometry = odometry
        self.localizer = FakeLocalizer(self.answer)
        self.tracker = RelocalizationTracker(self.localizer, config)
        self.stamp_s = 100.0

    def answer(self, image, camera, prior):
        T_map_cam = self.T_map_base @ T_BASE_CAM
        T_map_cam[:3, 3] += self.error
        return localization(T_map_cam, accepted=self.accepted)

    def image(self, T_map_base=None, *, dt=1.0):
        if T_map_base is not None:
            self.T_map_base = T_map_base
        self.stamp_s += dt
        T_odom_base = invert(self.T_map_odom) @ self.T_map_base if self.odometry else None
        return self.tracker.process(IMAGE, CAMERA, self.stamp_s, T_odom_base, T_BASE_CAM)

    @property
    def prior(self):
        return self.localizer.calls[-1][2]


def test_first_accepted_fix_is_published_with_base_and_odometry_frames():
    drive = Drive()
    assert drive.tracker.state == TrackingState.UNINITIALIZED
    tracked = drive.image(at(1.0, 2.0, 0.3))
    assert tracked.published and tracked.state == TrackingState.TRACKING
    assert drive.prior is None and tracked.gate_distance is None
    np.testing.assert_allclose(tracked.T_map_base, at(1.0, 2.0, 0.3), atol=1e-12)
    np.testing.assert_allclose(tracked.T_map_odom, drive.T_map_odom, atol=1e-12)


def test_prior_is_the_last_fix_moved_by_odometry():
    drive = Drive()
    drive.image(at(1.0))
    tracked = drive.image(at(1.3, 0.1, 0.2))
    np.testing.assert_allclose(drive.prior.T_map_cam, at(1.3, 0.1, 0.2) @ T_BASE_CAM, atol=1e-9)
    assert tracked.published and tracked.gate_distance < 0.1


def test_prior_widens_with_the_distance_travelled():
    drive = Drive()
    drive.image(at(0.0))
    drive.image(at(0.1))
    near = np.diag(drive.prior.covariance).copy()
    drive.image(at(0.7))
    assert (np.diag(drive.prior.covariance)[:3] > near[:3]).all()


def test_without_odometry_the_pose_stays_and_the_prior_widens_with_time():
    drive = Drive(odometry=False)
    first = drive.image(at(1.0))
    assert first.T_map_odom is None
    drive.image(at(1.01), dt=0.1)
    np.testing.assert_allclose(drive.prior.T_map_cam, at(1.0) @ T_BASE_CAM, atol=1e-12)
    narrow = np.trace(drive.prior.covariance)
    drive.image(at(1.02), dt=0.3)
    assert np.trace(drive.prior.covariance) > narrow


def test_a_prior_that_says_nothing_is_not_given():
    drive = Drive(odometry=False)
    drive.image(at(1.0))
    drive.image(at(1.0), dt=60.0)
    assert drive.prior is None


def test_without_extrinsics_the_base_is_the_camera():
    tracker = RelocalizationTracker(FakeLocalizer(lambda *_: localization(at(4.0, 1.0))))
    tracked = tracker.process(IMAGE, CAMERA, 1.0)
    np.testing.assert_allclose(tracked.T_map_base, at(4.0, 1.0))
    np.testing.assert_allclose(tracked.covariance_base, tracked.localization.covariance)


def test_nothing_is_published_before_k_of_n_fixes_agree():
    drive = Drive(TrackerConfig(confirm_k=3, confirm_n=4))
    for expected in ('1 of 3', '2 of 3'):
        tracked = drive.image(drive.T_map_base @ at(0.2))
        assert not tracked.published and tracked.state == TrackingState.CONFIRMING
        assert expected in tracked.reason
        assert drive.prior is None
    assert drive.image(drive.T_map_base @ at(0.2)).published


def test_fixes_that_disagree_through_odometry_do_not_confirm_each_other():
    drive = Drive(TrackerConfig(confirm_k=2, confirm_n=2))
    for jump in (0.0, 5.0, 0.0, 5.0):
        drive.error = np.array([jump, 0.0, 0.0])
        assert not drive.image().published
    assert drive.image().published


def test_a_failed_image_counts_in_the_window():
    drive = Drive(TrackerConfig(confirm_k=2, confirm_n=2))
    assert drive.image().state == TrackingState.CONFIRMING
    drive.accepted = False
    assert drive.image().state == TrackingState.CONFIRMING
    assert drive.image().state == TrackingState.SEARCHING
    drive.accepted = True
    assert not drive.image().published
    assert drive.image().published


def test_rejections_degrade_then_lose_then_search_without_prior():
    drive = Drive(TrackerConfig(lost_after=3))
    drive.image()
    drive.accepted = False
    states = [drive.image(drive.T_map_base @ at(0.05)).state for _ in range(3)]
    assert states == [TrackingState.DEGRADED, TrackingState.DEGRADED, TrackingState.LOST]
    assert drive.image().state == TrackingState.SEARCHING
    assert drive.prior is None
    drive.accepted = True
    tracked = drive.image()
    assert drive.prior is None and tracked.published


def test_one_good_image_ends_degradation():
    drive = Drive(TrackerConfig(lost_after=2))
    drive.image()
    for _ in range(3):
        drive.accepted = False
        assert drive.image().state == TrackingState.DEGRADED
        drive.accepted = True
        assert drive.image().state == TrackingState.TRACKING


def test_an_accepted_fix_outside_the_gate_is_not_published_and_names_the_distance():
    drive = Drive()
    drive.image()
    drive.error = np.array([1.0, 0.0, 0.0])
    tracked = drive.image()
    assert tracked.localization.accepted and not tracked.published
    assert tracked.state == TrackingState.DEGRADED
    assert 'sigmas' in tracked.reason and tracked.gate_distance > 4.1


def test_a_kidnapped_robot_is_found_again():
    drive = Drive(TrackerConfig(lost_after=2))
    drive.image()
    drive.error = np.array([1.0, 0.5, 0.0])
    assert [drive.image().published for _ in range(3)] == [False, False, True]
    assert drive.image().state == TrackingState.TRACKING


def test_the_gate_passes_honest_noise():
    generator = np.random.default_rng(0)
    drive = Drive()
    published = []
    for _ in range(50):
        drive.error = generator.normal(scale=0.01, size=3)
        published.append(drive.image(drive.T_map_base @ at(0.1, 0.0, 0.05)).published)
    assert np.mean(published) > 0.95


def test_initial_pose_is_a_prior_and_never_gates_or_publishes():
    drive = Drive()
    covariance = np.diag([0.25] * 3 + [0.07] * 3)
    drive.tracker.set_initial_pose(at(9.0), covariance)
    assert drive.tracker.state == TrackingState.SEARCHING
    drive.accepted = False
    assert not drive.image(at(0.0)).published
    np.testing.assert_allclose(drive.prior.T_map_cam, at(9.0) @ T_BASE_CAM, atol=1e-9)
    drive.image(at(0.5))
    np.testing.assert_allclose(drive.prior.T_map_cam, at(9.5) @ T_BASE_CAM, atol=1e-9)
    drive.accepted = True
    tracked = drive.image()
    assert tracked.published and tracked.gate_distance is None


def test_a_wrong_initial_pose_is_dropped_in_the_end():
    drive = Drive(TrackerConfig(lost_after=2))
    drive.tracker.set_initial_pose(at(9.0), np.eye(6) * 0.1)
    drive.accepted = False
    drive.image(), drive.image(), drive.image()
    assert drive.prior is None


def test_reset_forgets_the_pose():
    drive = Drive()
    drive.image()
    drive.tracker.reset()
    assert drive.tracker.state == TrackingState.UNINITIALIZED
    drive.image()
    assert drive.prior is None


def test_time_that_starts_again_resets():
    drive = Drive()
    drive.image()
    drive.stamp_s -= 50.0
    drive.image()
    assert drive.prior is None


def test_reconfigure_keeps_the_pose():
    drive = Drive()
    drive.image()
    drive.tracker.reconfigure(TrackerConfig(gate_sigmas=2.0, confirm_n=7))
    drive.image()
    assert drive.prior is not None


def test_covariance_of_the_base_matches_sampled_poses():
    generator = np.random.default_rng(1)
    covariance = np.diag([1e-4, 2e-4, 3e-4, 1e-4, 4e-4, 2e-4])
    T_map_cam = at(1.0, 2.0, 0.4) @ T_BASE_CAM
    twists = generator.multivariate_normal(np.zeros(6), covariance, size=20000)
    T_cam_base = invert(T_BASE_CAM)
    T_map_base = T_map_cam @ T_cam_base
    R = Rotation.from_rotvec(twists[:, 3:]).as_matrix() @ T_map_cam[:3, :3]
    positions = T_map_cam[:3, 3] + twists[:, :3] + R @ T_cam_base[:3, 3]
    errors = np.concatenate([positions - T_map_base[:3, 3], twists[:, 3:]], axis=1)
    predicted = moved_covariance(covariance, T_map_base[:3, 3] - T_map_cam[:3, 3])
    np.testing.assert_allclose(np.cov(errors.T), predicted, atol=1.5e-5)


@pytest.mark.parametrize('odometry', [True, False])
def test_the_same_images_give_the_same_answers(odometry):
    answers = []
    for _ in range(2):
        drive = Drive(odometry=odometry)
        answers.append([drive.image(at(0.1 * i), dt=0.1).gate_distance for i in range(4)])
    assert answers[0] == answers[1]
