"""The commands of a user, in processes of their own, on a small simulated robot."""

import json
from pathlib import Path
import signal
import subprocess
import sys
import time

import cv2
import pytest

from support.tiny_robot import write_tiny_urdf

POSEFIELD = [sys.executable, '-m', 'posefield.cli']
# So many steps make the same model on a slow machine.
STEPS = 60
SIZE = ['--views', 3, '--held-out-views', 1, '--frames', 12, '--size', 40, '--rate', 4]


def posefield(*arguments: object, timeout_s: float = 600.0) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*POSEFIELD, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s
    )


def succeed(*arguments: object) -> str:
    ended = posefield(*arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope='module')
def recording(tmp_path_factory) -> Path:
    pytest.importorskip('pybullet', reason='the test extra is not installed')
    folder = tmp_path_factory.mktemp('robot')
    urdf = write_tiny_urdf(folder)
    succeed('articulation', 'simulate', urdf, '--out', folder / 'film', '--quiet', *SIZE)
    return folder / 'film'


def train(recording: Path, out: Path, *options: object) -> list[str]:
    """Return the command; the preset is that of laptops, and the same on every machine."""
    arguments = ['articulation', 'train', recording, '--out', out, '--preset', 'cpu']
    arguments += ['--device', 'cpu', '--steps', STEPS, '--parts', 8, '--quiet', *options]
    return [*POSEFIELD, *map(str, arguments)]


def test_a_robot_is_learned_killed_resumed_drawn_and_exported(recording):
    out = recording.parent / 'model'
    learning = subprocess.Popen(train(recording, out), stderr=subprocess.PIPE, text=True)
    while not (line := learning.stderr.readline()).startswith('parts'):
        assert line, 'learning ended before it began'
    time.sleep(0.5)
    learning.send_signal(signal.SIGINT)
    _, errors = learning.communicate(timeout=300)
    assert learning.returncode == 130, errors
    assert '--resume goes on' in errors
    assert not out.exists()

    resumed = subprocess.run(
        train(recording, out, '--resume'), capture_output=True, text=True, timeout=600
    )
    assert resumed.returncode == 0, resumed.stderr
    assert 'parts' in resumed.stdout
    about = json.loads(succeed('bundle', 'info', out, '--json'))
    assert about['kind'] == 'model'
    assert about['frames'] == 10

    image = recording.parent / 'image.png'
    succeed(
        'articulation', 'render', out, '--data', recording, '--camera', 'cam_00',
        '--frame', 3, '--out', image,
    )  # fmt: skip
    assert cv2.imread(str(image)).shape == (40, 40, 3)

    exported = recording.parent / 'urdf'
    succeed('articulation', 'export', out, '--out', exported, '--cells', 24)
    yourdfpy = pytest.importorskip('yourdfpy', reason='the test extra is not installed')
    robot = yourdfpy.URDF.load(str(exported / 'robot.urdf'))
    assert len(robot.link_map) == about['links']
    assert len(robot.actuated_joints) == about['joints']
