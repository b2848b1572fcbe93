"""What all pose regressors share: rigid poses with a gradient, names, tensors of a map."""

import json

import numpy as np
import pytest
import roma
from scipy.spatial.transform import Rotation
import torch

from posefield.errors import BundleError, LearningError
from posefield.relocalization.regressors.dfnet import DFNetConfig
from posefield.relocalization.regressors.ms_transformer import MsTransformerConfig
from posefield.relocalization.regressors.posenet import CompactPoseNet, CompactPoseNetConfig
from posefield.relocalization.regressors.posenet12 import PoseNetConfig
from posefield.relocalization.regressors.registry import (
    REGRESSORS,
    build_regressor,
    load_regressor,
)
from posefield.relocalization.regressors.regressor import evaluating, rigid_poses

SMALL = {
    'compact': CompactPoseNetConfig(channels=(8, 16), cells=2, width=16),
    'posenet': PoseNetConfig('compact', 'random', hidden=16, dropout=0.2),
    'ms-transformer': MsTransformerConfig(
        scenes=('garden', 'house'),
        scene='house',
        backbone='compact',
        weights='random',
        width=16,
        heads=2,
        hidden=16,
        translation_layers=1,
        rotation_layers=2,
        head_width=16,
        image_side=36,
        crop=32,
    ),
    'dfnet': DFNetConfig(channels=8, hidden=4, width_scale=0.07, weights='random'),
}
KINDS = sorted(SMALL)


def image(seed: int = 0) -> torch.Tensor:
    return torch.rand(24, 32, 3, generator=torch.Generator().manual_seed(seed))


def raw_poses(noise: float, count: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    R = torch.from_numpy(Rotation.random(count, random_state=0).as_matrix())
    R = R + noise * torch.randn(count, 3, 3, generator=generator, dtype=torch.float64)
    t = torch.randn(count, 3, 1, generator=generator, dtype=torch.float64)
    return torch.cat([R, t], dim=2)


@pytest.mark.parametrize('noise', [0.0, 1e-9, 1e-3, 0.3])
def test_rigid_poses_are_rigid_and_keep_the_centre(noise):
    raw = raw_poses(noise)
    T = rigid_poses(raw)
    torch.testing.assert_close(
        T[:, :3, :3] @ T[:, :3, :3].mT, torch.eye(3).double().expand(40, 3, 3)
    )
    torch.testing.assert_close(torch.linalg.det(T[:, :3, :3]), torch.ones(40).double())
    assert torch.equal(T[:, :3, 3], raw[:, :, 3])
    assert (T[:, 3] == torch.tensor([0.0, 0.0, 0.0, 1.0])).all()


def test_rigid_poses_are_the_nearest_ones():
    raw = raw_poses(0.3)
    nearest = rigid_poses(raw)[:, :3, :3]
    distance = (nearest - raw[:, :, :3]).flatten(1).norm(dim=1)
    generator = torch.Generator().manual_seed(1)
    for size in (1e-4, 1e-2, 1.0):
        turns = roma.rotvec_to_rotmat(
            size * torch.randn(40, 3, generator=generator, dtype=torch.float64)
        )
        turned = (turns @ nearest - raw[:, :, :3]).flatten(1).norm(dim=1)
        assert (turned > distance).all()


def test_a_reflection_becomes_the_nearest_rotation():
    raw = torch.cat([torch.diag(torch.tensor([1.2, 1.1, -0.5])), torch.zeros(3, 1)], dim=1)[None]
    torch.testing.assert_close(rigid_poses(raw.double())[0], torch.eye(4).double())


@pytest.mark.parametrize('noise', [0.0, 1e-12, 1e-7, 1e-2, 0.3])
def test_the_gradient_of_rigid_poses_is_that_of_finite_differences(noise):
    """Exactly orthonormal input has three equal singular values, where an SVD's has none."""
    raw = raw_poses(noise, count=4)
    weights = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(2)).double()

    def value(entries: torch.Tensor) -> torch.Tensor:
        return (weights * rigid_poses(entries)).sum()

    entries = raw.clone().requires_grad_(True)
    value(entries).backward()
    numeric = torch.zeros_like(raw)
    for index in np.ndindex(*raw.shape):
        step = torch.zeros_like(raw)
        step[index] = 1e-5
        numeric[index] = (value(raw + step) - value(raw - step)) / 2e-5
    torch.testing.assert_close(entries.grad, numeric, rtol=1e-5, atol=1e-7)


def test_every_kind_of_regressor_is_tried_here():
    assert sorted(REGRESSORS) == KINDS


@pytest.mark.parametrize('kind', KINDS)
def test_poses_are_rigid_and_their_gradient_reaches_every_trained_weight(kind):
    network = build_regressor(kind, SMALL[kind], torch.Generator().manual_seed(3))
    images = torch.stack([image(seed).permute(2, 0, 1) for seed in range(3)])
    raw = network(images)
    assert raw.shape == (3, 3, 4)
    T = network.poses(images)
    assert T.shape == (3, 4, 4)
    torch.testing.assert_close(T[:, :3, :3] @ T[:, :3, :3].mT, torch.eye(3).expand(3, 3, 3))
    (T * torch.linspace(-1, 1, 48).view(3, 4, 4)).sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


@pytest.mark.parametrize('kind', KINDS)
def test_a_pose_is_that_of_evaluation_and_leaves_the_network_as_it_is(kind):
    network = build_regressor(kind, SMALL[kind], torch.Generator().manual_seed(4)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    T = network.pose(image())
    assert T.shape == (4, 4)
    assert T.dtype == torch.float64
    torch.testing.assert_close(T[:3, :3] @ T[:3, :3].T, torch.eye(3).double())
    assert all(torch.equal(before[n], tensor) for n, tensor in network.state_dict().items())
    assert network.training
    with evaluating(network), torch.no_grad():
        expected = network.poses(image().permute(2, 0, 1)[None])[0]
    assert network.training
    torch.testing.assert_close(T.float(), expected)


@pytest.mark.parametrize('kind', KINDS)
def test_the_first_weights_follow_the_generator(kind):
    first, second, other = (
        build_regressor(kind, SMALL[kind], torch.Generator().manual_seed(seed)).state_dict()
        for seed in (5, 5, 6)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize('kind', KINDS)
def test_a_network_survives_a_map(kind):
    network = build_regressor(kind, SMALL[kind], torch.Generator().manual_seed(7))
    config = json.loads(json.dumps(network.config.to_dict()))
    loaded = load_regressor(kind, config, network.tensors())
    assert type(loaded) is REGRESSORS[kind]
    assert loaded.config == SMALL[kind]
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    torch.testing.assert_close(loaded.pose(image()), network.pose(image()), atol=5e-3, rtol=0.0)


def test_weights_are_halved_and_statistics_are_not():
    class WithStatistics(CompactPoseNet):
        def __init__(self, config: CompactPoseNetConfig):
            super().__init__(config)
            self.norm = torch.nn.BatchNorm2d(2)

    tensors = WithStatistics(SMALL['compact']).tensors()
    assert tensors['head.0.weight'].dtype == torch.float16
    assert tensors['norm.weight'].dtype == torch.float16
    assert tensors['norm.running_var'].dtype == torch.float32


def test_an_unknown_kind_is_named():
    with pytest.raises(LearningError, match="'resnet', expected one of compact"):
        build_regressor('resnet')
    with pytest.raises(BundleError, match="kind 'resnet', expected one of compact"):
        load_regressor('resnet', {}, {})


def test_tensors_of_another_network_are_refused():
    config = SMALL['compact']
    tensors = CompactPoseNet(config).tensors()
    other = CompactPoseNetConfig(channels=(8, 8), cells=2, width=16)
    for values in (other.to_dict(), {'depth': 3}, {'channels': 'many'}):
        with pytest.raises(BundleError, match="is of kind 'compact', but what it stores is not"):
            load_regressor('compact', values, tensors)
    with pytest.raises(BundleError, match='head.2.bias'):
        load_regressor('compact', config.to_dict(), {n: tensors[n] for n in list(tensors)[:-1]})


def test_a_configuration_of_another_kind_is_refused():
    class Other(CompactPoseNetConfig.__base__):
        pass

    with pytest.raises(
        LearningError, match="'compact' needs a CompactPoseNetConfig, found a Other"
    ):
        build_regressor('compact', Other())
