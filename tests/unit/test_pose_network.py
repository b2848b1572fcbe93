"""Poses of parts from a frame's number (watch_it_move.md section 2)."""

import math

import pytest
import torch

from posefield.articulation.pose_network import (
    PoseNetwork,
    cosine_features,
    pose_matrices,
    rotation_6d,
)


def _network(parts=4, frames=20, features=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return PoseNetwork(parts, frames, features, width=32, depth=3, generator=generator)


def test_features_are_the_cosines_of_the_frame():
    found = cosine_features(torch.tensor([0, 3, 9]), 10, 4)
    for row, frame in enumerate((0, 3, 9)):
        for k in range(4):
            expected = math.cos(math.pi * k * (frame / 10 + 0.5 / 10))
            assert float(found[row, k]) == pytest.approx(expected, abs=1e-6)
    assert torch.equal(found[:, 0], torch.ones(3))


def test_features_of_all_frames_are_at_right_angles():
    features = cosine_features(torch.arange(12), 12, 12).double()
    products = features.T @ features
    off_diagonal = products - torch.diag(products.diagonal())
    assert off_diagonal.abs().max() < 1e-5


def test_six_numbers_make_a_rotation_with_the_first_vector_as_its_first_row():
    numbers = torch.randn(50, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    R = rotation_6d(numbers)
    identity = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(R @ R.transpose(-1, -2), identity.expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(50, dtype=torch.float64))
    first = numbers[:, :3] / numbers[:, :3].norm(dim=1, keepdim=True)
    torch.testing.assert_close(R[:, 0], first)
    # The second row lies in the plane of the two vectors, on the side of the second.
    normals = torch.linalg.cross(numbers[:, :3], numbers[:, 3:])
    torch.testing.assert_close((R[:, 1] * normals).sum(1), torch.zeros(50, dtype=torch.float64))
    assert ((R[:, 1] * numbers[:, 3:]).sum(1) > 0).all()


def test_scaling_the_six_numbers_changes_nothing():
    numbers = torch.randn(5, 6, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(rotation_6d(1e-4 * numbers), rotation_6d(numbers))


def test_matrices_have_rotation_and_translation_in_their_places():
    R = rotation_6d(torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(3)))
    t = torch.arange(18.0).reshape(2, 3, 3)
    T = pose_matrices(R, t)
    assert torch.equal(T[..., :3, :3], R)
    assert torch.equal(T[..., :3, 3], t)
    assert torch.equal(T[..., 3, :], torch.tensor([0.0, 0, 0, 1]).expand(2, 3, 4))


def test_a_network_gives_rigid_poses_near_the_origin_by_its_seed():
    network = PoseNetwork(20, 300, 30, generator=torch.Generator().manual_seed(0))
    T = network(torch.tensor([0, 150, 299]))
    assert T.shape == (3, 20, 4, 4)
    R = T[..., :3, :3]
    torch.testing.assert_close(
        R @ R.transpose(-1, -2), torch.eye(3).expand(3, 20, 3, 3), atol=1e-5, rtol=0
    )
    assert T[..., :3, 3].abs().max() < 0.2
    # Neighbouring frames have nearly the same poses.
    steps = network.all_frames().diff(dim=0)
    assert steps.abs().mean() < 0.1
    assert steps[..., :3, 3].abs().max() < 0.05
    again = PoseNetwork(20, 300, 30, generator=torch.Generator().manual_seed(0))
    other = PoseNetwork(20, 300, 30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again(torch.tensor([5])), network(torch.tensor([5])))
    assert not torch.equal(other(torch.tensor([5])), network(torch.tensor([5])))


def test_all_frames_are_those_of_the_video_in_order():
    network = _network()
    T = network.all_frames()
    assert T.shape == (20, 4, 4, 4)
    torch.testing.assert_close(T[7], network(torch.tensor([7]))[0])


def test_the_poses_can_be_learned():
    network = _network(parts=1, frames=8, features=8)
    wanted = rotation_6d(torch.randn(8, 1, 6, generator=torch.Generator().manual_seed(4)))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        loss = (network.all_frames()[..., :3, :3] - wanted).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 1e-3
