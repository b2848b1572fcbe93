"""The composition of pose parameters (NeFeS section 11, item 5) and what Adam does to them."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.spatial.transform import Rotation
import torch

from posefield.geometry.poses import skew
from posefield.relocalization.refiners.gradient_config import LearningRates
from posefield.relocalization.refiners.pose_parameters import PoseOffset, compose, left_jacobian
from support.textured_room import look_at

T_START = torch.from_numpy(look_at(np.array([-0.9, -0.7, 0.1]), np.array([1.0, 0.5, -0.2])))
R_VECTOR = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
TAU = torch.tensor([0.1, 0.4, -0.7], dtype=torch.float64)
ZERO = torch.zeros(3, dtype=torch.float64)


@pytest.mark.parametrize('exponential', [True, False])
def test_a_rotation_leaves_the_camera_centre_and_turns_about_the_axes_of_the_world(exponential):
    T = compose(T_START, R_VECTOR, ZERO, exponential)
    torch.testing.assert_close(T[:3, 3], T_START[:3, 3])
    expected = Rotation.from_rotvec(R_VECTOR.numpy()).as_matrix() @ T_START[:3, :3].numpy()
    np.testing.assert_allclose(T[:3, :3].numpy(), expected, atol=1e-12)
    assert T[3].tolist() == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize('exponential', [True, False])
def test_a_translation_moves_the_centre_along_the_axes_of_the_world(exponential):
    T = compose(T_START, ZERO, TAU, exponential)
    torch.testing.assert_close(T[:3, 3], T_START[:3, 3] + TAU)
    torch.testing.assert_close(T[:3, :3], T_START[:3, :3])


def test_both_together_translate_by_the_exponential_of_the_twist_or_by_tau():
    twist = np.zeros((4, 4))
    twist[:3, :3], twist[:3, 3] = skew(R_VECTOR.numpy()), TAU.numpy()
    along = torch.from_numpy(expm(twist)[:3, 3])
    together = compose(T_START, R_VECTOR, TAU, exponential=True)
    torch.testing.assert_close(together[:3, 3], T_START[:3, 3] + along)
    apart = compose(T_START, R_VECTOR, TAU, exponential=False)
    torch.testing.assert_close(apart[:3, 3], T_START[:3, 3] + TAU)
    torch.testing.assert_close(apart[:3, :3], together[:3, :3])


@pytest.mark.parametrize('angle', [0.0, 1e-9, 5e-3, 0.0099999, 0.0100001, 1.0, 3.0])
def test_the_left_jacobian_is_that_of_the_exponential_at_any_angle(angle):
    r = angle * torch.tensor([0.6, -0.48, 0.64], dtype=torch.float64)
    K = skew(r.numpy())
    series, term = np.eye(3), np.eye(3)
    for k in range(1, 30):
        term = term @ K / (k + 1)
        series = series + term
    np.testing.assert_allclose(left_jacobian(r).numpy(), series, atol=1e-11)


@pytest.mark.parametrize('r', [ZERO, 1e-3 * R_VECTOR, R_VECTOR])
def test_gradients_agree_with_finite_differences_also_at_the_start(r):
    def moved(rotation: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
        return compose(T_START, rotation, tau, exponential=True)

    inputs = (r.clone().requires_grad_(), TAU.clone().requires_grad_())
    assert torch.autograd.gradcheck(moved, inputs)


def test_a_first_step_moves_each_axis_by_the_rates():
    offset = PoseOffset(T_START, LearningRates(0.01, 0.1), exponential=False)
    torch.testing.assert_close(offset.pose(), T_START)
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    loss = weights @ offset.pose()[:3, 3] + weights @ offset.r
    loss.backward()
    offset.optimiser.step()
    torch.testing.assert_close(offset.r.detach(), -0.01 * weights.sign(), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(offset.tau.detach(), -0.1 * weights.sign(), rtol=1e-6, atol=0.0)
