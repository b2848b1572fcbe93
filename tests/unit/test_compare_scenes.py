"""Two sets of poses of the same images: raw and aligned differences, files, errors."""

from dataclasses import replace
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posefield.cli.app import main
from posefield.data.scene import Scene
from posefield.data.seven_scenes import read_seven_scenes
from posefield.errors import DataError
from posefield.evaluation.compare_scenes import compare_scenes, comparison_figures
from posefield.evaluation.comparison_report import scene_labels, write_comparison_report
from posefield.geometry.similarity import Similarity
from support.scenes import make_scene

MOVE = Similarity(1.0, Rotation.from_rotvec([0.3, -0.8, 0.1]).as_matrix(), np.array([4.0, 1, -2]))


@pytest.fixture
def scene(tmp_path) -> Scene:
    """Twelve cameras off any line."""
    made = make_scene(tmp_path / 'first', 12)
    generator = np.random.default_rng(3)
    frames = []
    for frame in made.frames:
        T = frame.T_map_cam.copy()
        T[:3, 3] = generator.normal(size=3)
        frames.append(replace(frame, T_map_cam=T))
    return replace(made, frames=tuple(frames))


def moved(scene: Scene, change, keep: slice = slice(None)) -> Scene:
    """The scene in another folder, its poses (N, 4, 4) changed by a function."""
    frames = scene.frames[keep]
    poses = change(np.array([frame.T_map_cam for frame in frames]))
    names = {frame.name for frame in frames}
    return replace(
        scene,
        root=scene.root.parent / 'second',
        frames=tuple(replace(f, T_map_cam=T) for f, T in zip(frames, poses, strict=True)),
        splits={
            split: tuple(name for name in listed if name in names)
            for split, listed in scene.splits.items()
        },
    )


def test_the_same_poses_do_not_differ(scene):
    found = compare_scenes(scene, scene)
    assert [name for name, _ in found.stages] == ['raw', 'se3', 'sim3']
    for _, stage in found.stages:
        np.testing.assert_allclose(stage.translations_N, 0.0, atol=1e-12)
        np.testing.assert_allclose(stage.rotations_deg_N, 0.0, atol=1e-6)


def test_raw_differences_are_distances_and_angles(scene):
    def change(poses):
        poses[:, :3, 3] += [0.3, 0.0, 0.4]
        poses[:, :3, :3] @= Rotation.from_rotvec([0.0, 0.0, 2.0], degrees=True).as_matrix()
        return poses

    figures = comparison_figures(compare_scenes(scene, moved(scene, change)), (scene, scene))
    for key in ('median', 'mean', 'rmse', 'max'):
        assert figures['raw']['translation'][key] == pytest.approx(0.5)
        assert figures['raw']['rotation_deg'][key] == pytest.approx(2.0)
    # The shift is a rigid motion; the turn of every camera on its own axis is none.
    assert figures['se3']['translation']['max'] == pytest.approx(0.0, abs=1e-9)
    assert figures['se3']['rotation_deg']['median'] == pytest.approx(2.0)


def test_alignment_takes_another_frame_away(scene):
    found = compare_scenes(scene, moved(scene, MOVE.poses))
    assert np.median(found.raw.translations_N) > 1.0
    np.testing.assert_allclose(found.rigid.translations_N, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.rigid.rotations_deg_N, 0.0, atol=1e-5)
    assert found.similar.alignment.scale == pytest.approx(1.0)


def test_only_sim3_takes_another_scale_away(scene):
    found = compare_scenes(scene, moved(scene, replace(MOVE, scale=2.0).poses))
    assert np.median(found.rigid.translations_N) > 0.1
    np.testing.assert_allclose(found.similar.translations_N, 0.0, atol=1e-12)
    # From the second scene to the first.
    assert found.similar.alignment.scale == pytest.approx(0.5)


def test_images_in_one_scene_only_are_counted_and_left_out(scene):
    found = compare_scenes(scene, moved(scene, lambda poses: poses, slice(0, 9)))
    assert len(found.names) == len(found.raw.translations_N) == 9
    assert (len(found.only_first), len(found.only_second)) == (3, 0)
    assert comparison_figures(found, (scene, scene))['only_in_first'] == 3


def test_images_without_a_pose_are_in_neither(scene):
    frames = (replace(scene.frames[0], T_map_cam=None), *scene.frames[1:])
    found = compare_scenes(replace(scene, frames=frames), scene)
    assert found.only_second == (scene.frames[0].name,)


def test_scenes_without_a_common_image_are_an_error(scene):
    other = tuple(replace(frame, name=f'other/{frame.name}') for frame in scene.frames)
    with pytest.raises(DataError, match='other/000.png'):
        compare_scenes(scene, replace(scene, frames=other, splits={}))


def test_cameras_on_a_line_are_compared_without_alignment(scene, tmp_path):
    def change(poses):
        poses[:, 1:3, 3] = 0.0
        return poses

    line = moved(scene, change)
    found = compare_scenes(line, line)
    assert found.rigid is None and 'line' in found.failure
    figures = comparison_figures(found, (line, line))
    assert 'se3' not in figures and figures['raw']['translation']['max'] == 0.0
    write_comparison_report(tmp_path / 'report.html', found, scene, line)
    assert 'on a line' in (tmp_path / 'report.html').read_text()


def test_folders_of_the_same_name_are_told_apart_by_their_paths(scene, tmp_path):
    assert scene_labels(scene, moved(scene, lambda poses: poses)) == ('first', 'second')
    twin = replace(scene, root=tmp_path / 'elsewhere' / 'first')
    assert scene_labels(scene, twin) == (str(scene.root), str(twin.root))


def test_the_command_writes_figures_and_a_page(scene, tmp_path, capsys):
    scene.save(tmp_path / 'a')
    moved(scene, replace(MOVE, scale=1.25).poses).save(tmp_path / 'b')
    arguments = ['scene', 'compare', str(tmp_path / 'a'), str(tmp_path / 'b')]
    assert main([*arguments, '--out', str(tmp_path / 'new' / 'out')]) == 0
    out = capsys.readouterr().out
    assert '12 (0 only in the first, 0 only in the second)' in out
    assert 'scale 0.80000' in out
    content = json.loads((tmp_path / 'new' / 'out' / 'comparison.json').read_text())
    assert content['kind'] == 'scene_comparison'
    assert (content['first']['name'], content['second']['name']) == ('a', 'b')
    assert content['sim3']['alignment']['scale'] == pytest.approx(0.8)
    assert content['sim3']['translation']['max'] == pytest.approx(0.0, abs=1e-6)
    page = (tmp_path / 'new' / 'out' / 'report.html').read_text()
    assert page.count('data:image/png;base64,') == 3
    assert 'a against b' in page and 'scale of Sim(3)' in page


@pytest.mark.real_data
def test_depth_slam_and_sfm_of_a_real_scene_are_a_few_centimetres_and_degrees_apart(real_data_dir):
    folder = real_data_dir / 'redkitchen'
    slam, sfm = (
        read_seven_scenes(folder, poses=poses, every=0) for poses in (None, 'sfm_pgt.txt')
    )
    found = compare_scenes(slam, sfm)
    assert len(found.names) == 500 and not found.only_first and not found.only_second
    assert 0.05 < np.median(found.raw.translations_N) < 0.1
    assert 0.02 < np.median(found.rigid.translations_N) < 0.05
    assert 1.0 < np.median(found.rigid.rotations_deg_N) < 4.0
    assert found.similar.alignment.scale == pytest.approx(1.0, abs=0.03)
