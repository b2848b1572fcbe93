"""The commands of a user, in processes of their own, on a small simulated room."""

import json
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

from posefield.evaluation.metrics import recall
from posefield.evaluation.trajectories import read_tum

POSEFIELD = [sys.executable, '-m', 'posefield.cli']
# So many steps make the same map on a slow machine.
STEPS = 250
SIZE = ['--width', '160', '--height', '120', '--train-views', '20', '--test-views', '6']


def posefield(*arguments: object, timeout_s: float = 400.0) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*POSEFIELD, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s
    )


def succeed(*arguments: object, **options) -> str:
    ended = posefield(*arguments, **options)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope='module')
def room(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('room') / 'scene'
    succeed('scene', 'simulate', '--out', folder, '--seed', 4, *SIZE)
    return folder


@pytest.fixture(scope='module')
def learned(room) -> Path:
    folder = room.parent / 'map'
    succeed('map', 'train', room, '--out', folder, '--preset', 'cpu', '--steps', STEPS, '--quiet')
    return folder


def test_a_map_of_a_few_steps_finds_held_out_views(room, learned, tmp_path):
    succeed(
        'map', 'evaluate', learned, room, '--quiet', '--json', tmp_path / 'metrics.json',
        '--report', tmp_path / 'report',
    )  # fmt: skip
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['frames'] == 6
    assert recall(metrics, 0.02, 1.0, relative=True) >= 0.8
    assert metrics['false_accept_share'] == 0.0
    report = (tmp_path / 'report' / 'report.html').read_text()
    assert report.count('data:image/png;base64,') == 14


def test_localize_prints_the_poses_of_photos(room, learned):
    image = sorted((room / 'images').rglob('*.png'))[0]
    out = succeed('localize', learned, image, '--format', 'json')
    found = json.loads(out)
    np.testing.assert_allclose(np.array(found['T_map_cam'])[3], [0, 0, 0, 1])
    assert np.linalg.eigvalsh(np.array(found['covariance'])).min() > 0


def test_bundle_info_weighs_the_map(learned):
    content = json.loads(succeed('bundle', 'info', learned, '--json'))
    assert content['kind'] == 'map'
    assert content['bytes'] <= 20e6


def test_the_demo_runs_through_ros_topics_and_says_where_the_report_is(room, learned, tmp_path):
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    out = tmp_path / 'demo'
    printed = succeed(
        'demo', 'relocalization', '--scene', room, '--map', learned, '--out', out, '--quiet'
    )
    last = printed.strip().splitlines()[-1]
    assert last.startswith(f'report: {out / "report.html"}, median error ')
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics['frames'] == 6
    assert metrics['ros']['results'] >= 5
    assert recall(metrics, 0.05, 5.0, relative=True) >= 0.8
    published = metrics['ros']['poses_published']
    assert published >= 2
    assert metrics['ros']['transforms_published'] == published
    assert len(read_tum(out / 'poses.tum')) == published
    assert (out / 'report.html').stat().st_size > 100_000


def test_the_bag_of_the_demo_can_be_evaluated_offline(room, learned, tmp_path):
    from posefield.cli.drive import GROUND_TRUTH_TOPIC, IMAGE_TOPIC, make_drive, write_drive
    from posefield.data.scene import Scene

    write_drive(tmp_path / 'drive', make_drive(Scene.load(room).split('test'), seed=0))
    figures = []
    for name in ('once', 'again'):
        succeed(
            'bag', 'evaluate', tmp_path / 'drive', '--map', learned, '--image', IMAGE_TOPIC,
            '--ground-truth', GROUND_TRUTH_TOPIC, '--quiet', '--report', tmp_path / name,
        )  # fmt: skip
        figures.append(json.loads((tmp_path / name / 'metrics.json').read_text()))
    once, again = figures
    assert once['frames'] == once['images'] == 6
    assert recall(once, 0.02, 1.0, relative=True) >= 0.8
    assert once['median_translation_error'] == again['median_translation_error']
    assert (tmp_path / 'once' / 'poses.tum').read_text() == (
        tmp_path / 'again' / 'poses.tum'
    ).read_text()
