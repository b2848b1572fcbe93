"""Offline evaluation of a bag, end to end with a scripted localizer."""

import json

import cv2
import numpy as np
import pytest

from posefield.cli.app import main
from posefield.cli.bag_run import BagRequest
from posefield.cli.drive import (
    BASE_FRAME,
    CAMERA_FRAME,
    GROUND_TRUTH_TOPIC,
    IMAGE_TOPIC,
    ODOM_FRAME,
    make_drive,
    write_drive,
)
from posefield.data.bag_reader import TransformTree, camera_trajectory, open_bag
from posefield.data.scene import Frame
from posefield.errors import DataError
from posefield.evaluation.trajectories import write_tum
from posefield.geometry.camera import Camera
from posefield.geometry.trajectory import Trajectory
from support.fake_localizer import FakeLocalizer, localization

CAMERA = Camera(16, 12, 20.0, 20.0, 7.5, 5.5, 'plumb_bob', (0.1, 0.0, 0.0, 0.0, 0.0))
COUNT = 5


def pose(index: int) -> np.ndarray:
    T = np.eye(4)
    T[:3, 3] = [0.2 * index, 0.0, 0.05 * index]
    return T


@pytest.fixture
def drive(tmp_path):
    frames = []
    for index in range(COUNT):
        path = tmp_path / f'{index}.png'
        cv2.imwrite(str(path), np.full((12, 16, 3), 40 * index, np.uint8))
        frames.append(Frame(path.name, path, CAMERA, pose(index)))
    made = make_drive(frames, seed=0)
    write_drive(tmp_path / 'bag', made)
    return made


@pytest.fixture
def localizer(monkeypatch) -> FakeLocalizer:
    def answer(image, camera, prior):
        T = pose(round(image[0, 0, 0] / 40))
        T[0, 3] += 0.01
        return localization(T)

    fake = FakeLocalizer(answer, info={'units': 'metres', 'field_short_side': 12})
    monkeypatch.setattr(
        'posefield.relocalization.localizer.Localizer.load', lambda *args, **kwargs: fake
    )
    return fake


def evaluate(tmp_path, *options: str) -> dict:
    path = tmp_path / 'metrics.json'
    arguments = ['bag', 'evaluate', str(tmp_path / 'bag'), '--map', 'm', '--image', IMAGE_TOPIC]
    assert main([*arguments, '--quiet', '--json', str(path), *options]) == 0
    return json.loads(path.read_text())


def test_poses_are_scored_against_a_topic(drive, localizer, tmp_path, capsys):
    metrics = evaluate(
        tmp_path, '--ground-truth', GROUND_TRUTH_TOPIC, '--report', str(tmp_path / 'report')
    )
    assert metrics['frames'] == metrics['images'] == COUNT
    assert metrics['median_translation_error'] == pytest.approx(0.01)
    assert metrics['published_share'] == 1.0
    assert {path.name for path in (tmp_path / 'report').iterdir()} == {
        'metrics.json', 'poses.tum', 'report.html',
    }  # fmt: skip
    assert capsys.readouterr().out.strip().endswith('report.html')
    assert localizer.calls[0][1] == CAMERA
    np.testing.assert_allclose(
        localizer.calls[1][2].T_map_cam[:3, 3], pose(1)[:3, 3] + [0.01, 0, 0], atol=0.05
    )


def test_poses_are_scored_against_a_tum_file(drive, localizer, tmp_path):
    truth = Trajectory(drive.stamps_N[:3], np.array([pose(index) for index in range(3)]))
    write_tum(tmp_path / 'truth.tum', truth, 'camera')
    metrics = evaluate(tmp_path, '--ground-truth', str(tmp_path / 'truth.tum'))
    assert metrics['frames'] == 3
    assert metrics['images_without_truth'] == COUNT - 3
    assert metrics['median_translation_error'] == pytest.approx(0.01)


def test_poses_are_scored_against_tf(drive, localizer, tmp_path):
    # The bag has no map frame, so odometry stands for it.
    metrics = evaluate(tmp_path, '--ground-truth', 'TF', '--map-frame', ODOM_FRAME)
    assert metrics['frames'] == COUNT
    true = [T @ drive.T_base_cam for T in drive.T_odom_base_N44]
    expected = [
        np.linalg.norm(T[:3, 3] - pose(index)[:3, 3] - [0.01, 0, 0])
        for index, T in enumerate(true)
    ]
    assert metrics['median_translation_error'] == pytest.approx(np.median(expected), abs=1e-6)


def test_without_ground_truth_there_are_poses_only(drive, localizer, tmp_path):
    metrics = evaluate(tmp_path, '--every', '2', '--report', str(tmp_path / 'report'))
    assert metrics['images'] == 3
    assert 'median_translation_error' not in metrics
    assert not (tmp_path / 'report' / 'report.html').exists()
    assert (tmp_path / 'report' / 'poses.tum').read_text().count('\n') == 2 + 3


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--image', '/camera'], 'has no topic /camera'),
        (['--image', IMAGE_TOPIC, '--ground-truth', '/pose'], 'neither TF, nor a topic'),
        (['--image', IMAGE_TOPIC, '--ground-truth', 'TF'], 'never has map -> camera_optical'),
        (['--image', IMAGE_TOPIC, '--camera-info', '/info'], 'has no topic /info'),
    ],
)
def test_what_is_not_in_the_bag_is_named(drive, localizer, tmp_path, capsys, options, message):
    arguments = ['bag', 'evaluate', str(tmp_path / 'bag'), '--map', 'm', '--quiet', *options]
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1


def test_a_file_that_is_no_bag_is_named(tmp_path, capsys):
    (tmp_path / 'x.mcap').write_bytes(b'no bag')
    arguments = ['bag', 'evaluate', str(tmp_path / 'x.mcap'), '--map', 'm', '--image', '/i']
    assert main(arguments) == 1
    assert 'x.mcap' in capsys.readouterr().err


def test_transforms_are_composed_and_interpolated(drive, tmp_path):
    with open_bag(tmp_path / 'bag') as reader:
        tree = TransformTree(reader)
    stamp_s = drive.stamps_N[1]
    np.testing.assert_allclose(
        tree.lookup(ODOM_FRAME, CAMERA_FRAME, stamp_s, 0.05),
        drive.T_odom_base_N44[1] @ drive.T_base_cam,
        atol=1e-9,
    )
    np.testing.assert_allclose(
        tree.lookup(CAMERA_FRAME, BASE_FRAME, stamp_s, 0.05) @ drive.T_base_cam,
        np.eye(4),
        atol=1e-9,
    )
    between = tree.lookup(ODOM_FRAME, BASE_FRAME, stamp_s + 0.05, 0.1)
    ends = drive.T_odom_base_N44[1:3, :3, 3]
    np.testing.assert_allclose(between[:3, 3], 0.9 * ends[0] + 0.1 * ends[1], atol=1e-6)
    assert tree.lookup('moon', CAMERA_FRAME, stamp_s, 0.05) is None
    assert tree.lookup(ODOM_FRAME, BASE_FRAME, stamp_s + 100, 0.05) is None


def test_an_image_topic_is_no_trajectory(drive, tmp_path):
    with open_bag(tmp_path / 'bag') as reader:
        tree = TransformTree(reader)
        assert len(camera_trajectory(reader, tree, GROUND_TRUTH_TOPIC, CAMERA_FRAME)) == COUNT
        with pytest.raises(DataError, match='expected poses'):
            camera_trajectory(reader, tree, IMAGE_TOPIC, CAMERA_FRAME)


@pytest.mark.parametrize('image', ['/cam/image_raw', '/cam/image_raw/compressed'])
def test_camera_info_is_looked_for_beside_the_images(image, tmp_path):
    request = BagRequest(
        tmp_path,
        tmp_path,
        image,
        None,
        None,
        'map',
        'odom',
        'base_link',
        False,
        1,
        'cpu',
        True,
    )
    expected = '/cam/camera_info'
    assert request.info_topic == expected
