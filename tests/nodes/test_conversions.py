"""Poses and covariances to and from messages."""

from geometry_msgs.msg import Pose, Quaternion
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from posefield.errors import PoseError
from posefield.geometry.poses import from_quat_xyzw, to_quat_xyzw
from posefield.nodes import conversions

components = st.floats(-1.0, 1.0)
quaternions = st.tuples(components, components, components, components).filter(
    lambda q: np.linalg.norm(q) > 0.1
)


@settings(max_examples=50, deadline=None)
@given(quaternions, st.tuples(*[st.floats(-100, 100)] * 3))
def test_poses_survive_the_round_trip_in_xyzw_order(quat_xyzw, translation):
    T = from_quat_xyzw(quat_xyzw, translation)
    message = conversions.pose_to_message(T)
    q = message.orientation
    sent = np.array([q.x, q.y, q.z, q.w])
    assert abs(abs(sent @ to_quat_xyzw(T)) - 1.0) < 1e-9
    np.testing.assert_allclose(conversions.pose_from_message(message, 'it'), T, atol=1e-9)


def test_roll_pitch_yaw_are_fixed_axis_radians():
    T = from_quat_xyzw([0.0, 0.0, np.sin(0.25), np.cos(0.25)], [0, 0, 0])
    np.testing.assert_allclose(conversions.roll_pitch_yaw(T), [0.0, 0.0, 0.5], atol=1e-12)


@pytest.mark.parametrize('w', [0.0, 3.0, float('nan')])
def test_a_quaternion_that_is_none_is_refused_by_name(w):
    pose = Pose(orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=w))
    with pytest.raises(PoseError, match='initialpose'):
        conversions.pose_from_message(pose, 'initialpose')


def test_a_position_that_is_not_finite_is_refused():
    pose = Pose()
    pose.position.y = float('inf')
    with pytest.raises(PoseError, match='finite'):
        conversions.pose_from_message(pose, 'initialpose')


def test_covariances_are_row_major():
    covariance = np.diag(np.arange(1.0, 7.0))
    covariance[0, 5] = covariance[5, 0] = 0.5
    message = conversions.pose_with_covariance(np.eye(4), covariance)
    assert message.covariance[5] == 0.5 and message.covariance[7] == 2.0
    read = conversions.covariance_from_message(message.covariance, 'it')
    np.testing.assert_allclose(read, covariance)


def test_the_zeros_that_rviz_sends_are_filled():
    sent = np.zeros((6, 6))
    sent[0, 0] = sent[1, 1] = 0.16
    sent[5, 5] = 0.05
    filled = conversions.covariance_from_message(sent.ravel(), 'initialpose')
    np.testing.assert_allclose(np.diag(filled), [0.16, 0.16, 0.16, 0.05, 0.05, 0.05])
    empty = conversions.covariance_from_message(np.zeros(36), 'initialpose')
    np.testing.assert_allclose(np.diag(empty), [0.25] * 3 + [0.07] * 3)


@pytest.mark.parametrize('entry', [(0, 0, float('nan')), (1, 1, -1.0), (0, 1, 9.0)])
def test_a_covariance_that_is_none_is_refused(entry):
    row, column, value = entry
    covariance = np.eye(6)
    covariance[row, column] = covariance[column, row] = value
    with pytest.raises(PoseError, match='initialpose'):
        conversions.covariance_from_message(covariance.ravel(), 'initialpose')
