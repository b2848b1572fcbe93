"""The commands that use articulated models."""

import inspect
import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
import pytest

from posefield.articulation.urdf import UrdfConfig
from posefield.cli.app import main
from posefield.cli.articulation_learn import export
from support.ball_model import AS_RECORDED, ball_model
from support.two_balls import write_two_balls


@pytest.fixture(scope='module')
def recording(tmp_path_factory) -> Path:
    return write_two_balls(tmp_path_factory.mktemp('balls') / 'recording').root


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('models') / 'balls'
    ball_model(AS_RECORDED).save(folder)
    return folder


def draw(model: Path, recording: Path, out: Path, *options: object) -> int:
    return main(
        [
            'articulation', 'render', str(model), '--data', str(recording),
            '--camera', 'camera_3', '--out', str(out), *map(str, options),
        ]
    )  # fmt: skip


def test_a_picture_is_drawn_and_changes_when_a_joint_is_moved(model, recording, tmp_path):
    still, moved, parts = (tmp_path / f'{name}.png' for name in ('still', 'moved', 'parts'))
    assert draw(model, recording, still, '--frame', 2, '--size', 24) == 0
    assert draw(model, recording, moved, '--frame', 2, '--size', 24, '--joint', 'swing=-0.8') == 0
    assert draw(model, recording, parts, '--parts') == 0
    pictures = [cv2.imread(str(path)) for path in (still, moved)]
    assert pictures[0].shape == (24, 24, 3)
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() > 50
    assert cv2.imread(str(parts)).shape == (32, 32, 3)


def test_a_turntable_is_an_animation(model, recording, tmp_path):
    out = tmp_path / 'turn.gif'
    arguments = ['--data', str(recording), '--camera', 'camera_0', '--size', '24']
    arguments += ['--turntable', str(out)]
    assert main(['articulation', 'render', str(model), *arguments]) == 0
    with Image.open(out) as animation:
        # Pictures that are the same as the one before are not stored again.
        assert 30 <= animation.n_frames <= 36


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--joint', 'hip=1'], "no movable joint named 'hip'"),
        (['--frame', '11'], 'Frame 11'),
    ],
)
def test_what_there_is_not_is_named(model, recording, tmp_path, capsys, options, message):
    assert draw(model, recording, tmp_path / 'image.png', *options) == 1
    assert message in capsys.readouterr().err


def test_wrong_usage_is_refused(model, recording, tmp_path, capsys):
    assert draw(model, recording, tmp_path / 'image.png', '--joint', 'swing') == 2
    assert 'joint_1=0.5' in capsys.readouterr().err
    assert draw(model, recording, tmp_path / 'a.png', '--turntable', tmp_path / 'a.gif') == 2
    assert draw(model, recording, tmp_path / 'image.jpg') == 1
    assert 'must end with .png' in capsys.readouterr().err


def test_a_model_is_exported_and_shown_for_what_it_is(model, tmp_path, capsys):
    out = tmp_path / 'urdf'
    assert main(['articulation', 'export', str(model), '--out', str(out), '--cells', '16']) == 0
    assert '2 links, 1 joints' in capsys.readouterr().out
    assert '<joint name="swing"' in (out / 'robot.urdf').read_text()
    assert main(['bundle', 'info', str(model), '--json']) == 0
    content = json.loads(capsys.readouterr().out)
    assert content['kind'] == 'model'
    assert content['files']['meshes'] > 0


def test_an_export_without_options_is_as_that_of_the_learned_model():
    defaults = inspect.signature(export).parameters
    config = UrdfConfig()
    assert defaults['cells'].default == config.cells
    assert defaults['max_faces'].default == config.max_faces
    assert defaults['hulls'].default == (config.collision == 'hull')


def test_an_export_does_not_replace_something_else(model, recording, capsys):
    assert main(['articulation', 'export', str(model), '--out', str(recording)]) == 1
    assert 'multiview' in capsys.readouterr().err


def test_a_recording_is_shown_for_what_it_is(recording, capsys):
    assert main(['bundle', 'info', str(recording), '--json']) == 0
    assert json.loads(capsys.readouterr().out)['kind'] == 'multiview'


def test_a_folder_that_is_something_else_is_not_learned_into(recording, capsys):
    arguments = ['articulation', 'train', str(recording), '--out', str(recording)]
    assert main([*arguments, '--device', 'cpu']) == 1
    assert 'which a model would replace' in capsys.readouterr().err
