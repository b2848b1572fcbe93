"""The cosine losses of feature maps (NeFeS section 11, item 4)."""

import pytest
import torch

from posefield.errors import PosefieldError
from posefield.relocalization.refiners.feature_loss import (
    FEATURE_LOSSES,
    channel_cosine_loss,
    feature_loss,
    pixel_cosine_loss,
)


def maps(seed: int) -> torch.Tensor:
    return torch.randn(8, 5, 7, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize('loss', FEATURE_LOSSES.values(), ids=FEATURE_LOSSES)
def test_identical_maps_lose_nothing_and_negated_ones_two(loss):
    A = maps(0)
    assert float(loss(A, A)) == pytest.approx(0.0, abs=1e-12)
    assert float(loss(A, -A)) == pytest.approx(2.0)
    assert 0.5 < float(loss(A, maps(1))) < 1.5


def test_the_scale_of_a_channel_does_not_matter():
    A, B = maps(0), maps(1)
    scales = torch.logspace(-2, 2, 8, dtype=torch.float64)[:, None, None]
    expected = channel_cosine_loss(A, B)
    torch.testing.assert_close(channel_cosine_loss(scales * A, B), expected)
    torch.testing.assert_close(channel_cosine_loss(A, scales * B), expected)
    assert float((pixel_cosine_loss(scales * A, B) - pixel_cosine_loss(A, B)).abs()) > 1e-3


def test_the_scale_of_a_pixel_matters_only_to_the_loss_over_channels():
    A, B = maps(0), maps(1)
    scales = torch.logspace(-2, 2, 35, dtype=torch.float64).reshape(5, 7)
    torch.testing.assert_close(pixel_cosine_loss(scales * A, B), pixel_cosine_loss(A, B))
    assert float((channel_cosine_loss(scales * A, B) - channel_cosine_loss(A, B)).abs()) > 1e-3


def test_the_spatial_mean_of_a_channel_counts():
    A, B = maps(0), maps(1)
    assert float(channel_cosine_loss(A + 10.0, B + 10.0)) < 0.1 * float(channel_cosine_loss(A, B))


def test_the_loss_over_channels_is_one_cosine_for_each_channel_image():
    A, B = maps(0), maps(1)
    cosines = [
        float(a.flatten() @ b.flatten() / (a.norm() * b.norm())) for a, b in zip(A, B, strict=True)
    ]
    assert float(channel_cosine_loss(A, B)) == pytest.approx(1.0 - sum(cosines) / 8)


@pytest.mark.parametrize('loss', FEATURE_LOSSES.values(), ids=FEATURE_LOSSES)
def test_a_map_without_features_has_a_finite_loss_and_gradient(loss):
    A = torch.zeros(8, 5, 7, requires_grad=True)
    value = loss(A, maps(1).float())
    value.backward()
    assert value.item() == 1.0
    assert torch.isfinite(A.grad).all()


def test_losses_are_found_by_name():
    assert feature_loss('channel') is channel_cosine_loss
    with pytest.raises(PosefieldError, match="'huber'.*channel, pixel"):
        feature_loss('huber')
