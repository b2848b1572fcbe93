"""A robot that is filmed live: its scene, and the processes that draw it."""

import numpy as np
import pytest

pytest.importorskip('pybullet', reason='the sim extra is not installed')

from posefield.data.simulated_rig import (  # noqa: E402
    LiveDrawer,
    RigScene,
    make_scene,
)
from posefield.data.simulated_robot import SimulatedRobot  # noqa: E402
from posefield.errors import DataError  # noqa: E402
from support.tiny_robot import TINY_JOINTS, TINY_URDF  # noqa: E402


@pytest.fixture(scope='module')
def urdf(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp('robot') / 'tiny.urdf'
    path.write_text(TINY_URDF)
    return str(path)


def scene_of(urdf: str, **changes) -> RigScene:
    options = {
        'cameras': 3,
        'size': 32,
        'duration_s': 2.0,
        'max_joint_speed': 1.0,
        'seed': 4,
    }
    return make_scene(urdf, **{**options, **changes})


def test_the_motion_goes_there_and_back_without_a_jump(urdf):
    scene = scene_of(urdf)
    assert [joint.name for joint in scene.joints] == list(TINY_JOINTS)
    times = np.arange(0.0, 8.0, 0.01)
    positions = np.array([scene.random_positions(now_s) for now_s in times])
    turning = positions[:, :2]
    assert np.abs(np.diff(turning, axis=0)).max() < 0.02
    assert np.ptp(turning, axis=0).min() > 0.1
    for now_s in (0.3, 1.1, 1.9):
        there = scene.random_positions(now_s)
        np.testing.assert_allclose(scene.random_positions(4.0 - now_s), there, atol=1e-9)
        np.testing.assert_allclose(scene.random_positions(4.0 + now_s), there, atol=1e-9)


def test_the_same_seed_gives_the_same_scene(urdf):
    one, same, other = scene_of(urdf), scene_of(urdf), scene_of(urdf, seed=5)
    np.testing.assert_array_equal(one.drawing.positions_FJ, same.drawing.positions_FJ)
    np.testing.assert_array_equal(one.cameras[2].T_world_cam, same.cameras[2].T_world_cam)
    assert np.abs(one.drawing.positions_FJ - other.drawing.positions_FJ).max() > 0.1


def test_processes_draw_what_one_robot_draws(urdf):
    scene = scene_of(urdf)
    positions = [scene.random_positions(now_s) for now_s in (0.0, 1.0)]
    drawer = LiveDrawer(scene.drawing, 1)
    try:
        drawn = [drawer.draw(one).result(60) for one in positions]
    finally:
        drawer.close()
    with SimulatedRobot(urdf) as robot:
        expected = [scene.drawing.draw_at(robot, one) for one in positions]
    for one, other in zip(drawn, expected, strict=True):
        assert one.images_VHW3.shape == (3, 32, 32, 3)
        np.testing.assert_array_equal(one.images_VHW3, other.images_VHW3)
        np.testing.assert_array_equal(one.labels_VHW, other.labels_VHW)
    # All of the robot is in every image.
    for labels in drawn[1].labels_VHW:
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        assert labels.any() and not border.any()


def test_a_robot_that_is_missing_is_a_sentence():
    with pytest.raises(DataError, match=r'nowhere\.urdf'):
        scene_of('nowhere.urdf')
