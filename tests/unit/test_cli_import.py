"""scene import finds out what it is given, and hands its options on."""

from pathlib import Path

import pytest

from posefield.cli.app import main
from posefield.cli.importing import SceneFormat, detect_format
from posefield.data.scene import Scene
from posefield.errors import DataError
from posefield.geometry.poses import invert, to_quat_xyzw
from support.scenes import SIZE, pose, write_picture


def write_colmap(folder: Path, count: int = 4) -> Path:
    """Write a text model; its images are elsewhere."""
    folder.mkdir(parents=True)
    (folder / 'cameras.txt').write_text(f'1 PINHOLE {SIZE[0]} {SIZE[1]} 20 21 8 6\n')
    lines = []
    for index in range(count):
        T_cam_map = invert(pose(index))
        x, y, z, w = to_quat_xyzw(T_cam_map)
        numbers = ' '.join(map(repr, map(float, (w, x, y, z, *T_cam_map[:3, 3]))))
        lines += [f'{index + 1} {numbers} 1 photo {index}.png', '']
    (folder / 'images.txt').write_text('\n'.join(lines))
    return folder


@pytest.mark.parametrize('explicit', [[], ['--format', 'colmap']])
def test_a_colmap_project_with_photos_elsewhere(tmp_path, capsys, explicit):
    write_colmap(tmp_path / 'project' / 'sparse' / '0')
    for index in range(3):
        write_picture(tmp_path / 'photos' / f'photo {index}.png', index)
    options = ['--images', str(tmp_path / 'photos'), '--metric', '--hold-out', '3', *explicit]
    out = tmp_path / 'scene'
    assert main(['scene', 'import', str(tmp_path / 'project'), '--out', str(out), *options]) == 0
    printed = capsys.readouterr()
    assert '3 images (2 train, 1 test)' in printed.out
    assert '1 images were skipped' in printed.err and 'photo 3.png' in printed.err
    scene = Scene.load(out)
    assert scene.units == 'metres' and scene.skipped == ('photo 3.png',)
    assert [frame.name for frame in scene.split('test')] == ['photo 0.png']
    assert (scene.frames[0].camera.cx, scene.frames[0].camera.cy) == (7.5, 5.5)
    assert scene.frames[2].read_image()[0, 0, 0] == pytest.approx(20 / 255)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(
    ('files', 'expected'),
    [
        (['transforms.json'], SceneFormat.NERF),
        (['metadata.yaml'], SceneFormat.BAG),
        (['seq-01/frame-000000.color.png'], SceneFormat.SEVEN_SCENES),
        (['frame-000000.color.jpg'], SceneFormat.SEVEN_SCENES),
        (['images.bin', 'cameras.bin'], SceneFormat.COLMAP),
        (['sparse/images.txt', 'sparse/cameras.txt'], SceneFormat.COLMAP),
        (['sparse/1/images.bin', 'sparse/1/cameras.bin'], SceneFormat.COLMAP),
    ],
)
def test_a_folder_is_known_by_its_files(tmp_path, files, expected):
    for file in files:
        touch(tmp_path / file)
    assert detect_format(tmp_path) is expected


@pytest.mark.parametrize('name', ['drive.mcap', 'drive.db3', 'drive.bag'])
def test_a_bag_is_known_by_its_name(tmp_path, name):
    assert detect_format(touch(tmp_path / name)) is SceneFormat.BAG


def test_half_a_model_and_nothing_are_no_scenes(tmp_path):
    touch(tmp_path / 'images.bin')
    with pytest.raises(DataError, match='no scene that can be recognised'):
        detect_format(tmp_path)
    with pytest.raises(DataError, match='gone does not exist'):
        detect_format(tmp_path / 'gone')


def test_a_folder_that_is_no_scene_is_not_replaced_by_one(tmp_path, capsys):
    write_colmap(tmp_path / 'model')
    keep = touch(tmp_path / 'precious' / 'thesis.txt')
    command = ['scene', 'import', str(tmp_path / 'model'), '--out', str(keep.parent)]
    assert main(command) == 1
    assert keep.exists() and 'precious' in capsys.readouterr().err
