"""The fusion network."""

import pytest
import torch

from posefield.fields.fusion import FusionConfig, FusionNet


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps(count: int, channels: int, size: int = 12, seed: int = 1):
    g = generator(seed)
    colours = torch.rand(count, 3, size, size, generator=g)
    return colours, torch.randn(count, channels, size, size, generator=g)


def test_it_has_the_published_size():
    net = FusionNet(FusionConfig(), generator())
    convolutions = 131 * 64 * 9 + 64 + 2 * (64 * 64 * 9 + 64) + 64 * 128 * 25 + 128
    assert sum(p.numel() for p in net.parameters()) == convolutions + 2 * 128


def test_it_reaches_five_pixels_and_no_further():
    net = FusionNet(FusionConfig(channels=4, width=8, batch_statistics=False), generator()).eval()
    colours, features = maps(1, 4, size=15)
    features.requires_grad_(True)
    net(colours, features)[0, :, 7, 7].sum().backward()
    touched = features.grad[0].abs().sum(dim=0) > 0.0
    for axis in (0, 1):
        assert touched.any(dim=axis).nonzero()[:, 0].tolist() == list(range(2, 13))


def test_published_normalisation_uses_each_map_s_own_statistics_after_learning():
    net = FusionNet(FusionConfig(channels=4, width=8), generator()).eval()
    with torch.no_grad():
        net.norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        net.norm.bias.copy_(torch.tensor([0.0, 1.0, 0.0, -1.0]))
    colours, features = maps(3, 4)
    together = net(colours, features)
    for index in range(3):
        alone = net(colours[index : index + 1], features[index : index + 1])[0]
        torch.testing.assert_close(together[index], alone)
    torch.testing.assert_close(
        together.mean(dim=(2, 3)), net.norm.bias.expand(3, 4), atol=1e-4, rtol=0.0
    )
    spread = together.flatten(2).std(dim=2, unbiased=False)
    assert (spread <= net.norm.weight).all()
    assert net.state_dict().keys().isdisjoint({'norm.running_mean', 'norm.running_var'})
    # While learning the statistics are of the whole batch; of one map both are the same.
    one = maps(1, 4, seed=2)
    torch.testing.assert_close(net.train()(*one), net.eval()(*one), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(net.train()(colours, features), together, atol=1e-3)


def test_gathered_statistics_make_a_result_local():
    net = FusionNet(FusionConfig(channels=4, width=8, batch_statistics=False), generator())
    colours, features = maps(2, 4)
    for _ in range(20):
        net(colours, features)
    net.eval()
    before = net(colours, features)
    changed = features.clone()
    changed[:, :, 0, 0] += 10.0
    after = net(colours, changed)
    torch.testing.assert_close(before[:, :, 6:, 6:], after[:, :, 6:, 6:])
    assert not torch.allclose(before[:, :, :5, :5], after[:, :, :5, :5])


@pytest.mark.parametrize('batch_statistics', [True, False])
def test_a_residual_adds_the_features(batch_statistics):
    config = FusionConfig(channels=4, width=8, batch_statistics=batch_statistics)
    plain = FusionNet(config, generator()).eval()
    residual = FusionNet(
        FusionConfig.from_dict({**config.to_dict(), 'residual': True}), generator()
    ).eval()
    colours, features = maps(1, 4)
    torch.testing.assert_close(residual(colours, features), plain(colours, features) + features)
