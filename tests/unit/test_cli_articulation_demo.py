"""Scoring of what the nodes of the articulation demo published, and the demo's options."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip('pybullet', reason='the sim extra is not installed')

from posefield.cli.app import app  # noqa: E402
from posefield.cli.articulation_demo_score import (  # noqa: E402
    joints_at,
    score_articulation_demo,
)
from posefield.errors import DataError  # noqa: E402
from support.ball_model import AS_RECORDED, ball_model  # noqa: E402
from support.two_balls import angles, write_two_balls  # noqa: E402

ERROR_DEG = 3.0
SECOND = 10**9


@pytest.fixture(scope='module')
def made(tmp_path_factory) -> tuple[Path, str]:
    """A recording, a model of it and a URDF that moves as both, and what nodes would publish."""
    folder = tmp_path_factory.mktemp('demo')
    recording = write_two_balls(folder / 'recording')
    model = ball_model(AS_RECORDED)
    model.save(folder / 'model')
    urdf = model.export_urdf(folder / 'urdf', name='balls').path
    (folder / 'images').mkdir()
    picture = np.full((32, 32, 3), 255, np.uint8)
    cv2.imwrite(str(folder / 'reposed.png'), picture)
    true_tracked = [0.7 * np.sin(0.2 * step) for step in range(20)]
    stamps = [100 * SECOND + step * SECOND // 5 for step in range(20)]
    tracked = [
        {
            'stamp_ns': stamp,
            'names': ['swing'],
            'positions': [position + np.deg2rad(ERROR_DEG)],
            'latency_s': 0.25,
        }
        for stamp, position in zip(stamps, true_tracked, strict=True)
    ]
    for stamp in stamps[::4]:
        cv2.imwrite(str(folder / 'images' / f'{stamp}.png'), picture)
    received = {
        'schema': 1,
        'kind': 'articulation_demo',
        'recording': str(recording.root),
        'model': str(folder / 'model'),
        'learned': 'Learned 2 parts.',
        'description_s': 0.1,
        'repose_s': 0.4,
        'recorded_joints': {
            'names': ['swing'],
            'stamps_ns': [round(stamp * SECOND) for stamp in recording.stamps_s],
            'positions': [[float(angle)] for angle in angles()],
        },
        'true_joints': {
            'names': ['swing'],
            'stamps_ns': stamps,
            'positions': [[float(position)] for position in true_tracked],
        },
        # Joint states of a learned pose, before anything is tracked, do not count.
        'tracked_joints': [{**tracked[0], 'stamp_ns': 99 * SECOND, 'latency_s': 9.0}, *tracked],
        'states': [
            *({'stamp_ns': stamp, 'state': 'tracking', 'score': 0.8} for stamp in stamps),
            {'stamp_ns': stamps[-1] + SECOND, 'state': 'lost', 'score': 0.1},
        ],
        'images': stamps[::4],
    }
    (folder / 'received.json').write_text(json.dumps(received))
    return folder, str(urdf)


def test_what_was_tracked_is_scored_and_reported(made):
    folder, urdf = made
    line = score_articulation_demo(folder / 'received.json', urdf, folder)
    metrics = json.loads((folder / 'metrics.json').read_text())
    assert metrics['kind'] == 'articulation_demo_metrics'
    assert metrics['joint_angle_error_deg'] == pytest.approx(ERROR_DEG, abs=0.1)
    assert (metrics['joints_identified'], metrics['joints_moved']) == (1, 1)
    assert metrics['axis_error_deg'] < 0.5
    assert metrics['tracking_rate_hz'] == pytest.approx(5.0)
    assert metrics['tracking_latency_s'] == pytest.approx(0.25)
    assert (metrics['images_tracked'], metrics['images_lost']) == (20, 1)
    assert 'median joint angle error 3.0 deg, tracked at 5.0 Hz' in line
    report = (folder / 'report.html').read_text()
    for words in ('swing', '3.0°', '5.0 Hz', 'Images that were tracked', 'Learned 2 parts.'):
        assert words in report
    assert report.count('data:image/png') == 5 * 2 + 2


def test_nothing_tracked_is_a_sentence(made, tmp_path):
    folder, urdf = made
    received = json.loads((folder / 'received.json').read_text())
    for change, words in (
        ({'states': []}, '0 images were tracked'),
        ({'true_joints': {'names': [], 'stamps_ns': [], 'positions': []}}, 'No true joint'),
    ):
        file = tmp_path / 'received.json'
        file.write_text(json.dumps({**received, **change}))
        with pytest.raises(DataError, match=words):
            score_articulation_demo(file, urdf, folder)


def test_joint_states_are_interpolated():
    series = {'stamps_ns': [0, SECOND], 'positions': [[0.0, 2.0], [1.0, 4.0]]}
    np.testing.assert_allclose(joints_at(series, np.array([0.25, 1.0])), [[0.25, 2.5], [1.0, 4.0]])


def test_options_of_the_other_demo_are_refused(tmp_path):
    done = CliRunner().invoke(app, ['demo', 'articulation', '--scene', str(tmp_path)])
    assert done.exit_code == 2
    assert 'relocalization' in done.output
