"""Plots of cameras: what is drawn, in which colours."""

import cv2
import numpy as np
import pytest

from posefield.evaluation.trajectory_plots import (
    MOST_CAMERAS,
    CameraPair,
    Names,
    colour_range,
    refinement,
    trajectory,
)
from posefield.geometry.poses import perturbed, pose_errors


def pair(translation: float, rotation_deg: float, count: int = 12) -> CameraPair:
    """Cameras on a straight drive of 2 units, each off by this much."""
    generator = np.random.default_rng(0)
    truths = np.tile(np.eye(4), (count, 1, 1))
    truths[:, 0, 3] = np.linspace(0.0, 2.0, count)
    estimates = np.array([perturbed(T, translation, rotation_deg, generator) for T in truths])
    angles = [pose_errors(*poses).rotation_deg for poses in zip(estimates, truths, strict=True)]
    return CameraPair(truths, estimates, np.array(angles))


def decode(png: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), 4)


def share_of_colour(image: np.ndarray, rgb: tuple[int, int, int]) -> float:
    return float((np.abs(image.astype(int) - rgb).max(axis=-1) < 12).mean())


DARK, BRIGHT = (68, 1, 84), (253, 231, 37)


def test_estimates_far_outside_the_drive_are_left_out():
    far = pair(0.1, 1.0)
    far.estimates_N44[3, 1, 3] += 2.2
    drawn = far.drawable()
    assert len(drawn.estimates_N44) == len(drawn.angles_deg_N) == 11
    assert not any(np.array_equal(T, far.references_N44[3]) for T in drawn.references_N44)


def test_long_drives_are_thinned_evenly():
    drawn = pair(0.01, 1.0, count=3 * MOST_CAMERAS + 1).drawable()
    assert MOST_CAMERAS / 2 < len(drawn.references_N44) <= MOST_CAMERAS
    steps = np.diff(drawn.references_N44[:, 0, 3])
    np.testing.assert_allclose(steps, steps[0])


def test_nothing_in_reach_leaves_only_the_path():
    lost = pair(10.0, 90.0)
    assert len(lost.drawable().references_N44) == 0
    assert decode(trajectory(lost, 'm')).std() > 5.0


def test_one_lost_frame_does_not_take_all_the_colours():
    angles = np.full(50, 0.5)
    angles[7] = 170.0
    assert colour_range(angles).vmax == pytest.approx(0.5)
    assert colour_range(angles, np.full(50, 6.0)).vmax == pytest.approx(6.0)
    assert colour_range(np.zeros(3)).vmax > 0


def test_before_and_after_share_the_colours():
    image = decode(refinement(pair(0.2, 8.0), pair(0.002, 0.05), 'm'))
    before, after = np.split(image[: int(0.88 * len(image))], 2, axis=1)
    assert share_of_colour(before, BRIGHT) > 0.01 > share_of_colour(after, BRIGHT)
    assert share_of_colour(after, DARK) > 0.01 > share_of_colour(before, DARK)


def test_a_single_camera_can_be_drawn():
    alone = pair(0.1, 1.0, count=1)
    names = Names('A', 'B', 'difference (deg)')
    assert decode(refinement(alone, alone, 'm', names)).std() > 5.0
