"""Offline replay of a drive through the tracker."""

from dataclasses import replace

import numpy as np
import pytest

from posefield.errors import CameraError
from posefield.evaluation.evaluate_bag import ReplayImage, replay, replay_figures
from posefield.geometry.camera import Camera
from posefield.geometry.trajectory import Trajectory
from posefield.learning.progress import QuietProgress
from posefield.relocalization.tracker import TrackerConfig
from support.fake_localizer import FakeLocalizer, localization

CAMERA = Camera(8, 6, 10.0, 10.0, 3.5, 2.5)


def pose(x: float) -> np.ndarray:
    T = np.eye(4)
    T[0, 3] = x
    return T


def images(count: int = 6) -> list[ReplayImage]:
    """A camera that moves 0.1 in x a second; the red value is the frame's number."""
    return [
        ReplayImage(10.0 + index, np.full((6, 8, 3), index, np.uint8), CAMERA, pose(0.1 * index))
        for index in range(count)
    ]


def truth(count: int = 6) -> Trajectory:
    return Trajectory(
        10.0 + np.arange(count), np.array([pose(0.1 * index) for index in range(count)])
    )


def run(answer, drive=None, true=None):
    localizer = FakeLocalizer(answer, info={'units': 'metres', 'field_short_side': 6})
    drive = images() if drive is None else drive
    outcome = replay(localizer, drive, len(drive), true, TrackerConfig(), QuietProgress())
    return localizer, outcome


def off_by_a_centimetre(image, camera, prior):
    return localization(pose(0.1 * image[0, 0, 0] + 0.01))


def test_every_image_is_scored_against_the_truth_at_its_stamp():
    _, outcome = run(off_by_a_centimetre, true=truth())
    figures = replay_figures(outcome, truth())
    assert figures['frames'] == figures['images'] == 6
    assert figures['published_share'] == 1.0
    assert figures['median_translation_error'] == pytest.approx(0.01)
    assert figures['trajectory']['translation']['rmse'] == pytest.approx(0.01)
    assert figures['states'] == {'tracking': 6}


def test_the_next_prior_is_the_pose_moved_by_odometry():
    localizer, _ = run(off_by_a_centimetre)
    priors = [prior for _, _, prior in localizer.calls]
    assert priors[0] is None
    np.testing.assert_allclose(priors[1].T_map_cam[0, 3], 0.11)


def test_what_the_gate_stops_is_not_published():
    def jumps(image, camera, prior):
        found = off_by_a_centimetre(image, camera, prior)
        if image[0, 0, 0] == 3:
            found = replace(found, T_map_cam=pose(5.0))
        return found

    _, outcome = run(jumps, true=truth())
    assert len(outcome.published) == 5
    figures = replay_figures(outcome, truth())
    assert figures['accepted_share'] == pytest.approx(5 / 6)
    assert figures['false_accept_share'] == 0.0


def test_an_image_that_cannot_be_localized_counts_as_lost():
    def fails(image, camera, prior):
        if image[0, 0, 0] == 2:
            raise CameraError('The image is 8x6 but its intrinsics are for 9x9.')
        return off_by_a_centimetre(image, camera, prior)

    _, outcome = run(fails, true=truth())
    assert replay_figures(outcome, truth())['frames_without_pose'] == 1
    assert '9x9' in outcome.results[2].failure


def test_images_without_truth_near_them_are_counted_apart():
    short = truth(3)
    _, outcome = run(off_by_a_centimetre, true=short)
    figures = replay_figures(outcome, short)
    assert figures['frames'] == 3
    assert figures['images_without_truth'] == 3
    assert figures['trajectory']['unmatched'] == 3


def test_without_any_truth_there_are_only_counts():
    _, outcome = run(off_by_a_centimetre)
    assert set(replay_figures(outcome, None)) == {'images', 'published_share', 'states'}
    assert len(outcome.published) == 6


def test_the_same_drive_gives_the_same_poses():
    _, first = run(off_by_a_centimetre)
    _, second = run(off_by_a_centimetre)
    np.testing.assert_array_equal(first.published.poses_N44, second.published.poses_N44)
