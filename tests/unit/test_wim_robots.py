"""Robots of Watch It Move: pictures with alpha, and cameras in row vectors with OpenGL axes."""

import json

import cv2
import numpy as np
import pytest

from posefield.data.recording import Selection, write_recording
from posefield.data.wim_robots import read_robots
from posefield.errors import CameraError, DataError, PoseError
from support.multiviews import draw_ball, ring_of_cameras

SIZE = 40


def camera_json(rig) -> dict:
    """What the renderer of the robots writes about a camera."""
    camera = rig.camera
    T_cam_world = np.diag([1.0, -1.0, -1.0, 1.0]) @ np.linalg.inv(rig.T_world_cam)
    return {
        'camera_data': {
            'width': camera.width,
            'height': camera.height,
            'intrinsics': {
                'fx': camera.fx,
                'fy': camera.fy,
                'cx': camera.cx + 0.5,
                'cy': camera.cy + 0.5,
            },
            'camera_view_matrix': T_cam_world.T.tolist(),
        },
        'objects': [],
    }


@pytest.fixture
def robot(tmp_path):
    """A folder with three cameras and four frames of a ball."""
    folder = tmp_path / 'robot'
    folder.mkdir()
    for view, rig in enumerate(ring_of_cameras(3, size=SIZE)):
        (folder / f'cam_{view:03d}.json').write_text(json.dumps(camera_json(rig)))
        for frame in range(4):
            image, mask = draw_ball(rig, np.array([0.1 * frame, 0.0, 0.0]))
            rgba = np.dstack([image, 255 * mask])
            path = folder / f'frame_{frame:05d}_cam_{view:03d}.png'
            cv2.imwrite(str(path), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
    return folder


def test_cameras_and_pictures_come_back(robot, tmp_path):
    recording = read_robots(robot, rate_hz=10.0)
    multiview = write_recording(recording, tmp_path / 'out', Selection(held_out_frames=0.25))
    assert multiview.background == 'white'
    assert multiview.units == 'arbitrary'
    assert multiview.stamps_s == pytest.approx((0.0, 0.1, 0.2, 0.3))
    assert multiview.held_out_frames == {3}
    for view, rig in enumerate(ring_of_cameras(3, size=SIZE)):
        read = multiview.cameras[view]
        assert read.name == f'cam_{view:03d}'
        np.testing.assert_allclose(read.T_world_cam, rig.T_world_cam, atol=1e-9)
        np.testing.assert_allclose(read.camera.K_33, rig.camera.K_33)
        image, mask = draw_ball(rig, np.array([0.2, 0.0, 0.0]))
        np.testing.assert_array_equal(multiview.read_mask(view, 2), mask)
        np.testing.assert_allclose(multiview.read_image(view, 2), image / 255.0, atol=1e-6)


def test_selected_cameras_at_another_size(robot, tmp_path):
    selection = Selection(
        cameras=('cam_000', 'cam_002'), held_out_cameras=('cam_001',), frames=3, size=20
    )
    multiview = write_recording(read_robots(robot), tmp_path / 'out', selection)
    assert multiview.training_views == (0, 2)
    assert multiview.held_out_views == (1,)
    assert multiview.num_frames == 3
    whole = ring_of_cameras(3, size=SIZE)[0].camera
    assert multiview.cameras[0].camera == whole.resized(20, 20)
    half = (multiview.read_mask(0, 0) == 1).mean()
    full = (draw_ball(ring_of_cameras(3, size=SIZE)[0], np.zeros(3))[1] == 1).mean()
    assert half == pytest.approx(full, rel=0.15)


def test_unknown_camera(robot, tmp_path):
    with pytest.raises(DataError, match="no camera 'cam_009', found cam_000"):
        write_recording(read_robots(robot), tmp_path / 'out', Selection(cameras=('cam_009',)))


def test_cameras_with_different_frames(robot):
    (robot / 'frame_00002_cam_001.png').unlink()
    with pytest.raises(DataError, match='camera 000 has 4, camera 001 has 3; frame 2'):
        read_robots(robot)


def test_one_camera_is_refused(robot, tmp_path):
    with pytest.raises(DataError, match='At least 2 cameras are needed .* found 1'):
        write_recording(read_robots(robot), tmp_path / 'out', Selection(cameras=('cam_001',)))


def test_matrix_that_is_not_rigid(robot):
    path = robot / 'cam_001.json'
    content = json.loads(path.read_text())
    content['camera_data']['camera_view_matrix'][0][0] = 3.0
    path.write_text(json.dumps(content))
    with pytest.raises(PoseError, match='cam_001.json is not rigid'):
        read_robots(robot)


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (lambda data: data.pop('intrinsics'), DataError, 'intrinsics'),
        (lambda data: data.update(width='wide'), DataError, 'wide'),
        (lambda data: data['intrinsics'].update(fx=0.0), CameraError, 'cam_000.json.*positive'),
        (lambda data: data.update(camera_view_matrix=[[1.0]]), DataError, r'shape \(1, 1\)'),
    ],
)
def test_camera_files_that_cannot_be_used(robot, change, error, message):
    path = robot / 'cam_000.json'
    content = json.loads(path.read_text())
    change(content['camera_data'])
    path.write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        read_robots(robot)


def test_files_that_are_not_there(robot, tmp_path):
    (robot / 'cam_002.json').unlink()
    with pytest.raises(DataError, match='cam_002.json cannot be read'):
        read_robots(robot)
    with pytest.raises(DataError, match='has no pictures of a robot'):
        read_robots(tmp_path / 'nowhere')


def test_picture_without_alpha(robot):
    cv2.imwrite(str(robot / 'frame_00001_cam_000.png'), np.zeros((SIZE, SIZE, 3), np.uint8))
    with pytest.raises(DataError, match='alpha channel'):
        read_robots(robot).read(0, 1)
