"""Pulling parts towards hinges."""

import numpy as np
import pytest
import torch

from posefield.articulation.hinge_pull import HingePull, fit_hinge

ANGLES_F = 0.8 * np.sin(np.linspace(0.0, 5.0, 30))
JOINT_3 = np.array([0.3, 0.0, 0.1])


def arm(noise: float = 0.0) -> np.ndarray:
    """Return a part at rest, one that turns about y through JOINT_3, and one fixed to that."""
    T = np.tile(np.eye(4), (len(ANGLES_F), 3, 1, 1))
    R = np.tile(np.eye(3), (len(ANGLES_F), 1, 1))
    R[:, 0, 0] = R[:, 2, 2] = np.cos(ANGLES_F)
    R[:, 0, 2], R[:, 2, 0] = np.sin(ANGLES_F), -np.sin(ANGLES_F)
    for part, reach in ((1, 0.25), (2, 0.7)):
        T[:, part, :3, :3] = R
        T[:, part, :3, 3] = JOINT_3 + R @ [reach, 0.0, 0.0]
    T[:, :, :3, 3] += noise * np.random.default_rng(0).normal(size=T[:, :, :3, 3].shape)
    return T


RADII_P3 = np.array([[0.3, 0.1, 0.15], [0.25, 0.08, 0.08], [0.22, 0.07, 0.07]])


@pytest.mark.parametrize('noise', [0.0, 0.01])
def test_hinge_is_found_from_motion(noise):
    T = arm(noise)
    contact = np.tile(JOINT_3 + [0.02, 0.05, 0.0], (len(T), 1))
    u, v, p, q, point_stray, axis_stray = fit_hinge(T[:, 0], T[:, 1], contact)
    assert abs(u[1]) == pytest.approx(1, abs=1e-6) and abs(v[1]) == pytest.approx(1, abs=1e-6)
    # Across the axis the motion tells; along it the contact.
    np.testing.assert_allclose(p[[0, 2]], JOINT_3[[0, 2]], atol=0.012)
    assert p[1] == pytest.approx(0.05, abs=0.02)
    np.testing.assert_allclose(q[[0, 2]], [-0.25, 0.0], atol=0.012)
    assert point_stray < 0.01 + 3 * noise and axis_stray < 1e-5


def test_tree_joins_neighbours_and_hinges_cost_nothing():
    hinges = HingePull(3)
    hinges.choose_tree(arm(), RADII_P3)
    assert hinges.ready
    assert {tuple(sorted(edge)) for edge in hinges.edges_E2.tolist()} == {(0, 1), (1, 2)}
    T = torch.tensor(arm(), dtype=torch.float32)
    assert hinges.loss(T[..., :3, :3], T[..., :3, 3]).item() < 1e-4
    T[::2, 1, 1, 3] += 0.2  # The part in the middle jumps out of both joints.
    assert hinges.loss(T[..., :3, :3], T[..., :3, 3]).item() > 0.02


def test_pull_turns_a_part_back_into_its_hinge():
    hinges = HingePull(3)
    hinges.choose_tree(arm(), RADII_P3)
    R = torch.tensor(arm()[..., :3, :3], dtype=torch.float32)
    t = torch.tensor(arm()[..., :3, 3], dtype=torch.float32)
    roll = torch.zeros(len(t), requires_grad=True)
    with torch.no_grad():
        roll += 0.3 * torch.linspace(-1, 1, len(t))

    def loss():
        c, s, one = roll.cos(), roll.sin(), torch.ones_like(roll)
        zero = torch.zeros_like(roll)
        about_x = torch.stack([one, zero, zero, zero, c, -s, zero, s, c], dim=1).view(-1, 3, 3)
        turned = torch.stack([R[:, 0], R[:, 1] @ about_x, R[:, 2]], dim=1)
        return hinges.loss(turned, t)

    optimizer = torch.optim.SGD([roll], lr=200.0)
    for _ in range(100):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert roll.abs().max() < 0.05
