"""Following a thing into frames that its model never saw, by masks and colours."""

import numpy as np
import pytest

from posefield.evaluation.evaluate_articulation import evaluate_model
from posefield.evaluation.poses_from_images import (
    Ellipsoids,
    ImagePoses,
    Observed,
    observe,
    poses_from_images,
)
from posefield.learning.progress import QuietProgress
from support import sphere_arm

LEARNED = tuple(range(18))


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    return sphere_arm.record(tmp_path_factory.mktemp('arm') / 'data')


@pytest.fixture(scope='module')
def model():
    return sphere_arm.ArmModel(sphere_arm.motion(frames=LEARNED))


def straight(*xy: tuple[float, float]) -> Observed:
    directions = np.array([[x, y, 1.0] for x, y in xy])
    count = len(xy)
    return Observed(np.zeros(3), directions, np.zeros(count), np.zeros((count, 3)), np.ones(count))


def test_an_ellipsoid_is_seen_within_its_rim():
    look = Ellipsoids(np.array([[0.2, 0.1, 0.1]]), np.array([[1.0, 0.0, 0.0]]), 1.0, 1.0)
    pose = sphere_arm.at(0.0, 0.0, 2.0)[None, None]
    # At depth 2 the rim is about 0.1 to the side along x, and 0.05 along y.
    seen = straight((0.0, 0.0), (0.08, 0.0), (0.0, 0.08), (0.0, 0.049937617))
    silhouettes, colours = look.see(seen, pose, 0.02)
    assert silhouettes[0, :3] == pytest.approx([1.0, 1.0, 0.0], abs=1e-3)
    assert silhouettes[0, 3] == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(colours[0, [0, 2]], [[1, 0, 0], [1, 1, 1]], atol=1e-3)
    behind = look.see(seen, sphere_arm.at(0.0, 0.0, -2.0)[None, None], 0.02)[0]
    assert behind.max() == 0.0


def test_the_nearer_part_hides_the_other():
    look = Ellipsoids(np.full((2, 3), 0.1), np.eye(3)[:2], 1.0, 0.5)
    poses = np.stack([sphere_arm.at(0, 0, 3.0), sphere_arm.at(0, 0, 2.0)])[None]
    _, colours = look.see(straight((0.0, 0.0)), poses, 0.02)
    np.testing.assert_allclose(colours[0, 0], [0, 1, 0], atol=1e-3)


def test_unreliable_pixels_are_known_to_be_unknown(recording):
    seen = observe(recording, 0)
    assert len(seen) == len(recording.training_views)
    assert seen[0].mask_R.max() == 1.0
    assert (seen[0].known_R == 1.0).all()


def test_it_follows_the_arm(recording, model):
    poses = ImagePoses(model, sphere_arm.COLOURS, recording)
    truth = sphere_arm.motion()
    parts = poses.drive(19)
    assert parts.residual is None
    found = parts.T_world_part_P44[:, :3, 3]
    true = truth.T_world_part_FP44[19, :, :3, 3]
    stayed = model.part_poses(17)[:, :3, 3]
    errors = [np.linalg.norm(centres - true, axis=1).max() for centres in (found, stayed)]
    assert errors[0] < 0.015 < 0.03 < errors[1]


def test_held_out_frames_are_measured_without_a_truth(recording, model):
    source = poses_from_images(model, sphere_arm.COLOURS, recording)
    evaluation = evaluate_model(model, recording, None, source, QuietProgress(), per_camera=1)
    found = evaluation.summary['held_out_poses']
    assert found['poses_from'] == 'images' and found['residual'] is None
    assert found['mask_iou'] > 0.8
    assert evaluation.summary['joint_error'] is None
