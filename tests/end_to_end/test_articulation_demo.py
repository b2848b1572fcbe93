"""The demo of articulation, small: every node, and the report at the end."""

import importlib.util
import json
from pathlib import Path

import pytest

pytest.importorskip('pybullet', reason='the test extra is not installed')
if importlib.util.find_spec('rclpy') is None:
    pytest.skip('ROS 2 is not installed', allow_module_level=True)

from posefield.cli.articulation_demo import (  # noqa: E402
    ArticulationDemoSettings,
    run_articulation_demo,
)
from posefield.cli.ros_processes import NodeError  # noqa: E402
from support.tiny_robot import write_tiny_urdf  # noqa: E402


def settings(tmp_path: Path, **changes) -> ArticulationDemoSettings:
    values = {
        'urdf': str(write_tiny_urdf(tmp_path)),
        'out': tmp_path / 'out',
        'minutes': 0.1,
        'preset': 'cpu',
        'seed': 0,
        'cameras': 3,
        'size': 48,
        'rate_hz': 4.0,
        'record_s': 3.0,
        'track_s': 3.0,
        'parts': 6,
    }
    return ArticulationDemoSettings(**{**values, **changes})


def test_a_robot_is_recorded_learned_described_and_tracked(tmp_path, capsys):
    line = run_articulation_demo(settings(tmp_path))
    out = tmp_path / 'out'
    said = capsys.readouterr().out
    for words in ('Recording 3 cameras', 'learning: ', 'Learned', 'robot_description'):
        assert words in said
    assert 'tracked at' in line
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics['images_tracked'] >= 2
    assert metrics['repose_s'] > 0.0
    assert (out / 'robot.urdf').read_text().lstrip().startswith('<?xml')
    assert (out / 'model' / 'model.json').is_file()
    assert '<h2>Images that were tracked</h2>' in (out / 'report.html').read_text()


def test_a_robot_that_is_missing_ends_the_demo_with_a_sentence(tmp_path):
    with pytest.raises(NodeError, match=r'simulated_rig node ended.*nowhere\.urdf'):
        run_articulation_demo(settings(tmp_path, urdf='nowhere.urdf'))
