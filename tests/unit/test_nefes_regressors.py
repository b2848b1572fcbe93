"""Mode a moves the pose by the weights of any kind of regressor."""

import numpy as np
import pytest
import torch

from posefield.relocalization.refiners.adam import Evaluation, descend
from posefield.relocalization.refiners.nefes import NetworkPose
from posefield.relocalization.regressors.dfnet import DFNetConfig
from posefield.relocalization.regressors.ms_transformer import MsTransformerConfig
from posefield.relocalization.regressors.posenet import CompactPoseNetConfig
from posefield.relocalization.regressors.posenet12 import PoseNetConfig
from posefield.relocalization.regressors.registry import REGRESSORS, build_regressor
from support.textured_room import look_at

SMALL = {
    'compact': CompactPoseNetConfig(channels=(8, 16), cells=2, width=16),
    'posenet': PoseNetConfig('compact', 'random', hidden=16, dropout=0.5),
    'ms-transformer': MsTransformerConfig(
        scenes=('house',),
        scene='house',
        backbone='compact',
        weights='random',
        width=16,
        heads=2,
        hidden=16,
        translation_layers=1,
        rotation_layers=1,
        head_width=16,
        image_side=36,
        crop=32,
    ),
    'dfnet': DFNetConfig(channels=8, hidden=4, width_scale=0.07, weights='random'),
}
T_START = torch.from_numpy(look_at(np.array([-0.9, -0.7, 0.1]), np.zeros(3)))


def test_every_kind_is_tested():
    assert set(SMALL) == set(REGRESSORS)


@pytest.mark.parametrize('kind', SMALL)
def test_the_pose_comes_nearer_to_where_the_loss_is_least(kind):
    generator = torch.Generator().manual_seed(0)
    regressor = build_regressor(kind, SMALL[kind], generator)
    before = {name: tensor.clone() for name, tensor in regressor.state_dict().items()}
    view = torch.rand(1, 3, 36, 48, generator=generator)
    moving = NetworkPose(regressor, view, T_START, 1e-3)
    torch.testing.assert_close(moving.pose().detach(), T_START, atol=1e-5, rtol=0.0)
    wanted = T_START[:3, 3] + torch.tensor([0.05, -0.02, 0.03])

    def objective(T: torch.Tensor) -> Evaluation:
        return Evaluation(((T[:3, 3] - wanted) ** 2).sum())

    descent = descend(moving, objective, 8)
    assert float((descent.T_field_cam[:3, 3] - wanted).norm()) < 0.8 * float(
        (T_START[:3, 3] - wanted).norm()
    )
    for name, tensor in regressor.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    for name, tensor in moving.network.named_buffers():
        assert torch.equal(tensor, before[name]), name
