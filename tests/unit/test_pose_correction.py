"""Training poses that are learned: composition, drift and what is left of noise."""

import numpy as np
import pytest
import roma
import torch

from posefield.geometry.poses import pose_errors
from posefield.relocalization.pose_correction import PoseCorrection, alignment
from support.nefes_room import room_poses


def _poses(count: int = 12) -> torch.Tensor:
    return torch.tensor(room_poses(count), dtype=torch.float32)


def _rigid(rotvec: list[float], translation: list[float]) -> torch.Tensor:
    T = torch.eye(4)
    T[:3, :3] = roma.rotvec_to_rotmat(torch.tensor(rotvec))
    T[:3, 3] = torch.tensor(translation)
    return T


def _errors(T_N44: torch.Tensor, T_true_N44: torch.Tensor) -> np.ndarray:
    pairs = zip(T_N44.double().numpy(), T_true_N44.double().numpy(), strict=True)
    errors = [pose_errors(T, T_true) for T, T_true in pairs]
    return np.array([[e.translation, e.rotation_deg] for e in errors])


def test_nothing_is_corrected_to_begin_with():
    poses = _poses()
    torch.testing.assert_close(PoseCorrection(poses).poses(), poses, atol=1e-5, rtol=0)


def test_a_correction_moves_its_camera_from_the_left():
    poses = _poses(100)
    correction = PoseCorrection(poses)
    motion = _rigid([0.02, -0.01, 0.03], [0.05, 0.02, -0.04])
    with torch.no_grad():
        correction.rotvecs_N3[7] = torch.tensor([0.02, -0.01, 0.03])
        correction.translations_N3[7] = torch.tensor([0.05, 0.02, -0.04])
    expected = poses.clone()
    expected[7] = motion @ poses[7]
    # One camera of a hundred is a hundredth of the drift.
    errors = _errors(correction.poses(), expected)
    assert errors[:, 0].max() < 4e-3
    assert errors[:, 1].max() < 0.1
    assert _errors(poses, expected)[7].min() > 0.05


def test_a_motion_of_all_cameras_is_drift_and_taken_out():
    poses = _poses()
    correction = PoseCorrection(poses)
    with torch.no_grad():
        correction.rotvecs_N3.copy_(torch.tensor([0.2, -0.1, 0.3]).expand(12, 3))
        correction.translations_N3.copy_(torch.tensor([0.5, 0.2, -0.4]).expand(12, 3))
    torch.testing.assert_close(correction.poses(), poses, atol=1e-5, rtol=0)


@pytest.mark.parametrize('scale', [0.7, 1.0, 1.4])
@pytest.mark.parametrize('layout', ['bow', 'row'])
def test_alignment_finds_the_similarity(layout, scale):
    a = _poses().double()
    if layout == 'row':
        a[:, 1:3, 3] = 0.0
        a[:, 0, 3] = torch.linspace(-1.0, 1.0, len(a))
    motion = _rigid([0.4, 0.3, -0.2], [1.0, -2.0, 0.5]).double()
    b = motion @ a
    b[:, :3, 3] = (scale * a[:, :3, 3]) @ motion[:3, :3].T + motion[:3, 3]
    found, R, t = alignment(a, b)
    assert float(found) == pytest.approx(scale, rel=1e-6)
    torch.testing.assert_close(R, motion[:3, :3], atol=1e-6, rtol=0)
    torch.testing.assert_close(t, motion[:3, 3], atol=1e-6, rtol=0)


def test_cameras_in_one_place_have_no_scale():
    a = _poses().double()
    a[:, :3, 3] = torch.tensor([1.0, 2.0, 3.0]).double()
    motion = _rigid([0.4, 0.3, -0.2], [1.0, -2.0, 0.5]).double()
    scale, R, t = alignment(a, motion @ a)
    assert float(scale) == 1.0
    torch.testing.assert_close(R, motion[:3, :3], atol=1e-6, rtol=0)
    torch.testing.assert_close(t, motion[:3, 3], atol=1e-6, rtol=0)


def test_corrected_poses_have_no_drift_left():
    correction = PoseCorrection(_poses())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in correction.parameters():
            parameter.add_(0.1 + 0.1 * torch.randn(parameter.shape, generator=generator))
    scale, R, t = alignment(correction.poses().double(), _poses().double())
    assert float(scale) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(R, torch.eye(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(t, torch.zeros(3).double(), atol=1e-5, rtol=0)


def test_gradients_reach_the_cameras_that_were_asked_for():
    correction = PoseCorrection(_poses())
    correction(torch.tensor([2, 5])).sum().backward()
    touched = correction.rotvecs_N3.grad.abs().sum(dim=1) > 0
    assert touched.nonzero()[:, 0].tolist() == [2, 5]
    touched = correction.translations_N3.grad.abs().sum(dim=1) > 0
    assert touched.nonzero()[:, 0].tolist() == [2, 5]


def test_noisy_poses_are_learned_with_points_and_neither_drifts():
    generator = torch.Generator().manual_seed(3)
    true = _poses(16)
    points = torch.randn(80, 3, generator=generator) * 0.6 + torch.tensor([1.2, 0.0, 0.0])
    noise = 0.02 * torch.randn(16, 6, generator=generator)
    start = true.clone()
    start[:, :3, :3] = roma.rotvec_to_rotmat(noise[:, :3]) @ true[:, :3, :3]
    start[:, :3, 3] += noise[:, 3:]
    # What noise does to all cameras at once cannot be known, so the truth is aligned first.
    scale, R, t = alignment(true.double(), start.double())
    true_points = (scale * points.double() @ R.T + t).float()
    aligned = true.clone()
    aligned[:, :3, :3] = R.float() @ true[:, :3, :3]
    aligned[:, :3, 3] = (scale * true[:, :3, 3].double() @ R.T + t).float()

    def seen(T_N44, points_M3):
        local = torch.einsum('nji,nmj->nmi', T_N44[:, :3, :3], points_M3 - T_N44[:, None, :3, 3])
        return local[..., :2] / local[..., 2:]

    observed = seen(true, points)
    correction = PoseCorrection(start)
    learned = torch.nn.Parameter(true_points + 0.05 * torch.randn(80, 3, generator=generator))
    optimizer = torch.optim.Adam([*correction.parameters(), learned], lr=1e-2)
    for step in range(800):
        optimizer.param_groups[0]['lr'] = 1e-2 * 0.1 ** (step / 400)
        optimizer.zero_grad()
        (seen(correction(torch.arange(16)), learned) - observed).square().mean().backward()
        optimizer.step()
    before, after = _errors(start, aligned), _errors(correction.poses(), aligned)
    assert (np.median(after, axis=0) < 0.2 * np.median(before, axis=0)).all()
    assert float((learned.detach() - true_points).norm(dim=1).median()) < 0.01
