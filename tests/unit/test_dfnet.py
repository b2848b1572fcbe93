"""DFNet and its features: taps, levels, the siamese call, the frozen extractor."""

import pytest
import torch

from posefield.errors import BundleError, LearningError
from posefield.features.dfnet import DFNetFeatures
from posefield.features.extractors import extractor_tensors, load_extractor
from posefield.features.imagenet import imagenet_normalised
from posefield.features.vgg import Vgg16
from posefield.relocalization.regressors.dfnet import DFNet, DFNetConfig
from posefield.relocalization.regressors.registry import build_regressor

SMALL = DFNetConfig(channels=8, hidden=6, width_scale=0.125, weights='random')


def images(count: int = 2, height: int = 32, width: int = 48, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, width, generator=generator)


def small_dfnet(config: DFNetConfig = SMALL) -> DFNet:
    return build_regressor('dfnet', config, torch.Generator().manual_seed(1)).eval()


def test_taps_have_the_published_strides_and_channels():
    with torch.device('meta'):
        network = Vgg16()
        taps = network(torch.zeros(1, 3, 240, 320))
    assert [tuple(tap.shape[1:]) for tap in taps] == [(64, 240, 320), (256, 60, 80), (512, 15, 20)]
    assert sum(p.numel() for p in network.parameters()) == 14_714_688


def test_taps_are_taken_before_their_relu_and_the_next_layer_sees_it_after():
    network = Vgg16(0.125)
    first, second, third = network(images())
    assert all(float(tap.detach().min()) < 0 for tap in (first, second, third))
    torch.testing.assert_close(network.layers[3:15](first), second)


def test_vgg_stops_after_the_last_tap_that_is_needed():
    for last_tap, convolutions in ((0, 2), (1, 7), (2, 13)):
        layers = Vgg16(0.125, last_tap).layers
        assert sum(isinstance(layer, torch.nn.Conv2d) for layer in layers) == convolutions


def test_vgg_takes_the_published_weights_by_their_names(monkeypatch):
    torch.manual_seed(2)
    published = Vgg16(0.125)
    tensors = {f'features.{n}': t for n, t in published.layers.state_dict().items()}
    tensors['classifier.0.weight'] = torch.zeros(3)
    monkeypatch.setattr('torch.hub.load_state_dict_from_url', lambda url, **options: tensors)
    for last_tap in (0, 2):
        network = Vgg16(0.125, last_tap)
        network.load_imagenet()
        assert torch.equal(network(images())[last_tap], published(images())[last_tap])


def test_unavailable_weights_warn_and_leave_random_ones(monkeypatch):
    def refuse(url: str, **options):
        assert url.endswith('vgg16-397923af.pth')
        assert options['weights_only'] and options['check_hash']
        raise OSError('no network')

    monkeypatch.setattr('torch.hub.load_state_dict_from_url', refuse)
    with pytest.warns(UserWarning, match='VGG-16 cannot be used .no network.* random'):
        network = build_regressor('dfnet', DFNetConfig(), torch.Generator().manual_seed(0))
    assert float(network.encoder.layers[0].weight.detach().std()) > 0.01


@pytest.mark.parametrize('levels', [(0, 1, 2), (0,), (1, 2)])
def test_features_of_all_levels_have_one_size(levels):
    network = small_dfnet(DFNetConfig(levels, 8, 6, 0.125, 'random'))
    output = network.poses_and_features(images())
    assert output.poses_B34.shape == (2, 3, 4)
    assert output.features_LBCHW.shape == (len(levels), 2, 8, 32, 48)
    smaller = network.poses_and_features(images(), (10, 14))
    assert smaller.features_LBCHW.shape == (len(levels), 2, 8, 10, 14)
    torch.testing.assert_close(smaller.poses_B34, network(images()))


def test_the_pose_is_of_the_mean_of_the_last_map_after_its_relu():
    network = small_dfnet()
    last = network.encoder(imagenet_normalised(images()))[-1].clamp(min=0.0)
    expected = network.head(last.mean(dim=(2, 3))).view(2, 3, 4)
    torch.testing.assert_close(network(images()), expected)


def test_a_coarse_level_is_enlarged_with_pixel_centres_kept():
    """Row 8 of 16 is at (8 + 0.5) / 2 - 0.5 = 3.75 of 8, column 7 of 24 at 3.25 of 12."""
    network = small_dfnet(DFNetConfig((1,), 8, 6, 0.125, 'random'))
    own = network.poses_and_features(images(), (8, 12)).features_LBCHW[0]
    enlarged = network.poses_and_features(images(), (16, 24)).features_LBCHW[0]
    columns = 0.75 * own[:, :, :, 3] + 0.25 * own[:, :, :, 4]
    expected = 0.25 * columns[:, :, 3] + 0.75 * columns[:, :, 4]
    torch.testing.assert_close(enlarged[:, :, 8, 7], expected)


def test_the_siamese_call_is_two_calls_in_one():
    network = small_dfnet()
    photos, renders = images(seed=3), images(seed=4)
    first, second = network.siamese(photos, renders)
    for output, batch in ((first, photos), (second, renders)):
        alone = network.poses_and_features(batch)
        torch.testing.assert_close(output.poses_B34, alone.poses_B34)
        torch.testing.assert_close(output.features_LBCHW, alone.features_LBCHW)


def test_the_siamese_call_normalises_with_the_statistics_of_both():
    network = small_dfnet().train()
    photos, renders = images(seed=3), 0.1 * images(seed=4)
    first, second = network.siamese(photos, renders)
    both = torch.cat([first.features_LBCHW, second.features_LBCHW], dim=1)[0]
    torch.testing.assert_close(both.mean(dim=(0, 2, 3)), torch.zeros(8), atol=1e-5, rtol=0)
    assert first.features_LBCHW[0].mean(dim=(0, 2, 3)).abs().max() > 0.01


def test_the_extractor_gives_the_finest_features():
    network = small_dfnet()
    features = network.extractor()
    assert features.channels == 8
    expected = network.poses_and_features(images()).features_LBCHW[0]
    torch.testing.assert_close(features(images()), expected)
    assert features(images(1, 17, 23)).shape == (1, 8, 17, 23)


def test_the_extractor_is_a_frozen_copy_through_which_gradients_reach_the_image():
    network = small_dfnet().train()
    features = network.extractor()
    before = features(images())
    network(images()).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    image = images().requires_grad_(True)
    after = features(image)
    assert torch.equal(before, after)
    after.square().sum().backward()
    assert float(image.grad.abs().max()) > 0
    assert all(parameter.grad is None for parameter in features.network.parameters())


def test_the_extractor_survives_a_map():
    features = small_dfnet().extractor()
    loaded = load_extractor('dfnet', extractor_tensors(features), 'cpu')
    assert isinstance(loaded, DFNetFeatures)
    assert loaded.channels == 8
    assert torch.equal(loaded(images()), features(images()))


@pytest.mark.parametrize(
    ('name', 'change'),
    [
        ('adaptation.3.running_var', lambda t: None),
        ('encoder.layers.0.weight', lambda t: None),
        ('adaptation.2.weight', lambda t: t[:, 1:]),
    ],
)
def test_damaged_features_are_refused(name, change):
    tensors = dict(small_dfnet().extractor().tensors())
    changed = change(tensors.pop(name))
    if changed is not None:
        tensors[name] = changed
    with pytest.raises(BundleError, match=f'DFNet features do not fit.*{name}'):
        load_extractor('dfnet', tensors, 'cpu')


def test_without_the_finest_level_there_is_no_extractor():
    network = small_dfnet(DFNetConfig((1,), 8, 6, 0.125, 'random'))
    with pytest.raises(LearningError, match=r'level 0 .* found levels \(1,\)'):
        network.extractor()


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'levels': ()}, r'levels of a DFNet are 0, 1 and 2 in this order, found \(\)'),
        ({'levels': (1, 0)}, 'in this order'),
        ({'levels': (0, 3)}, 'in this order'),
        ({'width_scale': 0.5}, "width_scale 1, found 0.5; use weights 'random'"),
        ({'width_scale': 0.0, 'weights': 'random'}, 'positive sizes'),
        ({'channels': 0}, 'positive sizes'),
        ({'weights': 'best'}, "Unknown weights 'best'"),
    ],
)
def test_impossible_networks_are_refused(values, message):
    with pytest.raises(LearningError, match=message):
        DFNetConfig(**values)
