"""Evaluating made-up models of a recording whose truth is known."""

from dataclasses import replace
import json

import numpy as np
import pytest

from posefield.data.multiview import Multiview
from posefield.errors import DataError
from posefield.evaluation.evaluate_articulation import (
    evaluate_model,
    load_truth,
    poses_from_truth,
)
from posefield.evaluation.photo_comparison import choose_photos, read_links
from posefield.learning.progress import QuietProgress
from support import sphere_arm
from support.recorder import Recorder


@pytest.fixture(scope='module')
def recording(tmp_path_factory) -> Multiview:
    return sphere_arm.record(tmp_path_factory.mktemp('arm') / 'data')


LEARNED = tuple(range(18))


def evaluate(model, recording, **options):
    truth = load_truth(recording)
    poses = poses_from_truth(model, truth)
    return evaluate_model(model, recording, truth, poses, QuietProgress(), **options)


def test_photos_are_spread_over_what_was_held_out(recording):
    photos = choose_photos(recording, LEARNED, 4)
    assert photos.views == ((2, 0), (2, 6), (2, 11), (2, 17))
    assert photos.poses == ((2, 18), (2, 20), (2, 21), (2, 23))


def test_without_a_held_out_camera_held_out_frames_are_seen_by_all(tmp_path):
    recording = sphere_arm.record(tmp_path / 'data', held_out_views=0)
    assert choose_photos(recording, LEARNED, 2).views == ()
    assert {view for view, _ in choose_photos(recording, LEARNED, 2).poses} == {0, 1}
    found = evaluate(sphere_arm.ArmModel(sphere_arm.motion(frames=LEARNED)), recording).summary
    assert found['held_out_views'] is None
    assert found['part_iou'] == 1.0


def test_an_exact_model_scores_all_there_is_to_score(recording):
    progress = Recorder()
    model = sphere_arm.ArmModel(sphere_arm.motion(frames=LEARNED))
    truth = load_truth(recording)
    poses = poses_from_truth(model, truth)
    found = evaluate_model(model, recording, truth, poses, progress)
    summary = found.summary
    assert summary['joint_error'] == pytest.approx(0.0, abs=1e-9)
    assert summary['part_iou'] == summary['tree_agreement'] == 1.0
    assert summary['joint_type_accuracy'] == 1.0
    # Both axes go through points that stand still.
    assert summary['joint_error_static'] == pytest.approx(0.0, abs=1e-9)
    # Colours are rounded to whole levels in the files.
    assert summary['held_out_views']['psnr'] > 55
    assert summary['held_out_views']['mask_iou'] == 1.0
    assert summary['held_out_views']['images'] == 18
    assert summary['held_out_poses']['psnr'] > 40
    assert summary['held_out_poses']['mask_iou'] > 0.99
    assert summary['held_out_poses']['poses_from'] == 'truth'
    assert summary['held_out_poses']['residual'] < 1e-4
    assert summary['parts'] == 6
    assert summary['joints_found'] == {'revolute': 2}
    assert summary['seconds_to_learn'] == 12.5
    assert [joint['found'] for joint in summary['joints']] == ['pan', 'tilt']
    assert progress.seen[-1] == ('evaluate', 1.0)
    json.dumps(summary, allow_nan=False)


def test_a_model_that_missed_a_joint_is_told_so(recording):
    model = sphere_arm.ArmModel(
        sphere_arm.without_motion_of('tilt', sphere_arm.motion(frames=LEARNED))
    )
    summary = evaluate(model, recording).summary
    exact = evaluate(sphere_arm.ArmModel(sphere_arm.motion(frames=LEARNED)), recording).summary
    assert summary['joint_error'] == pytest.approx(0.125)
    assert summary['joint_type_accuracy'] == 0.5
    assert summary['part_iou'] < 0.8
    assert summary['tree_agreement'] == 1.0
    assert summary['joints_found'] == {'fixed': 1, 'revolute': 1}
    # As learned its parts are where they were, but its joints do not take them to new poses.
    assert summary['held_out_views']['psnr'] == pytest.approx(exact['held_out_views']['psnr'])
    assert summary['held_out_poses']['psnr'] < exact['held_out_poses']['psnr'] - 10


def test_a_moved_model_is_not_aligned(recording):
    motion = sphere_arm.motion(frames=LEARNED)
    shift = sphere_arm.at(0.0, 0.05, 0.0)
    moved = replace(
        motion,
        T_world_root_F44=shift @ motion.T_world_root_F44,
        T_world_part_FP44=shift @ motion.T_world_part_FP44,
    )
    summary = evaluate(sphere_arm.ArmModel(moved), recording).summary
    assert 0.02 < summary['joint_error'] <= 0.05
    assert summary['held_out_views']['mask_iou'] < 0.9


def test_without_a_truth_only_images_are_measured(recording):
    model = sphere_arm.ArmModel(sphere_arm.motion(frames=LEARNED))
    summary = evaluate_model(model, recording, None, None, QuietProgress(), per_camera=3).summary
    assert summary['joint_error'] is None and summary['part_iou'] is None
    assert summary['held_out_views']['images'] == 3
    assert summary['held_out_poses'] is None
    assert summary['joints'] == []


def test_a_truth_of_another_length_is_refused(recording, tmp_path):
    copy = recording.save(tmp_path / 'copy')
    assert load_truth(copy) is None
    sphere_arm.truth(frames=5).save(copy.root / 'truth.json')
    with pytest.raises(DataError, match='5 frames, expected 24'):
        load_truth(copy)


def test_the_segmentation_is_read_as_links(recording):
    links = read_links(recording, 0, 0)
    assert set(np.unique(links)) == {-1, 0, 1, 2}
    with pytest.raises(DataError, match='000099'):
        read_links(recording, 0, 99)
