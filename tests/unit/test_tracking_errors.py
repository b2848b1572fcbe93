"""Errors of tracked joint angles against the truth."""

from dataclasses import replace

import numpy as np
import pytest

from posefield.evaluation.tracking_errors import (
    angle_errors_deg,
    same_joints,
    tracking_summary,
)
from support.sphere_arm import motion, positions, skeleton, truth, without_motion_of


def turned_round():
    """A model of the arm whose `tilt` turns the other way and has its zero elsewhere."""
    found = motion()
    tilt = skeleton().joint('tilt')
    turned = replace(tilt, name='elbow', axis_3=-tilt.axis_3)
    joints = tuple(turned if joint.name == 'tilt' else joint for joint in found.skeleton.joints)
    moves = found.positions_FD.copy()
    moves[:, 1] = 0.4 - moves[:, 1]
    return replace(found, skeleton=replace(found.skeleton, joints=joints), positions_FD=moves)


def test_the_same_joints_are_found_whichever_way_they_turn():
    pan, tilt = same_joints(turned_round(), truth())
    assert (pan.name, pan.found, pan.sign) == ('pan', 'pan', 1.0)
    assert pan.offset == pytest.approx(0.0, abs=1e-9)
    assert (tilt.name, tilt.found, tilt.sign) == ('tilt', 'elbow', -1.0)
    assert tilt.offset == pytest.approx(0.4)


def test_errors_are_of_angles_and_go_round_the_circle():
    joints = same_joints(turned_round(), truth())
    true = positions()[:6]
    tracked = true.copy()
    tracked[:, 1] = 0.4 - true[:, 1]
    np.testing.assert_allclose(angle_errors_deg(joints, tracked, true), 0.0, atol=1e-6)
    tracked[:, 0] += 2.0 * np.pi + np.deg2rad(3.0)
    tracked[2, 1] += np.deg2rad(20.0)
    summary = tracking_summary(joints, tracked, true)
    pan, tilt = summary['joints_followed']
    assert pan['median_error_deg'] == pytest.approx(3.0)
    assert tilt['median_error_deg'] == pytest.approx(0.0, abs=1e-6)
    assert tilt['p90_error_deg'] == pytest.approx(10.0)
    assert tilt['travel_deg'] == pytest.approx(np.rad2deg(np.ptp(true[:, 1])))
    assert summary['joint_angle_error_deg'] == pytest.approx(3.0)


def test_without_a_joint_in_common_there_is_no_figure():
    still = without_motion_of('pan', without_motion_of('tilt', motion()))
    joints = same_joints(still, truth())
    assert joints == []
    summary = tracking_summary(joints, np.zeros((4, 0)), positions()[:4])
    assert summary['joint_angle_error_deg'] is None
    assert summary['joints_followed'] == []
