"""The recorded drive of the demo, read back as any bag is."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from scipy.spatial.transform import Rotation

from posefield.cli.drive import (
    BASE_FRAME,
    CAMERA_FRAME,
    CAMERA_INFO_TOPIC,
    GROUND_TRUTH_TOPIC,
    IMAGE_TOPIC,
    ODOM_FRAME,
    make_drive,
    write_drive,
)
from posefield.data.scene import Frame
from posefield.geometry.camera import Camera
from posefield.geometry.poses import from_quat_xyzw, invert, pose_errors

CAMERA = Camera(16, 12, 20.0, 20.0, 7.5, 5.5, 'plumb_bob', (0.1, 0.0, 0.0, 0.0, 0.0))


@pytest.fixture
def frames(tmp_path) -> list[Frame]:
    made = []
    for index in range(5):
        path = tmp_path / f'{index}.png'
        image = np.full((12, 16, 3), 40 * index, np.uint8)
        image[..., 2] = 200
        cv2.imwrite(str(path), image[..., ::-1])
        T = np.eye(4)
        T[:3, :3] = Rotation.from_euler('y', 0.2 * index).as_matrix()
        T[:3, 3] = [index, 0.0, 0.3 * index]
        made.append(Frame(path.name, path, CAMERA, T))
    return made


def read(folder: Path) -> list[tuple[int, str, object]]:
    with AnyReader([folder]) as reader:
        return [
            (time_ns, connection.topic, reader.deserialize(data, connection.msgtype))
            for connection, time_ns, data in reader.messages()
        ]


def transform(message) -> np.ndarray:
    rotation, translation = message.rotation, message.translation
    return from_quat_xyzw(
        np.array([rotation.x, rotation.y, rotation.z, rotation.w]),
        np.array([translation.x, translation.y, translation.z]),
    )


def test_odometry_starts_at_zero_and_drifts_a_little(frames):
    drive = make_drive(frames, seed=1)
    np.testing.assert_array_equal(drive.T_odom_base_N44[0], np.eye(4))
    true_step = (
        drive.T_base_cam @ invert(frames[0].T_map_cam) @ frames[1].T_map_cam
        @ invert(drive.T_base_cam)
    )  # fmt: skip
    errors = pose_errors(drive.T_odom_base_N44[1], true_step)
    assert 0 < errors.translation < 0.2
    again = make_drive(frames, seed=1)
    np.testing.assert_array_equal(again.T_odom_base_N44, drive.T_odom_base_N44)


def test_the_bag_holds_images_calibration_odometry_and_truth(frames, tmp_path):
    drive = make_drive(frames, seed=1)
    write_drive(tmp_path / 'drive', drive)
    messages = read(tmp_path / 'drive')
    times = [time_ns for time_ns, _, _ in messages]
    assert times == sorted(times)
    images = [message for _, topic, message in messages if topic == IMAGE_TOPIC]
    assert len(images) == 5
    assert images[2].encoding == 'rgb8' and images[2].step == 48
    assert images[2].data.reshape(12, 16, 3)[0, 0].tolist() == [80, 80, 200]
    info = next(message for _, topic, message in messages if topic == CAMERA_INFO_TOPIC)
    assert info.header.frame_id == images[0].header.frame_id == CAMERA_FRAME
    assert info.k.reshape(3, 3)[0].tolist() == [20.0, 0.0, 7.5]
    assert info.d.tolist() == [0.1, 0.0, 0.0, 0.0, 0.0]
    truth = [message for _, topic, message in messages if topic == GROUND_TRUTH_TOPIC]
    assert truth[3].pose.position.x == 3.0 and truth[3].header.frame_id == 'map'


def test_odometry_comes_before_the_image_of_its_time(frames, tmp_path):
    drive = make_drive(frames, seed=1)
    write_drive(tmp_path / 'drive', drive)
    known = {}
    seen = 0
    for _, topic, message in read(tmp_path / 'drive'):
        if topic in ('/tf', '/tf_static'):
            (stamped,) = message.transforms
            stamp = stamped.header.stamp
            known[stamped.child_frame_id, stamp.sec, stamp.nanosec] = stamped
        if topic == IMAGE_TOPIC:
            stamp = message.header.stamp
            stamped = known[BASE_FRAME, stamp.sec, stamp.nanosec]
            assert stamped.header.frame_id == ODOM_FRAME
            np.testing.assert_allclose(
                transform(stamped.transform), drive.T_odom_base_N44[seen], atol=1e-9
            )
            seen += 1
    assert seen == 5
    camera_frame = [key for key in known if key[0] == CAMERA_FRAME]
    assert len(camera_frame) == 1
    np.testing.assert_allclose(
        transform(known[camera_frame[0]].transform), drive.T_base_cam, atol=1e-9
    )


def test_a_drive_replaces_an_older_one(frames, tmp_path):
    write_drive(tmp_path / 'drive', make_drive(frames, seed=1))
    write_drive(tmp_path / 'drive', make_drive(frames[:2], seed=1))
    images = [topic for _, topic, _ in read(tmp_path / 'drive') if topic == IMAGE_TOPIC]
    assert len(images) == 2
