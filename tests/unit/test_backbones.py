"""Backbones of regressors, with and without torchvision and published weights."""

from email.message import Message
import hashlib
import io
from pathlib import Path
import sys
import types
from urllib.error import URLError
import warnings

import pytest
import torch
from torch import nn

from posefield.errors import LearningError
from posefield.features.imagenet import imagenet_normalised, start_from_imagenet
from posefield.relocalization.regressors.backbones import BACKBONES, Backbone, TwoScaleBackbone
from posefield.relocalization.regressors.posenet12 import PoseNet, PoseNetConfig
from posefield.relocalization.regressors.registry import build_regressor

URL = 'https://download.example/models/tiny-{}.pth'


def images(height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of torch.hub on a machine without a network."""

    def refuse(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr('torch.hub.urlopen', refuse)
    checkpoints = tmp_path / 'hub' / 'checkpoints'
    checkpoints.mkdir(parents=True)
    return checkpoints


@pytest.fixture
def tiny_torchvision(monkeypatch):
    """Stands in for torchvision: its mobilenet_v2 has 19 layers of one convolution each."""

    class Published:
        class IMAGENET1K_V1:
            url = URL.format('b0353104')

    def get_model(name: str, weights: None) -> nn.Module:
        assert name == 'mobilenet_v2'
        network = nn.Module()
        layers = [nn.Conv2d(3, 1280, 1)] + [nn.Conv2d(1280, 1280, 1, groups=1280)] * 18
        network.features = nn.Sequential(*layers)
        network.classifier = nn.Linear(1280, 10)
        return network

    models = types.ModuleType('torchvision.models')
    models.get_model = get_model
    models.get_model_weights = lambda name: Published
    package = types.ModuleType('torchvision')
    package.models = models
    monkeypatch.setitem(sys.modules, 'torchvision', package)
    monkeypatch.setitem(sys.modules, 'torchvision.models', models)
    return get_model


def test_images_are_normalised_as_imagenet_networks_expect():
    grey = torch.full((1, 3, 2, 2), 0.5)
    expected = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    torch.testing.assert_close(imagenet_normalised(grey)[0, :, 0, 0], torch.tensor(expected))


def test_the_compact_backbone_has_maps_of_the_published_sizes():
    assert Backbone('compact')(images()).shape == (2, 96, 2, 3)
    network = TwoScaleBackbone('compact')
    fine, coarse = network(images())
    assert fine.shape == (2, network.fine_channels, 8, 12)
    assert coarse.shape == (2, network.coarse_channels, 4, 6)


@pytest.mark.parametrize('name', [name for name in BACKBONES if name != 'compact'])
def test_backbones_of_torchvision_have_maps_of_the_published_sizes(name):
    pytest.importorskip('torchvision', reason='the extra backbones is not installed')
    network = Backbone(name).eval()
    assert network(images()).shape == (2, network.channels, 2, 3)
    network = TwoScaleBackbone(name).eval()
    fine, coarse = network(images())
    assert fine.shape == (2, network.fine_channels, 8, 12)
    assert coarse.shape == (2, network.coarse_channels, 4, 6)


@pytest.mark.parametrize('name', [name for name in BACKBONES if name != 'compact'])
def test_without_torchvision_the_message_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    with pytest.raises(LearningError, match=r"pip install 'posefield\[backbones\]'.* compact"):
        PoseNet(PoseNetConfig.published(name))


def test_unknown_names_are_refused():
    with pytest.raises(LearningError, match="backbone 'vgg', expected one of compact, mobilenet"):
        PoseNetConfig('vgg')
    with pytest.raises(LearningError, match="weights 'best', expected one of imagenet, random"):
        PoseNetConfig(weights='best')
    with pytest.raises(LearningError, match="'compact' has no weights 'imagenet'"):
        PoseNetConfig('compact')


@pytest.mark.parametrize('values', [{'hidden': -1}, {'dropout': 1.0}, {'dropout': -0.1}])
def test_sizes_of_the_head_are_checked(values):
    with pytest.raises(LearningError, match='hidden of at least 0 and dropout in'):
        PoseNetConfig(**values)


def test_published_heads():
    assert PoseNetConfig.published('resnet34').hidden == 2048
    assert PoseNetConfig.published('efficientnet_b3').hidden == 0
    assert PoseNetConfig.published('compact').weights == 'random'
    head = PoseNet(PoseNetConfig('compact', 'random', hidden=2048)).head
    assert [type(layer).__name__ for layer in head] == ['Linear', 'ReLU', 'Dropout', 'Linear']
    assert head[-1].out_features == 12


def test_the_twelve_numbers_are_rows_of_rotation_and_centre():
    network = PoseNet(PoseNetConfig('compact', 'random'))
    nn.init.zeros_(network.head[-1].weight)
    with torch.no_grad():
        network.head[-1].bias.copy_(torch.arange(12.0))
    assert network(images())[1].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_posenet_averages_the_last_map_of_normalised_images():
    network = PoseNet(PoseNetConfig('compact', 'random', hidden=8))
    last = network.backbone(imagenet_normalised(images()))
    expected = network.head(last.mean(dim=(2, 3))).view(2, 3, 4)
    torch.testing.assert_close(network(images()), expected)


def test_weights_that_cannot_be_had_are_a_loud_warning(cache, tiny_torchvision):
    with pytest.warns(UserWarning, match='mobilenet_v2 cannot be used .*no network.*random'):
        network = build_regressor('posenet', PoseNetConfig(), torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        config = PoseNetConfig(weights='random')
        alike = build_regressor('posenet', config, torch.Generator().manual_seed(0))
    expected = alike.state_dict()
    assert all(torch.equal(t, expected[n]) for n, t in network.state_dict().items())


def test_weights_in_the_cache_are_taken_without_a_network(cache, tiny_torchvision):
    torch.manual_seed(1)
    published = tiny_torchvision('mobilenet_v2', weights=None)
    torch.save(published.state_dict(), cache / 'tiny-b0353104.pth')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        network = build_regressor('posenet', PoseNetConfig())
    for expected, layer in zip(published.features, network.backbone.layers, strict=True):
        assert torch.equal(layer.weight, expected.weight)


class _Trap:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_weights_file_is_not_run(cache, tmp_path):
    torch.save({'weight': _Trap(tmp_path / 'sprung')}, cache / 'tiny-0123abcd.pth')
    taken = []
    with pytest.warns(UserWarning, match='cannot be used'):
        start_from_imagenet('tiny', URL.format('0123abcd'), taken.append)
    assert not taken
    assert not (tmp_path / 'sprung').exists()


def test_a_file_of_something_else_than_named_tensors_is_a_warning(cache):
    torch.save([torch.ones(1)], cache / 'tiny-0123abcd.pth')
    with pytest.warns(UserWarning, match='found a list, expected named tensors'):
        start_from_imagenet('tiny', URL.format('0123abcd'), lambda tensors: None)


@pytest.mark.parametrize('content', [b'', b'not weights', b'PK\x03\x04 cut off'])
def test_a_damaged_weights_file_is_a_warning(cache, content):
    (cache / 'tiny-0123abcd.pth').write_bytes(content)
    with pytest.warns(UserWarning, match='tiny cannot be used'):
        start_from_imagenet('tiny', URL.format('0123abcd'), lambda tensors: None)


def test_weights_of_another_network_are_a_warning(cache, tiny_torchvision):
    torch.save({'features.0.weight': torch.zeros(1)}, cache / 'tiny-b0353104.pth')
    with pytest.warns(UserWarning, match='mobilenet_v2 cannot be used .*Missing key'):
        build_regressor('posenet', PoseNetConfig())


class _Answer(io.BytesIO):
    """What a web server sends."""

    def info(self) -> Message:
        return Message()


@pytest.mark.parametrize('honest', [True, False])
def test_a_download_is_checked_against_its_digest(cache, monkeypatch, honest):
    served = io.BytesIO()
    torch.save({'weight': torch.ones(2)}, served)
    digest = hashlib.sha256(served.getvalue()).hexdigest()[:8]
    url = URL.format(digest if honest else '0123abcd')
    monkeypatch.setattr('torch.hub.urlopen', lambda *args, **kwargs: _Answer(served.getvalue()))
    taken = []
    if honest:
        start_from_imagenet('tiny', url, taken.append)
        assert taken[0]['weight'].tolist() == [1.0, 1.0]
    else:
        with pytest.warns(UserWarning, match='invalid hash value'):
            start_from_imagenet('tiny', url, taken.append)
        assert not taken
