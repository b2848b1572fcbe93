"""--refiner and its settings on the command line."""

import json

import pytest

from posefield.cli.app import main
from posefield.cli.refiner_options import RefinerName
from posefield.relocalization.localizer import REFINERS, LocalizerConfig
from posefield.relocalization.map_bundle import camera_to_dict
from posefield.relocalization.refiners.gradient_config import NAMED_RATES, LearningRates
from support.fake_localizer import FakeLocalizer
from support.scenes import CAMERA, make_scene

# What a map was made for: everything but retrieval.
OWN = LocalizerConfig().without('retrieval')


@pytest.fixture
def loaded(monkeypatch) -> list[LocalizerConfig]:
    """The configurations that localizers were loaded with."""
    configs = []

    def load(map_dir, device, configure):
        configs.append(configure(OWN))
        info = {'units': 'metres', 'field_short_side': 6, 'camera': camera_to_dict(CAMERA)}
        return FakeLocalizer(info=info)

    monkeypatch.setattr('posefield.relocalization.localizer.Localizer.load', load)
    return configs


@pytest.fixture
def scene(tmp_path):
    return make_scene(tmp_path / 'source').save(tmp_path / 'scene')


def evaluate(scene, *options: str) -> int:
    return main(['map', 'evaluate', 'a_map', str(scene.root), '--quiet', *options])


def test_the_command_line_knows_the_refiners_of_the_localizer():
    assert {name.value for name in RefinerName} == set(REFINERS)


def test_evaluate_hands_the_settings_on_and_writes_them_down(scene, tmp_path, loaded):
    report = tmp_path / 'report'
    options = ('--refiner', 'nefes-b', '--iterations', '20', '--rates', 'cambridge')
    assert evaluate(scene, *options, '--report', str(report)) == 0
    expected = OWN.with_refiner('nefes-b', 20, NAMED_RATES['cambridge'])
    assert loaded == [expected]
    written = json.loads((report / 'metrics.json').read_text())['options']
    assert (written['refiner'], written['iterations']) == ('nefes-b', 20)
    assert written['rates'] == 'cambridge'
    assert 'nefes-b, 20 iterations, rates cambridge' in (report / 'report.html').read_text()


def test_without_a_refiner_everything_is_used(scene, loaded):
    assert evaluate(scene) == 0
    assert loaded == [OWN]


def test_localize_has_the_same_options(scene, loaded):
    options = ['--refiner', 'photometric-dense', '--rates', '0.02,0.5']
    assert main(['localize', 'a_map', str(scene.frames[0].image_path), *options]) == 0
    assert loaded == [OWN.with_refiner('photometric-dense', rates=LearningRates(0.02, 0.5))]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--iterations', '20'], 'must be named'),
        (['--rates', 'split'], 'must be named'),
        (['--refiner', 'field', '--iterations', '20'], 'has no iterations'),
        (['--refiner', 'nefes-a', '--rates', 'split'], 'moves the weights'),
        (['--refiner', 'nefes-b', '--rates', 'fast'], 'ROT,TRANS'),
        (['--refiner', 'nefes-b', '--iterations', '0'], "Invalid value for '--iterations'"),
        (['--refiner', 'nefes-c'], 'nefes-c'),
    ],
)
def test_wrong_settings_are_wrong_usage(scene, loaded, capsys, options, message):
    assert evaluate(scene, *options) == 2
    assert message in ' '.join(capsys.readouterr().err.replace('│', ' ').split())
    assert loaded == []
