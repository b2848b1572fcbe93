"""Calibrations of Qualisys and OpenCV."""

import cv2
import numpy as np
import pytest

from posefield.data.rig_calibration import find_calibration, read_calibration
from posefield.errors import CameraError, DataError, PoseError
from support.multiviews import looking_at

POSE = looking_at(np.array([1.5, -2.0, 1.2]), np.array([0.0, 0.1, 0.8]))
DISTORTION = (-0.05, 0.14, 0.001, -0.002)


def qualisys(T_world_cam: np.ndarray = POSE, **changes) -> str:
    """What Qualisys writes: axes in rows, OpenGL, millimetres, 64ths of pixels."""
    axes = (T_world_cam @ np.diag([1.0, -1.0, -1.0, 1.0]))[:3, :3].T
    values = {f'r{i + 1}{j + 1}': axes[i, j] for i in range(3) for j in range(3)}
    values.update(zip('xyz', 1000 * T_world_cam[:3, 3], strict=True))
    values.update(changes)
    transform = ' '.join(f'{key}="{value}"' for key, value in values.items())
    return f"""<?xml version='1.0' encoding='ASCII'?>
<calibration><cameras><camera serial="left" active="1">
<fov_video left="0" top="0" right="639" bottom="479"/>
<transform {transform}/>
<intrinsic focalLengthU="38400" focalLengthV="38464" centerPointU="20480" centerPointV="15360"
radialDistortion1="-0.05" radialDistortion2="0.14" radialDistortion3="0"
tangentalDistortion1="0.001" tangentalDistortion2="-0.002"/>
</camera></cameras></calibration>"""


def test_qualisys(tmp_path):
    (tmp_path / 'calibration').mkdir()
    path = tmp_path / 'calibration' / 'Calib.qca.txt'
    path.write_text(qualisys())
    assert find_calibration(tmp_path) == path
    (left,) = read_calibration(path)
    assert left.name == 'left'
    np.testing.assert_allclose(left.T_world_cam, POSE, atol=1e-9)
    camera = left.at_size(640, 480)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (600.0, 601.0, 320.0, 240.0)
    assert camera.distortion == (*DISTORTION, 0.0)


def test_codecs_leave_out_a_few_columns(tmp_path):
    path = tmp_path / 'Calib.qca.txt'
    path.write_text(qualisys())
    (left,) = read_calibration(path)
    narrower = left.at_size(632, 480)
    assert (narrower.width, narrower.cx) == (632, 320.0)
    for size in ((648, 480), (600, 480), (640, 360)):
        with pytest.raises(DataError, match='its calibration is for 640x480'):
            left.at_size(*size)


def test_qualisys_that_cannot_be_used(tmp_path):
    path = tmp_path / 'Calib.qca.txt'
    path.write_text(qualisys(r11=5.0))
    with pytest.raises(PoseError, match='transform of camera left .* is not rigid'):
        read_calibration(path)
    path.write_text(qualisys(x='far'))
    with pytest.raises(DataError, match='camera left .* lacks a number'):
        read_calibration(path)
    path.write_text('<calibration>')
    with pytest.raises(DataError, match='no whole XML'):
        read_calibration(path)
    path.write_text('<calibration/>')
    with pytest.raises(DataError, match='has no camera'):
        read_calibration(path)


def write_yaml(path, **matrices) -> None:
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, matrix in matrices.items():
        storage.write(name, matrix)
    storage.release()


def opencv_matrices(name: str = 'left', vector: bool = False) -> tuple[dict, dict]:
    """What EasyMocap writes of a camera, in two files."""
    K_33 = np.array([[600.0, 0.0, 320.0], [0.0, 601.0, 240.0], [0.0, 0.0, 1.0]])
    T_cam_world = np.linalg.inv(POSE)
    intrinsics = {f'K_{name}': K_33, f'dist_{name}': np.array([[*DISTORTION, 0.0]])}
    rotation = {f'Rot_{name}': T_cam_world[:3, :3]}
    if vector:
        rotation = {f'R_{name}': cv2.Rodrigues(T_cam_world[:3, :3])[0]}
    return intrinsics, {**rotation, f'T_{name}': T_cam_world[:3, 3:]}


@pytest.mark.parametrize('vector', [False, True])
@pytest.mark.parametrize('files', [1, 2])
def test_opencv(tmp_path, files, vector):
    intrinsics, extrinsics = opencv_matrices(vector=vector)
    if files == 1:
        write_yaml(tmp_path / 'rig.yml', **intrinsics, **extrinsics)
    else:
        write_yaml(tmp_path / 'intri.yml', **intrinsics)
        write_yaml(tmp_path / 'extri.yml', **extrinsics)
    (left,) = read_calibration(find_calibration(tmp_path))
    assert left.name == 'left'
    np.testing.assert_allclose(left.T_world_cam, POSE, atol=1e-9)
    camera = left.at_size(640, 480)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (600.0, 601.0, 320.0, 240.0)
    assert camera.distortion == (*DISTORTION, 0.0)


def test_opencv_that_cannot_be_used(tmp_path):
    intrinsics, extrinsics = opencv_matrices()
    path = tmp_path / 'rig.yml'
    write_yaml(path, **intrinsics)
    with pytest.raises(DataError, match="has no matrix 'T_left'"):
        read_calibration(path)
    write_yaml(path, **extrinsics)
    with pytest.raises(DataError, match='no matrix K_<camera>'):
        read_calibration(path)
    write_yaml(path, **{**intrinsics, 'dist_left': np.zeros((1, 3))}, **extrinsics)
    with pytest.raises(CameraError, match='3 numbers of distortion'):
        read_calibration(path)
    path.write_text('%YAML:1.0\n---\nK_left: [1, 2')
    with pytest.raises(DataError, match='rig.yml'):
        read_calibration(path)


def test_which_calibration(tmp_path):
    with pytest.raises(DataError, match='must have one calibration .* found none'):
        find_calibration(tmp_path)
    (tmp_path / 'a.qca.txt').write_text(qualisys())
    (tmp_path / 'b.qca.txt').write_text(qualisys())
    with pytest.raises(DataError, match=r'found .*a\.qca\.txt, .*b\.qca\.txt'):
        find_calibration(tmp_path)
