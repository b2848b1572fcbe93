"""posefield articulation evaluate: a saved model, measured from the command line."""

from dataclasses import replace
import json

import numpy as np
import pytest
import trimesh

from posefield.cli.app import main
from posefield.data.articulation_truth import ArticulationTruth, TrueJoint
from posefield.data.scene_normalisation import SceneNormalisation
from support import two_balls
from support.ball_model import ball_model, ball_structure

# What `--json` promises; docs/metrics.md.
KEYS = (
    'joint_error',
    'joint_error_static',
    'axis_error_deg',
    'joint_type_accuracy',
    'tree_agreement',
    'part_iou',
    'held_out_views',
    'held_out_poses',
    'parts',
    'seconds_to_learn',
)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """A recording of two balls, and a model that knows them."""
    root = tmp_path_factory.mktemp('balls')
    two_balls.write_two_balls(root / 'data')
    model = replace(
        ball_model(), normalisation=SceneNormalisation(np.zeros(3), 1.0), found=ball_structure()
    )
    model.save(root / 'model')
    return root


def truth() -> ArticulationTruth:
    T, frames = two_balls.poses(), two_balls.FRAMES
    T_arm = T[:, 1] @ np.linalg.inv(translated([0.4, 0.0, 0.0]))
    joint = TrueJoint(
        'elbow', 'revolute', 'trunk', 'limb', np.array([0.0, 1.0, 0.0]),
        translated(two_balls.JOINT_3), -1.0, 1.0,
    )  # fmt: skip
    links = np.stack([T[:, 0], T_arm], axis=1)
    moves = two_balls.angles()[:, None]
    assert len(links) == frames
    return ArticulationTruth(('trunk', 'limb'), (joint,), links, moves, 1.0, np.zeros(3))


def translated(point) -> np.ndarray:
    T = np.eye(4)
    T[:3, 3] = point
    return T


def evaluate(folders, *options: str) -> int:
    data, model = str(folders / 'data'), str(folders / 'model')
    return main(['articulation', 'evaluate', model, data, '--quiet', '--frames', '2', *options])


def test_with_a_truth_everything_is_measured_and_shown(folders, tmp_path, capsys):
    truth().save(folders / 'data' / 'truth.json')
    report = tmp_path / 'report'
    options = ('--json', str(tmp_path / 'm.json'), '--report', str(report))
    assert evaluate(folders, *options, '--template-minutes', '0.01') == 0
    (folders / 'data' / 'truth.json').unlink()
    figures = json.loads((tmp_path / 'm.json').read_text())
    assert set(KEYS) <= set(figures)
    assert (figures['schema'], figures['kind']) == (1, 'articulation_metrics')
    assert figures['joint_error'] == pytest.approx(0.0, abs=1e-6)
    assert figures['axis_error_deg'] == pytest.approx(0.0, abs=1e-4)
    assert figures['joint_type_accuracy'] == 1.0
    # There is no segmentation to compare links with.
    assert figures['part_iou'] is None and figures['tree_agreement'] is None
    assert figures['held_out_views']['images'] == figures['held_out_poses']['images'] == 2
    assert figures['held_out_views']['mask_iou'] > 0.85
    assert figures['held_out_poses']['mask_iou'] > 0.85
    assert figures['held_out_poses']['poses_from'] == 'truth'
    assert figures['parts'] == 2 and figures['seconds_to_learn'] == 1.5
    assert set(figures['methods']) == {'static', 'Schmidtke*'}
    assert figures['methods']['Schmidtke*']['joint_error'] > 0.0
    assert (report / 'report.html').stat().st_size > 20000
    assert (report / 'reposing.gif').read_bytes()[:3] == b'GIF'
    assert json.loads((report / 'metrics.json').read_text()) == figures
    printed = capsys.readouterr().out
    assert 'joint error' in printed and 'Schmidtke* cameras' in printed


def test_without_a_truth_poses_come_from_the_images(folders, tmp_path, capsys):
    assert evaluate(folders, '--json', str(tmp_path / 'm.json')) == 0
    figures = json.loads((tmp_path / 'm.json').read_text())
    assert figures['joint_error'] is None and figures['joints'] == []
    assert figures['held_out_poses']['poses_from'] == 'images'
    assert figures['held_out_poses']['mask_iou'] > 0.8
    assert 'joint error' not in capsys.readouterr().out


def test_bodies_that_the_user_fitted_are_compared(folders, tmp_path):
    ball = trimesh.creation.icosphere(3, 1.0)
    T = two_balls.poses()
    own = ball.vertices * two_balls.RADII_P3[:, None]
    vertices = np.einsum('fpij,pvj->fpvi', T[..., :3, :3], own) + T[..., None, :3, 3]
    faces = np.concatenate([ball.faces, ball.faces + len(ball.vertices)])
    path = tmp_path / 'smpl.npz'
    # Bones of a body that fits: four points of each part, none of them at its centre.
    corners = two_balls.RADII_P3[:, None] * np.array(
        [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    )
    joints = np.einsum('fpij,pvj->fpvi', T[..., :3, :3], corners) + T[..., None, :3, 3]
    np.savez(
        path,
        vertices=vertices.reshape(len(T), -1, 3),
        faces=faces,
        joints=joints.reshape(len(T), -1, 3),
    )
    assert evaluate(folders, '--smpl', str(path), '--json', str(tmp_path / 'm.json')) == 0
    figures = json.loads((tmp_path / 'm.json').read_text())
    assert figures['held_out_poses']['poses_from'] == 'smpl'
    assert figures['held_out_poses']['mask_iou'] > 0.8
    assert figures['smpl']['a10_joint_error'] < figures['smpl']['a10_joint_error_static']
    kundu = figures['methods']['Kundu*']
    assert kundu['held_out_views']['mask_iou'] > 0.9
    assert kundu['held_out_poses']['mask_iou'] > 0.9


def test_what_cannot_be_used_is_one_line(folders, tmp_path, capsys):
    assert evaluate(folders, '--smpl', str(tmp_path / 'gone.npz')) == 1
    assert capsys.readouterr().err.startswith('error: The SMPL file')
    (folders / 'data' / 'truth.json').write_text('{"kind": "articulation_truth", "schema": 1}')
    code = evaluate(folders)
    (folders / 'data' / 'truth.json').unlink()
    assert code == 1
    assert 'truth.json' in capsys.readouterr().err
