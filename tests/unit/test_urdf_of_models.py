"""The URDF of a model shows in another program what the model shows by itself."""

import numpy as np
import pybullet
import pytest

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.urdf import UrdfConfig, UrdfExport
from posefield.geometry.camera import Camera
from posefield.geometry.poses import from_quat_xyzw, to_quat_xyzw
from support.ball_model import ball_model
from support.two_balls import look_at

CAMERA = Camera(64, 64, 80.0, 80.0, 31.5, 31.5)
NEAR, FAR = 0.1, 100.0


@pytest.fixture(scope='module')
def model() -> ArticulatedModel:
    return ball_model()


@pytest.fixture(scope='module')
def export(model, tmp_path_factory) -> UrdfExport:
    out = tmp_path_factory.mktemp('urdf') / 'balls'
    return model.export_urdf(out, config=UrdfConfig(cells=24, max_faces=1000))


@pytest.fixture
def client():
    """A physics server of PyBullet without a window."""
    client = pybullet.connect(pybullet.DIRECT)
    yield client
    pybullet.disconnect(client)


def load(export: UrdfExport, T_world_root: np.ndarray, client: int) -> tuple[int, dict[str, int]]:
    """Return the body with its root link in this pose, and its link (and joint) indices."""
    body = pybullet.loadURDF(str(export.path), useFixedBase=True, physicsClientId=client)
    dynamics = pybullet.getDynamicsInfo(body, -1, physicsClientId=client)
    # PyBullet places the centre of mass.
    T_world_mass = T_world_root @ from_quat_xyzw(dynamics[4], dynamics[3])
    pybullet.resetBasePositionAndOrientation(
        body, T_world_mass[:3, 3], to_quat_xyzw(T_world_mass), physicsClientId=client
    )
    count = pybullet.getNumJoints(body, physicsClientId=client)
    infos = [pybullet.getJointInfo(body, i, physicsClientId=client) for i in range(count)]
    return body, {info[12].decode(): info[0] for info in infos}


def seen_by_pybullet(T_world_cam: np.ndarray, client: int) -> tuple[np.ndarray, np.ndarray]:
    """Return depths (H, W) and link indices (H, W), -1 for the root and -2 for nothing."""
    view = np.diag([1.0, -1.0, -1.0, 1.0]) @ np.linalg.inv(T_world_cam)
    projection = np.zeros((4, 4))
    projection[0, 0] = 2 * CAMERA.fx / CAMERA.width
    projection[1, 1] = 2 * CAMERA.fy / CAMERA.height
    projection[2, 2:] = -(FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
    projection[3, 2] = -1.0
    image = pybullet.getCameraImage(
        CAMERA.width, CAMERA.height, view.T.ravel(), projection.T.ravel(),
        renderer=pybullet.ER_TINY_RENDERER, physicsClientId=client,
        flags=pybullet.ER_SEGMENTATION_MASK_OBJECT_AND_LINKINDEX,
    )  # fmt: skip
    buffer, segments = np.reshape(image[3], (64, 64)), np.reshape(image[4], (64, 64))
    depths = FAR * NEAR / (FAR - (FAR - NEAR) * buffer)
    return depths, np.where(segments < 0, -2, (segments >> 24) - 1)


@pytest.mark.parametrize('angle', [-0.7, 0.0, 0.6])
def test_pybullet_moves_the_parts_as_repose_does(model, export, client, angle):
    T_world_root = model.root_pose(4)
    body, links = load(export, T_world_root, client)
    joint = links[export.links['arm']]
    pybullet.resetJointState(body, joint, angle, physicsClientId=client)
    state = pybullet.getLinkState(body, joint, computeForwardKinematics=1, physicsClientId=client)
    arm = model.structure.links[model.structure.link_index('arm')]
    found = from_quat_xyzw(state[5], state[4]) @ model.found.T_link_part_P44[arm.parts[0]]
    expected = model.repose({'swing': angle}, T_world_root)[arm.parts[0]]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize('turn', [0.3, 2.2, 4.4])
def test_meshes_are_where_the_model_renders_its_surface(model, export, client, turn):
    """Masks, parts and depths of both renderers agree from every side, at any joint position."""
    T_world_root = model.root_pose(2)
    body, links = load(export, T_world_root, client)
    arm = links[export.links['arm']]
    pybullet.resetJointState(body, arm, 0.5, physicsClientId=client)
    eye = np.array([np.cos(turn), np.sin(turn), 0.4])
    T_world_cam = look_at(4.5 * eye)
    T_world_cam[:3, 3] += T_world_root[:3, 3]
    depths, indices = seen_by_pybullet(T_world_cam, client)
    own = model.render(CAMERA, T_world_cam, model.repose({'swing': 0.5}, T_world_root))
    inside = own.opacities_HW > 0.5
    both = inside & (indices > -2)
    assert both.sum() > 300
    assert both.sum() > 0.9 * (inside | (indices > -2)).sum()
    links_of_parts = np.array([-1, arm])
    assert (links_of_parts[own.parts_HW[both]] == indices[both]).mean() > 0.95
    assert np.median(np.abs(own.depths_HW[both] - depths[both])) < 0.05
