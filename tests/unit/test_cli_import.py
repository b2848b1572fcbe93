"""scene import finds out what it is given, and hands its options on."""

from pathlib import Path

import pytest

from posefield.cli.app import main
from posefield.cli.importing import SceneFormat, detect_format
from posefield.data.pose_files import NamedPose, write_cambridge_poses
from posefield.data.scene import Scene
from posefield.errors import DataError
from posefield.geometry.poses import invert, to_quat_xyzw
from support.scenes import SIZE, nerf_content, pose, write_nerf, write_picture


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


def write_cambridge(folder: Path, names: list[str]) -> Path:
    poses = [NamedPose(name, pose(index)) for index, name in enumerate(names)]
    write_cambridge_poses(folder / 'dataset_train.txt', poses[:-1])
    write_cambridge_poses(folder / 'dataset_test.txt', poses[-1:])
    for index, name in enumerate(names):
        write_picture(folder / name, index)
    return folder


@pytest.mark.parametrize('explicit', [[], ['--format', 'cambridge']])
def test_cambridge_with_one_focal_length_and_validation(tmp_path, capsys, explicit):
    names = [f'seq1/frame0000{index}.png' for index in range(6)]
    source = write_cambridge(tmp_path / 'ShopFacade', names)
    write_picture(source / 'masks' / names[3], 25)
    options = ['--focal', '22.5', '--validation', '2', *explicit]
    out = tmp_path / 'scene'
    assert main(['scene', 'import', str(source), '--out', str(out), *options]) == 0
    printed = capsys.readouterr()
    assert '6 images (2 train, 1 test, 3 val)' in printed.out and printed.err == ''
    scene = Scene.load(out)
    assert scene.splits == {
        'train': (names[1], names[3]), 'val': (names[0], names[2], names[4]), 'test': (names[5],),
    }  # fmt: skip
    assert {frame.camera.fx for frame in scene.frames} == {22.5}
    assert main(['scene', 'info', str(out), '--check']) == 0
    assert 'masks          1\n' in capsys.readouterr().out
    write_picture(out / 'masks' / f'{names[3]}.png', 12)
    assert main(['scene', 'info', str(out), '--check']) == 1
    assert 'has no static pixel' in capsys.readouterr().err


def test_a_scene_with_validation_photos_of_its_own_keeps_them(tmp_path, capsys):
    content = nerf_content(
        train_filenames=['images/000.png', 'images/001.png', 'images/002.png'],
        val_filenames=['images/003.png'],
    )
    source = write_nerf(tmp_path / 'source', content)
    out = tmp_path / 'scene'
    command = ['scene', 'import', str(source), '--out', str(out)]
    assert main([*command, '--validation', '2']) == 1
    assert 'leave out --validation' in capsys.readouterr().err
    assert not out.exists()
    assert main(command) == 0
    assert Scene.load(out).splits['val'] == ('003.png',)


def test_a_focal_length_for_a_scene_that_has_intrinsics_is_refused(tmp_path, capsys):
    source = write_nerf(tmp_path / 'source', nerf_content())
    command = ['scene', 'import', str(source), '--out', str(tmp_path / 'scene'), '--focal', '20']
    assert main(command) == 1
    assert '(nerf) brings its own intrinsics' in capsys.readouterr().err


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
        (['seq-01.zip'], SceneFormat.SEVEN_SCENES),
        (['dataset_train.txt', 'reconstruction.nvm'], SceneFormat.CAMBRIDGE),
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
