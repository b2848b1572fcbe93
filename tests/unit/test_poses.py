"""Rigid transforms, by their properties."""

import math

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest
from scipy.linalg import expm
import torch

from posefield.errors import PoseError
from posefield.geometry.poses import (
    as_rigid,
    from_quat_xyzw,
    invert,
    perturbed,
    pose_errors,
    retract,
    rotation_angle_deg,
    skew,
    to_quat_xyzw,
)

coordinates = st.floats(-10.0, 10.0)
vectors = arrays(np.float64, 3, elements=coordinates)
quaternions = arrays(np.float64, 4, elements=st.floats(-1.0, 1.0)).filter(
    lambda q: np.linalg.norm(q) > 0.1
)
twists = arrays(np.float64, 6, elements=st.floats(-3.0, 3.0))


@st.composite
def poses(draw) -> np.ndarray:
    return from_quat_xyzw(draw(quaternions), draw(vectors))


@given(quaternions, vectors)
def test_a_quaternion_survives_the_matrix(quat_xyzw, translation):
    T = from_quat_xyzw(quat_xyzw, translation)
    unit = quat_xyzw / np.linalg.norm(quat_xyzw)
    back = to_quat_xyzw(T)
    assert back[3] >= 0
    np.testing.assert_allclose(abs(back @ unit), 1.0, atol=1e-12)
    np.testing.assert_allclose(from_quat_xyzw(back, translation), T, atol=1e-12)


def test_the_order_of_a_quaternion_is_xyzw():
    quarter_about_z = from_quat_xyzw([0, 0, math.sqrt(0.5), math.sqrt(0.5)], [1, 2, 3])
    np.testing.assert_allclose(
        quarter_about_z, [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-12
    )


@given(poses())
def test_the_inverse_undoes(T):
    np.testing.assert_allclose(invert(T) @ T, np.eye(4), atol=1e-9)
    stacked = invert(np.stack([T, np.eye(4)]))
    np.testing.assert_allclose(stacked[0], np.linalg.inv(T), atol=1e-9)


@given(poses(), arrays(np.float64, (3, 4), elements=st.floats(-1e-4, 1e-4)))
def test_rounding_is_forgiven_and_removed(T, rounding):
    rough = T.copy()
    rough[:3] += rounding
    rigid = as_rigid(rough, 'pose')
    np.testing.assert_allclose(rigid[:3, :3] @ rigid[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rigid, T, atol=1e-3)
    np.testing.assert_allclose(as_rigid(rough[:3], 'pose'), rigid)


@given(poses(), st.sampled_from(['scale', 'shear', 'mirror', 'nan', 'row', 'infinite']))
def test_what_is_not_rigid_is_refused(T, defect):
    R = T[:3, :3]
    if defect == 'scale':
        R *= 1.01
    elif defect == 'shear':
        R[:] = R @ np.array([[1, 0.1, 0], [0, 1, 0], [0, 0, 1]])
    elif defect == 'mirror':
        R[:] = R @ np.diag([1, 1, -1])
    elif defect == 'nan':
        T[0, 3] = np.nan
    elif defect == 'infinite':
        T[1, 1] = np.inf
    else:
        T[3] = [0, 0, 1, 0]
    with pytest.raises(PoseError, match='^The pose of x '):
        as_rigid(T, 'The pose of x')


@pytest.mark.parametrize('shape', [(3, 3), (4,), (4, 5)])
def test_a_matrix_of_another_shape_is_refused(shape):
    with pytest.raises(PoseError, match='shape'):
        as_rigid(np.zeros(shape), 'pose')


@given(poses(), st.floats(0.0, 5.0), st.floats(0.0, 179.0), st.integers(0, 100))
def test_a_perturbation_has_exactly_its_size(T, distance, angle_deg, seed):
    moved = perturbed(T, distance, angle_deg, np.random.default_rng(seed))
    errors = pose_errors(moved, T)
    assert errors.translation == pytest.approx(distance, abs=1e-9)
    assert errors.rotation_deg == pytest.approx(angle_deg, abs=1e-5)
    as_rigid(moved, 'moved')


@pytest.mark.parametrize('angle_deg', [0.0, 1e-7, 0.05, 90.0, 179.9999, 180.0])
def test_angles_are_exact_at_both_ends(angle_deg):
    half = math.radians(angle_deg) / 2
    T = from_quat_xyzw([math.sin(half), 0, 0, math.cos(half)], np.zeros(3))
    assert rotation_angle_deg(T) == pytest.approx(angle_deg, abs=1e-9)


@given(vectors, vectors)
def test_skew_is_the_cross_product(a, b):
    np.testing.assert_allclose(skew(a) @ b, np.cross(a, b), atol=1e-9)


@given(poses(), twists)
def test_retraction_is_the_matrix_exponential_of_the_rotation_then_a_shift(T, twist):
    moved = retract(torch.from_numpy(T), torch.from_numpy(twist)).numpy()
    update = np.eye(4)
    update[:3, :3] = expm(skew(twist[3:]))
    update[:3, 3] = twist[:3]
    np.testing.assert_allclose(moved, update @ T, atol=1e-9)


def test_retraction_takes_batches_and_gradients():
    T = torch.eye(4, dtype=torch.float64).expand(5, 4, 4)
    twist = torch.zeros(5, 6, dtype=torch.float64, requires_grad=True)
    moved = retract(T, twist)
    np.testing.assert_array_equal(moved.detach(), T)
    moved[..., 0, 3].sum().backward()
    np.testing.assert_allclose(twist.grad, [[1, 0, 0, 0, 0, 0]] * 5)
