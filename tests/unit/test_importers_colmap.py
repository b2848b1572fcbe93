"""Importing COLMAP models, text and binary."""

import struct

import numpy as np
import pytest

from posefield.data.colmap import MODEL_NAMES, model_folders, read_colmap
from posefield.errors import CameraError, DataError, PoseError
from posefield.geometry.poses import invert, to_quat_xyzw
from support.scenes import SIZE, pose, write_picture

OPENCV = ('OPENCV', (20.0, 21.0, 7.75, 6.25, 0.1, -0.02, 0.003, -0.004))
POINT = struct.pack('<ddq', 1.0, 2.0, -1)


def records(count: int = 4) -> list[tuple[str, list[float]]]:
    """Names and qw qx qy qz tx ty tz, world-to-camera, not in the order of names."""
    found = []
    for index in reversed(range(count)):
        T_cam_map = invert(pose(index))
        qx, qy, qz, qw = to_quat_xyzw(T_cam_map)
        found.append((f'{index:03d}.png', [qw, qx, qy, qz, *T_cam_map[:3, 3]]))
    return found


def write_text(folder, camera=OPENCV, images=None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model, parameters = camera
    numbers = ' '.join(map(repr, parameters))
    (folder / 'cameras.txt').write_text(f'# cameras\n3 {model} {SIZE[0]} {SIZE[1]} {numbers}\n')
    lines = ['# images']
    for number, (name, values) in enumerate(records() if images is None else images):
        lines.append(f'{number + 1} {" ".join(map(repr, map(float, values)))} 3 {name}')
        lines.append('1.0 2.0 -1' if number % 2 else '')
    (folder / 'images.txt').write_text('\n'.join(lines) + '\n')


def write_binary(folder, camera=OPENCV, images=None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model, parameters = camera
    header = struct.pack('<QIiQQ', 1, 3, MODEL_NAMES.index(model), *SIZE)
    (folder / 'cameras.bin').write_bytes(header + struct.pack(f'<{len(parameters)}d', *parameters))
    images = records() if images is None else images
    content = struct.pack('<Q', len(images))
    for number, (name, values) in enumerate(images):
        content += struct.pack('<I7dI', number + 1, *values, 3) + name.encode() + b'\0'
        content += struct.pack('<Q', number) + number * POINT
    (folder / 'images.bin').write_bytes(content)


WRITERS = pytest.mark.parametrize('write', [write_text, write_binary], ids=['text', 'binary'])


def write_pictures(folder, count=4):
    for index in range(count):
        write_picture(folder / f'{index:03d}.png', index)
    return folder


@WRITERS
@pytest.mark.parametrize('model', ['', 'sparse', 'sparse/0'])
def test_a_project_gives_poses_and_pixels_by_our_conventions(tmp_path, write, model):
    write(tmp_path / model)
    write_pictures(tmp_path / 'images')
    scene = read_colmap(tmp_path)
    assert [frame.name for frame in scene.frames] == ['000.png', '001.png', '002.png', '003.png']
    for index, frame in enumerate(scene.frames):
        np.testing.assert_allclose(frame.T_map_cam, pose(index), atol=1e-9)
    camera = scene.frames[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (20.0, 21.0, 7.25, 5.75)
    assert camera.distortion == (0.1, -0.02, 0.003, -0.004)
    assert scene.splits['test'] == ('000.png',) and scene.units == 'arbitrary'


@WRITERS
def test_the_model_and_the_images_may_be_named(tmp_path, write):
    write(tmp_path / 'sparse' / '0')
    write_pictures(tmp_path / 'photos', 3)
    scene = read_colmap(
        tmp_path / 'sparse' / '0', images=tmp_path / 'photos', every=2, units='metres'
    )
    assert scene.splits['test'] == ('000.png', '002.png')
    assert scene.skipped == ('003.png',) and scene.units == 'metres'
    write_pictures(tmp_path / 'images')
    assert len(read_colmap(tmp_path / 'sparse' / '0').frames) == 4


@WRITERS
@pytest.mark.parametrize(
    ('camera', 'model', 'distortion'),
    [
        (('SIMPLE_PINHOLE', (20.0, 8.0, 6.0)), 'pinhole', ()),
        (('PINHOLE', (20.0, 21.0, 8.0, 6.0)), 'pinhole', ()),
        (('SIMPLE_RADIAL', (20.0, 8.0, 6.0, 0.0)), 'pinhole', ()),
        (('SIMPLE_RADIAL', (20.0, 8.0, 6.0, 0.1)), 'plumb_bob', (0.1, 0.0, 0.0, 0.0)),
        (('RADIAL', (20.0, 8.0, 6.0, 0.1, 0.2)), 'plumb_bob', (0.1, 0.2, 0.0, 0.0)),
        (
            ('FULL_OPENCV', (20.0, 21.0, 8.0, 6.0, *range(1, 9))),
            'rational_polynomial', (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0),
        ),
        (
            ('OPENCV_FISHEYE', (20.0, 21.0, 8.0, 6.0, 0.1, 0.2, 0.3, 0.4)),
            'equidistant', (0.1, 0.2, 0.3, 0.4),
        ),
        (
            ('SIMPLE_RADIAL_FISHEYE', (20.0, 8.0, 6.0, 0.0)),
            'equidistant', (0.0, 0.0, 0.0, 0.0),
        ),
        (
            ('RADIAL_FISHEYE', (20.0, 8.0, 6.0, 0.1, 0.2)),
            'equidistant', (0.1, 0.2, 0.0, 0.0),
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and value else '',
)  # fmt: skip
def test_camera_models_become_ours(tmp_path, write, camera, model, distortion):
    write(tmp_path, camera=camera)
    write_pictures(tmp_path / 'images')
    found = read_colmap(tmp_path).frames[0].camera
    assert (found.model, found.distortion) == (model, distortion)
    assert (found.fx, found.cx, found.cy) == (20.0, 7.5, 5.5)


@WRITERS
def test_the_largest_of_several_models_is_read(tmp_path, write):
    write(tmp_path / 'sparse' / '0', images=records(2))
    write(tmp_path / 'sparse' / '1', images=records(3))
    write_pictures(tmp_path / 'images')
    assert model_folders(tmp_path) == (tmp_path / 'sparse' / '0', tmp_path / 'sparse' / '1')
    assert len(read_colmap(tmp_path).frames) == 3


@pytest.mark.parametrize('line', ['1 1 0 0 0 0 0 0 3', '1 1 0 0 0 0 far 0 3 a.png', 'x'])
def test_a_bad_line_is_named(tmp_path, line):
    write_text(tmp_path)
    (tmp_path / 'images.txt').write_text(f'# images\n{line}\n\n')
    with pytest.raises(DataError, match='Line 2 of .*images.txt must be'):
        read_colmap(tmp_path)


@WRITERS
def test_what_cannot_be_used_is_named(tmp_path, write):
    with pytest.raises(DataError, match='has no COLMAP model'):
        read_colmap(tmp_path)
    write(tmp_path)
    with pytest.raises(DataError, match='None of the 4 images of the model .*images'):
        read_colmap(tmp_path)
    with pytest.raises(DataError, match='photos does not exist'):
        read_colmap(tmp_path, images=tmp_path / 'photos')
    write_pictures(tmp_path / 'images', 1)
    with pytest.raises(DataError, match='only 1 image with a pose .3 skipped.'):
        read_colmap(tmp_path)
    write_picture(tmp_path / 'images' / '001.png', size=(8, 6))
    with pytest.raises(DataError, match='8x6 but its intrinsics are for 16x12'):
        read_colmap(tmp_path)


@WRITERS
@pytest.mark.parametrize('values', [[0.0] * 7, [np.nan] * 7, [2.0, *[0.0] * 6]], ids=str)
def test_a_pose_that_is_not_rigid_is_refused(tmp_path, write, values):
    write(tmp_path, images=[('000.png', values)])
    write_pictures(tmp_path / 'images')
    with pytest.raises(PoseError, match=r'The image 000.png in .* has no rigid pose'):
        read_colmap(tmp_path)


@pytest.mark.parametrize('name', ['cameras.bin', 'images.bin'])
def test_a_binary_file_cut_anywhere_is_refused(tmp_path, name):
    write_binary(tmp_path)
    write_pictures(tmp_path / 'images')
    content = (tmp_path / name).read_bytes()
    for length in range(len(content)):
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(DataError, match=f'{name} is cut short'):
            read_colmap(tmp_path)


def test_unknown_models_and_cameras_are_named(tmp_path):
    write_pictures(tmp_path / 'images')
    write_text(tmp_path, camera=('THIN_PRISM_FISHEYE', (20.0,) * 12))
    with pytest.raises(DataError, match='THIN_PRISM_FISHEYE cannot be used'):
        read_colmap(tmp_path)
    write_text(tmp_path, camera=('PINHOLE', (20.0,)))
    with pytest.raises(DataError, match='takes 4 parameters, found 1'):
        read_colmap(tmp_path)
    write_text(tmp_path, camera=('PINHOLE', (0.0, 20.0, 8.0, 6.0)))
    with pytest.raises(CameraError, match='fx=0.0'):
        read_colmap(tmp_path)
    write_text(tmp_path)
    (tmp_path / 'cameras.txt').write_text('')
    with pytest.raises(DataError, match='unknown camera 3'):
        read_colmap(tmp_path)
    write_binary(tmp_path)
    (tmp_path / 'cameras.bin').write_bytes(struct.pack('<QIiQQ', 1, 3, 99, *SIZE))
    with pytest.raises(DataError, match='model number 99 cannot be used'):
        read_colmap(tmp_path)


@pytest.mark.parametrize('suffix', ['.txt', '.bin'])
def test_models_as_colmap_writes_them_are_read(tmp_path, suffix):
    pycolmap = pytest.importorskip('pycolmap')
    write_text(tmp_path / 'text', images=[(name, v) for name, v in records()])
    (tmp_path / 'text' / 'points3D.txt').write_text('')
    write_pictures(tmp_path / 'images')
    reconstruction = pycolmap.Reconstruction(str(tmp_path / 'text'))
    (tmp_path / 'sparse').mkdir()
    write = reconstruction.write_text if suffix == '.txt' else reconstruction.write_binary
    write(str(tmp_path / 'sparse'))
    assert (tmp_path / 'sparse' / f'images{suffix}').is_file()
    scene = read_colmap(tmp_path)
    for index, frame in enumerate(scene.frames):
        np.testing.assert_allclose(frame.T_map_cam, pose(index), atol=1e-9)
    peer = next(iter(reconstruction.cameras.values()))
    point = np.array([0.1, -0.2, 1.0])
    np.testing.assert_allclose(
        scene.frames[0].camera.project(point)[0][0], peer.img_from_cam(point) - 0.5, atol=1e-6
    )
