"""URDF files as other programs read them."""

from dataclasses import replace
import json
import os
from pathlib import Path
import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pybullet
import pytest
from scipy.spatial.transform import Rotation
import trimesh
import yourdfpy

from posefield.articulation.inertia import link_inertial
from posefield.articulation.kinematics import Link, Skeleton
from posefield.articulation.urdf import (
    UrdfConfig,
    UrdfExport,
    robot_description,
    rpy,
    sanitised,
    write_urdf,
)
from posefield.errors import ArticulationError, BundleError
from posefield.geometry.poses import from_quat_xyzw
from support.articulated import arm, arm_geometries

DOCUMENT = Path(__file__).parents[2] / 'docs' / 'urdf_export.md'
SMALL = UrdfConfig(cells=24, max_faces=600)


@pytest.fixture(scope='module')
def export(tmp_path_factory) -> UrdfExport:
    """The arm, written."""
    out = tmp_path_factory.mktemp('urdf') / 'arm'
    return write_urdf(arm(), arm_geometries(), out, name='my arm!', config=SMALL)


@pytest.fixture
def client():
    """A physics server of PyBullet without a window."""
    client = pybullet.connect(pybullet.DIRECT)
    yield client
    pybullet.disconnect(client)


def random_positions(skeleton: Skeleton, seed: int) -> dict[str, float]:
    """Return positions within the limits."""
    generator = np.random.default_rng(seed)
    joints = [skeleton.joint(name) for name in skeleton.movable]
    return {joint.name: generator.uniform(joint.lower, joint.upper) for joint in joints}


def load_bullet(
    path: Path, client: int, fixed: bool = True
) -> tuple[int, dict[str, int], dict[str, int]]:
    """Return the body, and the indices of its joints and of its links."""
    body = pybullet.loadURDF(str(path), useFixedBase=fixed, physicsClientId=client)
    joints, links = {}, {}
    for index in range(pybullet.getNumJoints(body, physicsClientId=client)):
        info = pybullet.getJointInfo(body, index, physicsClientId=client)
        joints[info[1].decode()] = index
        links[info[12].decode()] = index
    return body, joints, links


@pytest.mark.parametrize('seed', range(5))
def test_forward_kinematics_of_yourdfpy_is_that_of_the_skeleton(export, seed):
    skeleton = arm()
    positions = random_positions(skeleton, seed)
    robot = yourdfpy.URDF.load(str(export.path), load_meshes=False)
    robot.update_cfg({export.joints[name]: value for name, value in positions.items()})
    for link, expected in zip(skeleton.links, skeleton.forward(positions), strict=True):
        found = robot.get_transform(export.links[link.name], export.links[skeleton.root])
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize('seed', range(5))
def test_forward_kinematics_of_pybullet_is_that_of_the_skeleton(export, client, seed):
    skeleton = arm()
    positions = random_positions(skeleton, seed)
    body, joints, links = load_bullet(export.path, client)
    for name, value in positions.items():
        pybullet.resetJointState(body, joints[export.joints[name]], value, physicsClientId=client)
    for link, expected in zip(skeleton.links, skeleton.forward(positions), strict=True):
        if link.name == skeleton.root:
            continue
        index = links[export.links[link.name]]
        state = pybullet.getLinkState(
            body, index, computeForwardKinematics=1, physicsClientId=client
        )
        found = from_quat_xyzw(state[5], state[4])
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pybullet_sees_the_masses_limits_and_collisions(export, client):
    body, joints, links = load_bullet(export.path, client, fixed=False)
    info = pybullet.getJointInfo(body, joints[export.joints['slide']], physicsClientId=client)
    assert info[2] == pybullet.JOINT_PRISMATIC
    assert info[8:12] == pytest.approx((0.0, 0.1, SMALL.max_force, SMALL.max_slide_rate))
    info = pybullet.getJointInfo(body, joints[export.joints['1']], physicsClientId=client)
    assert info[8:12] == pytest.approx((-1.0, 2.0, SMALL.max_effort, SMALL.max_turn_rate))
    for link in arm().links:
        index = links.get(export.links[link.name], -1)
        mass = pybullet.getDynamicsInfo(body, index, physicsClientId=client)[0]
        geometry = arm_geometries()[link.name]
        assert mass == pytest.approx(link_inertial(geometry.ellipsoids, SMALL.density).mass)
        shapes = pybullet.getCollisionShapeData(body, index, physicsClientId=client)
        assert len(shapes) == len(link.parts)


def test_arm_falls_without_exploding(export, client):
    """Massless links between heavy ones must not make the simulation diverge."""
    body, joints, _ = load_bullet(export.path, client)
    pybullet.setGravity(0, 0, -9.81, physicsClientId=client)
    for index in joints.values():
        pybullet.setJointMotorControl2(
            body, index, pybullet.VELOCITY_CONTROL, force=0, physicsClientId=client
        )
    for _ in range(240):
        pybullet.stepSimulation(physicsClientId=client)
    states = pybullet.getJointStates(body, list(joints.values()), physicsClientId=client)
    assert np.abs([state[:2] for state in states]).max() < 100.0


def test_pybullet_shows_the_colours(export, client):
    pybullet.loadURDF(str(export.path), useFixedBase=True, physicsClientId=client)
    view = pybullet.computeViewMatrixFromYawPitchRoll([0, 0, 0.4], 2.5, 30, -20, 0, 2)
    projection = pybullet.computeProjectionMatrixFOV(45, 1, 0.05, 20)
    image = pybullet.getCameraImage(
        64, 64, view, projection, shadow=0, lightAmbientCoeff=1, lightDiffuseCoeff=0,
        lightSpecularCoeff=0, renderer=pybullet.ER_TINY_RENDERER, physicsClientId=client,
    )  # fmt: skip
    pixels = np.reshape(image[2], (-1, 4))[:, :3] / 255.0
    for geometry in arm_geometries().values():
        for ellipsoid in geometry.ellipsoids:
            assert (np.abs(pixels - ellipsoid.colour_3).max(1) < 0.05).sum() >= 3


def test_limits_are_written_as_the_format_wants_them(export):
    root = ElementTree.parse(export.path).getroot()
    joints = {joint.get('name'): joint for joint in root.iterfind('joint')}
    assert joints[export.joints['b_z']].get('type') == 'continuous'
    assert set(joints[export.joints['b_z']].find('limit').attrib) == {'effort', 'velocity'}
    assert set(joints[export.joints['b']].find('limit').attrib) >= {'lower', 'upper'}
    assert joints[export.joints['tip']].find('limit') is None


def test_names_are_clean_and_unique(export):
    root = ElementTree.parse(export.path).getroot()
    names = [child.get('name') for child in root]
    assert root.get('name') == 'my_arm'
    assert len(set(names)) == len(names) == 13
    assert all(name == sanitised(name) for name in names)
    assert export.links == {
        'base': 'base', 'arm 1': 'arm_1', 'ball.a': 'ball_a', 'ball.b': 'ball_b',
        'arm_1': 'arm_1_2', 'gripper': 'gripper', 'tip': 'tip',
    }  # fmt: skip
    assert (export.joints['1'], export.joints['tip']) == ('n1', 'tip_2')


@given(st.text(max_size=20))
def test_any_name_can_be_sanitised(name):
    clean = sanitised(name)
    assert clean.isascii() and clean.isidentifier() and clean[0].isalpha()


def test_visual_meshes_are_closed_and_hold_their_bound(export):
    scene = yourdfpy.URDF.load(str(export.path)).scene
    with_parts = [link for link in arm().links if link.parts]
    assert len(scene.geometry) == len(with_parts)
    for mesh in scene.geometry.values():
        assert mesh.is_watertight
        assert len(mesh.faces) <= SMALL.max_faces


def test_every_mesh_that_is_named_is_there(export):
    root = ElementTree.parse(export.path).getroot()
    named = {mesh.get('filename') for mesh in root.iter('mesh')}
    written = {f'meshes/{path.name}' for path in (export.path.parent / 'meshes').glob('*.obj')}
    assert named == written


def test_hulls_can_be_the_collision_bodies(tmp_path):
    config = replace(SMALL, collision='hull')
    export = write_urdf(arm(), arm_geometries(), tmp_path / 'arm', name='arm', config=config)
    root = ElementTree.parse(export.path).getroot()
    assert len(list(root.iter('collision'))) == 4
    hull = trimesh.load(tmp_path / 'arm' / 'meshes' / 'base_hull.obj')
    assert hull.is_convex
    assert not (tmp_path / 'arm' / 'meshes' / 'unit_sphere.obj').exists()


@pytest.mark.parametrize('wrong', [{'collision': 'box'}, {'cells': 0}, {'max_force': -1.0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ArticulationError, match=next(iter(wrong))):
        UrdfConfig(**wrong)


def test_units_become_metres(tmp_path):
    """A thing learned in centimetres; limits of angles stay, those of lengths scale."""
    export = write_urdf(
        arm(), arm_geometries(), tmp_path / 'arm', name='arm', metres=0.01, config=SMALL
    )
    robot = yourdfpy.URDF.load(str(export.path))
    np.testing.assert_allclose(robot.joint_map['b'].origin[:3, 3], [0.003, 0.001, 0.004])
    assert robot.joint_map['slide'].limit.upper == pytest.approx(0.001)
    assert robot.joint_map['b'].limit.upper == 1.0
    mesh = trimesh.load(tmp_path / 'arm' / 'meshes' / 'gripper.obj')
    np.testing.assert_allclose(mesh.extents, [0.001, 0.001, 0.002], rtol=0.05)
    ellipsoid = robot.link_map['gripper'].collisions[0]
    np.testing.assert_allclose(ellipsoid.geometry.mesh.scale, [0.0005, 0.0005, 0.001])


def test_description_names_meshes_wherever_it_is_read(export):
    text = robot_description(export.path)
    files = [mesh.get('filename') for mesh in ElementTree.fromstring(text).iter('mesh')]
    assert files
    for file in files:
        assert file.startswith('file:///')
        assert Path(file.removeprefix('file://')).is_file()


def test_export_says_what_it_is_and_is_replaced_by_another(export, tmp_path):
    out = tmp_path / 'arm'
    for name in ('first', 'second'):
        write_urdf(arm(), arm_geometries(), out, name=name, config=SMALL)
    assert ElementTree.parse(out / 'robot.urdf').getroot().get('name') == 'second'
    index = json.loads((out / 'export.json').read_text())
    assert (index['kind'], index['urdf']) == ('urdf_export', 'robot.urdf')
    assert index['links'] == export.links and index['joints'] == export.joints


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_folder_without_permission_is_a_clear_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(BundleError, match=r'arm could not be written: Permission denied'):
        write_urdf(arm(), arm_geometries(), tmp_path / 'arm', name='arm', config=SMALL)


def test_folder_that_cannot_be_written_is_a_clear_error():
    with pytest.raises(BundleError, match=r'/proc/arm could not be written'):
        write_urdf(arm(), arm_geometries(), '/proc/arm', name='arm', config=SMALL)


def test_folder_of_others_is_left_alone(tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(BundleError, match="files that are not posefield's"):
        write_urdf(arm(), arm_geometries(), tmp_path, name='arm', config=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']


def test_link_without_geometry_is_refused(tmp_path):
    geometries = arm_geometries()
    del geometries['gripper']
    with pytest.raises(ArticulationError, match="none of 'gripper'"):
        write_urdf(arm(), geometries, tmp_path / 'arm', name='arm', config=SMALL)
    assert not (tmp_path / 'arm').exists()


def test_single_link_is_a_robot_too(tmp_path, client):
    single = Skeleton((Link('base', (0, 1)),), (), 'base')
    export = write_urdf(single, arm_geometries(), tmp_path / 'arm', name='rock', config=SMALL)
    assert load_bullet(export.path, client)[1] == {}


@pytest.mark.parametrize('pitch', [0.3, np.pi / 2, -np.pi / 2, np.pi / 2 - 1e-9, 3.0])
def test_roll_pitch_yaw_give_the_rotation_back(pitch):
    R = Rotation.from_euler('ZYX', [0.7, pitch, -1.2]).as_matrix()
    roll, pitch, yaw = rpy(R)
    back = Rotation.from_euler('ZYX', [yaw, pitch, roll]).as_matrix()
    np.testing.assert_allclose(back, R, atol=1e-8)


def test_the_examples_of_the_documentation_run(export, tmp_path, monkeypatch):
    (tmp_path / 'my_robot').symlink_to(export.path.parent)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r'^```python\n(.*?)^```', DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    exec(compile('\n'.join(blocks), str(DOCUMENT), 'exec'), {})


def test_joints_without_limits_are_as_documented_in_pybullet(export, client):
    body, joints, _ = load_bullet(export.path, client)
    info = pybullet.getJointInfo(body, joints[export.joints['b_z']], physicsClientId=client)
    assert info[2] == pybullet.JOINT_REVOLUTE
    assert info[8:10] == (0.0, -1.0)
