"""Posing, rendering, saving and exporting an articulated model."""

import json
from pathlib import Path
import pickle

import numpy as np
import pytest

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.errors import ArticulationError, BundleError
from posefield.geometry.camera import Camera
from posefield.storage import load_tensors, save_tensors
from support.ball_model import NORMALISATION, ball_model
from support.two_balls import CAMERA, angles, poses, rig


@pytest.fixture(scope='module')
def model() -> ArticulatedModel:
    return ball_model()


@pytest.fixture(scope='module')
def saved(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('models') / 'balls'
    model.save(folder)
    return folder


def copied(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / 'copy'
    folder.mkdir()
    for name in ('model.json', 'structure.json', 'weights.safetensors'):
        (folder / name).write_bytes((saved / name).read_bytes())
    return folder


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_everything_is_in_world_units(model):
    np.testing.assert_allclose(model.radii_P3[0], [0.6, 0.5, 0.8])
    truth = NORMALISATION.pose_to_world(poses()[3])
    np.testing.assert_allclose(model.part_poses(3), truth)
    np.testing.assert_allclose(model.structure.joints[0].T_parent_joint[:3, 3], [0.4, 0, 0.2])


def test_joint_positions_of_a_frame_give_its_poses(model):
    assert model.structure.movable == ('swing',)
    for frame in model.frames:
        positions = model.joint_positions(frame)
        np.testing.assert_allclose(positions, angles()[frame : frame + 1])
        reposed = model.repose(positions, model.root_pose(frame))
        np.testing.assert_allclose(reposed, model.part_poses(frame), atol=1e-9)


def test_joints_are_moved_by_name_and_stay_where_they_are_held(model):
    still, turned = model.repose({}), model.repose({'swing': 0.5})
    np.testing.assert_allclose(still, model.part_poses(0), atol=1e-9)
    np.testing.assert_allclose(turned[0], still[0])
    joint = NORMALISATION.point_to_world(np.array([0.2, 0.0, 0.1]))
    distances = [np.linalg.norm(T[1, :3, 3] - joint) for T in (still, turned)]
    assert distances[0] == pytest.approx(distances[1])
    with pytest.raises(ArticulationError, match="'hip'"):
        model.repose({'hip': 1.0})


def test_a_frame_that_was_not_learned_is_named(model):
    with pytest.raises(BundleError, match='Frame 11'):
        model.part_poses(11)


def test_a_camera_in_the_world_sees_what_one_in_the_scene_would(model):
    T_world_cam = NORMALISATION.pose_to_world(rig()[0].T_world_cam)
    seen = model.render(CAMERA, T_world_cam, model.part_poses(0))
    assert seen.colours_HW3.shape == (32, 32, 3)
    assert set(np.unique(seen.parts_HW)) == {-1, 0, 1}
    np.testing.assert_array_equal(seen.parts_HW >= 0, seen.opacities_HW >= 0.5)
    nearest = seen.depths_HW[seen.depths_HW > 0].min()
    # The camera is 3.2 * |(1, 0.4)| = 3.45 scene units from the middle, and a unit is 2 metres.
    assert 2 * (3.45 - 1.06) < nearest < 2 * 3.45


def test_a_model_comes_back_as_it_was(model, saved):
    again = ArticulatedModel.load(saved)
    assert again.info['seconds_to_learn'] == 1.5
    assert again.structure.to_dict() == model.structure.to_dict()
    assert again.found.report == model.found.report
    assert again.frames == model.frames
    camera, T = Camera(20, 16, 25.0, 25.0, 9.5, 7.5), rig()[1].T_world_cam
    T_world_cam = NORMALISATION.pose_to_world(T)
    first, second = (m.render(camera, T_world_cam, m.part_poses(2)) for m in (model, again))
    np.testing.assert_allclose(first.colours_HW3, second.colours_HW3, atol=1e-6)
    np.testing.assert_array_equal(first.parts_HW, second.parts_HW)


def test_the_exported_urdf_moves_as_the_model_does(model, saved, tmp_path):
    yourdfpy = pytest.importorskip('yourdfpy', reason='the test extra is not installed')
    made = model.export_urdf(tmp_path / 'export', name='balls')
    for path in (made.path, saved / 'robot.urdf'):
        robot = yourdfpy.URDF.load(str(path))
        for angle in (-0.7, 0.0, 0.4):
            robot.update_cfg({made.joints['swing']: angle})
            parts = model.repose({'swing': angle}, np.eye(4))
            for part, link in enumerate(('body', 'arm')):
                T_root_link = robot.get_transform(made.links[link], made.links['body'])
                expected = T_root_link @ model.found.T_link_part_P44[part]
                np.testing.assert_allclose(parts[part], expected, atol=1e-4)


def test_a_pickle_in_the_place_of_weights_is_never_opened(saved, tmp_path):
    folder = copied(saved, tmp_path)
    (folder / 'weights.safetensors').write_bytes(pickle.dumps({'a': 1}))
    with pytest.raises(BundleError, match='pickle'):
        ArticulatedModel.load(folder)


@pytest.mark.parametrize(
    ('file', 'changes', 'message'),
    [
        ('model.json', {'schema': 99}, 'schema 99'),
        ('model.json', {'kind': 'map'}, "'map'"),
        ('model.json', {'background': 'green'}, 'green'),
        ('model.json', {'normalisation': {'centre': [0, 0]}}, 'normalisation'),
        ('model.json', {'surface': {'parts': 3}}, 'surface'),
        ('structure.json', {'skeleton': {}}, 'skeleton'),
        ('structure.json', {'report': {}}, 'noise|levels'),
    ],
)
def test_damaged_models_are_refused_in_a_sentence(saved, tmp_path, file, changes, message):
    folder = copied(saved, tmp_path)
    edit(folder / file, **changes)
    with pytest.raises(BundleError, match=message):
        ArticulatedModel.load(folder)


def test_tensors_of_another_shape_are_refused(saved, tmp_path):
    folder = copied(saved, tmp_path)
    tensors = load_tensors(folder / 'weights.safetensors')
    for name, change in (
        ('structure.positions', lambda t: t[:, :0]),
        ('structure.root', lambda t: 2.0 * t),
        ('surface.raw_radii_P3', lambda t: t[:1]),
    ):
        save_tensors(folder / 'weights.safetensors', {**tensors, name: change(tensors[name])})
        with pytest.raises(BundleError, match='damaged'):
            ArticulatedModel.load(folder)
