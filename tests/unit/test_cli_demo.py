"""Scoring of what the relocalizer node published, and the choice of frames of the demo."""

import json

import cv2
import numpy as np
import pytest

from posefield.cli.demo_run import drive_frames
from posefield.cli.demo_score import score_drive, stamp_keys
from posefield.cli.drive import make_drive
from posefield.data.scene import Frame, Scene
from posefield.errors import DataError
from posefield.geometry.camera import Camera
from posefield.geometry.poses import invert, perturbed
from support.fake_localizer import FakeLocalizer

CAMERA = Camera(16, 12, 20.0, 20.0, 7.5, 5.5)


@pytest.fixture
def frames(tmp_path) -> list[Frame]:
    made = []
    for index in range(4):
        path = tmp_path / f'{index}.png'
        cv2.imwrite(str(path), np.full((12, 16, 3), 40 * index, np.uint8))
        T = np.eye(4)
        T[:3, 3] = [index, 0.5 * (index % 2), 0.3 * index]
        made.append(Frame(path.name, path, CAMERA, T))
    return made


@pytest.fixture
def localizer() -> FakeLocalizer:
    return FakeLocalizer(info={'units': 'metres', 'field_short_side': 12})


def recording(drive, errors_m: dict[int, float]) -> dict:
    """What a node would publish that is off by so much at these frames, and silent at others."""
    generator = np.random.default_rng(0)
    content = {'schema': 1, 'kind': 'pose_recording'}
    content.update(images=[], poses=[], results=[], map_to_odom=[])
    for index, stamp_ns in enumerate(stamp_keys(drive)):
        content['images'].append({'stamp_ns': stamp_ns, 'received_s': 10.0 + index})
        if index not in errors_m:
            continue
        T_map_cam = perturbed(drive.frames[index].T_map_cam, errors_m[index], 0.5, generator)
        received = {'stamp_ns': stamp_ns, 'received_s': 10.25 + index}
        content['results'].append(
            {
                **received,
                'T_map_cam': T_map_cam.tolist(),
                'covariance': np.diag([1e-4] * 6).ravel().tolist(),
                'T_map_cam_coarse': T_map_cam.tolist(),
                'state': 'tracking',
                'hypothesis': 'prior',
                'accepted': True,
                'score': 0.9,
                'reason': '',
                'renders': 2,
                'iterations': 8,
                'latency_s': 0.103,
                'timings': {'total': 0.1},
            }
        )
        content['poses'].append({**received, 'T': T_map_cam.tolist(), 'frame_id': 'map'})
        T_map_odom = T_map_cam @ invert(drive.T_base_cam) @ invert(drive.T_odom_base_N44[index])
        content['map_to_odom'].append({**received, 'T': T_map_odom.tolist()})
    return content


def score(localizer, drive, content, folder) -> tuple[str, dict]:
    path = folder / 'received.json'
    path.write_text(json.dumps(content))
    line = score_drive(
        localizer, drive, path, folder, facts=[('map', 'm')], units='metres', title='A drive'
    )
    return line, json.loads((folder / 'metrics.json').read_text())


def test_a_drive_is_scored_by_what_was_received(frames, localizer, tmp_path):
    drive = make_drive(frames, seed=0)
    content = recording(drive, {0: 0.01, 1: 0.02, 2: 0.03, 3: 0.03})
    line, metrics = score(localizer, drive, content, tmp_path)
    assert metrics['median_translation_error'] == pytest.approx(0.025)
    assert metrics['median_relative_translation_error'] == pytest.approx(0.0125)
    assert metrics['seconds_per_frame']['median'] == pytest.approx(0.25)
    assert metrics['ros']['poses_published'] == 4
    assert metrics['ros']['median_overhead_s'] == pytest.approx(0.003)
    assert line.endswith('median error 2.50 cm and 0.50°')
    assert str(tmp_path / 'report.html') in line
    assert (tmp_path / 'poses.tum').read_text().count('\n') == 2 + 4


def test_the_transform_tree_is_scored_through_odometry_and_extrinsics(frames, localizer, tmp_path):
    drive = make_drive(frames, seed=0)
    content = recording(drive, {0: 0.01, 1: 0.01, 2: 0.01})
    _, metrics = score(localizer, drive, content, tmp_path)
    assert metrics['ros']['tf_median_translation_error'] == pytest.approx(0.01)
    assert metrics['ros']['tf_median_rotation_error_deg'] == pytest.approx(0.5)
    for entry in content['map_to_odom']:
        entry['T'][0][3] += 1.0
    _, metrics = score(localizer, drive, content, tmp_path)
    assert metrics['ros']['tf_median_translation_error'] == pytest.approx(1.0, abs=0.02)


def test_images_that_the_node_dropped_count_as_lost(frames, localizer, tmp_path):
    drive = make_drive(frames, seed=0)
    _, metrics = score(localizer, drive, recording(drive, {0: 0.01}), tmp_path)
    assert metrics['frames'] == 4
    assert metrics['frames_without_pose'] == 3
    assert metrics['median_translation_error'] is None
    assert metrics['ros']['results'] == 1


def test_a_silent_node_is_an_error_that_names_its_log(frames, localizer, tmp_path):
    drive = make_drive(frames, seed=0)
    with pytest.raises(DataError, match='relocalizer.log'):
        score(localizer, drive, recording(drive, {}), tmp_path)


def test_long_drives_are_thinned_out_evenly(frames, tmp_path):
    names = [frame.name for frame in frames]
    scene = Scene(tmp_path, tuple(frames), {'train': (), 'test': tuple(names)}, 'metres')
    assert [frame.name for frame in drive_frames(scene, 2)] == ['0.png', '3.png']
    assert len(drive_frames(scene, 60)) == 4


def test_a_scene_with_hardly_any_test_image_says_so(frames, tmp_path):
    scene = Scene(tmp_path, tuple(frames), {'test': (frames[0].name,)}, 'metres')
    with pytest.raises(DataError, match='--hold-out'):
        drive_frames(scene, 60)
