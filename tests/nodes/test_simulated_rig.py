"""The simulated rig over DDS: images, calibrations, transforms and joints that agree."""

from pathlib import Path
import subprocess

from geometry_msgs.msg import TransformStamped
import numpy as np
import pytest
import rclpy
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

pytest.importorskip('pybullet', reason='the sim extra is not installed')

from posefield.data.camera_info import camera_from_info  # noqa: E402
from posefield.data.simulated_robot import SimulatedRobot  # noqa: E402
from posefield.errors import DataError  # noqa: E402
from posefield.nodes.conversions import stamp_ns, transform_from_message  # noqa: E402
from posefield.nodes.images import rgb_from_message  # noqa: E402
from posefield.nodes.simulated_rig import JointTrajectory, SimulatedRig  # noqa: E402
from posefield.nodes.transforms import TF_QOS, TF_STATIC_QOS  # noqa: E402
from support.processes import node_command  # noqa: E402
from support.tiny_robot import TINY_JOINTS, TINY_URDF  # noqa: E402

START_TIMEOUT_S = 60.0
CAMERAS = ('cam_00', 'cam_01')


class Rig:
    """A rig of two small cameras, and everything that it publishes."""

    def __init__(self, graph, folder: Path, **parameters):
        urdf = folder / 'tiny.urdf'
        urdf.write_text(TINY_URDF)
        self.urdf = str(urdf)
        values = {'urdf': self.urdf, 'cameras': 2, 'size': 32, 'rate': 10.0, 'processes': 1}
        overrides = {**values, 'publish_masks': True, **parameters}
        self.graph = graph
        self.node = graph.add(rclpy.create_node('listener'))
        self.images: dict[str, list[Image]] = {name: [] for name in CAMERAS}
        self.masks: dict[str, list[Image]] = {name: [] for name in CAMERAS}
        self.infos: dict[str, list[CameraInfo]] = {name: [] for name in CAMERAS}
        self.joints: list[JointState] = []
        self.static: list[TransformStamped] = []
        self.moving: list[TransformStamped] = []
        for name in CAMERAS:
            for topic, kind, heard in (
                ('image_raw', Image, self.images),
                ('mask', Image, self.masks),
                ('camera_info', CameraInfo, self.infos),
            ):
                self.node.create_subscription(
                    kind, f'{name}/{topic}', heard[name].append, qos_profile_sensor_data
                )
        self.node.create_subscription(
            JointState, 'simulated_rig/joint_states', self.joints.append, 100
        )
        self.node.create_subscription(
            TFMessage, '/tf_static', lambda m: self.static.extend(m.transforms), TF_STATIC_QOS
        )
        self.node.create_subscription(
            TFMessage, '/tf', lambda m: self.moving.extend(m.transforms), TF_QOS
        )
        self.rig = graph.add(
            SimulatedRig(
                parameter_overrides=[Parameter(name, value=v) for name, v in overrides.items()]
            )
        )

    def position(self, name: str) -> float:
        """Where a joint is now."""
        return self.joints[-1].position[list(TINY_JOINTS).index(name)]

    def filmed(self, moments: int = 3) -> bool:
        """Spin until every camera has sent so many images."""
        return self.graph.spin_until(
            lambda: all(len(self.images[name]) >= moments for name in CAMERAS), START_TIMEOUT_S
        )


def test_images_calibrations_masks_and_transforms_belong_together(graph, tmp_path):
    rig = Rig(graph, tmp_path)
    assert rig.filmed()
    graph.spin_for(0.3)
    assert {one.child_frame_id for one in rig.static} == {f'{c}_optical_frame' for c in CAMERAS}
    for name, scene_camera in zip(CAMERAS, rig.rig.scene.cameras, strict=True):
        info = rig.infos[name][0]
        assert info.header.frame_id == f'{name}_optical_frame'
        assert camera_from_info(info) == scene_camera.camera
        T = next(t for t in rig.static if t.child_frame_id == info.header.frame_id)
        assert T.header.frame_id == 'world'
        np.testing.assert_allclose(
            transform_from_message(T.transform, 'it'), scene_camera.T_world_cam, atol=1e-9
        )
        masks = {stamp_ns(mask.header.stamp): mask for mask in rig.masks[name]}
        image = rig.images[name][0]
        mask = masks[stamp_ns(image.header.stamp)]
        assert (image.encoding, mask.encoding) == ('rgb8', 'mono8')
        assert image.header.frame_id == mask.header.frame_id == info.header.frame_id
        is_robot = np.frombuffer(mask.data, np.uint8).reshape(32, 32) > 0
        assert 20 < is_robot.sum() < 32 * 32
        is_white = (rgb_from_message(image) == 255).all(axis=-1)
        assert is_white[~is_robot].mean() > 0.85, 'but for blended edges'
        assert not is_white[is_robot].any()
    stamps = [{stamp_ns(i.header.stamp) for i in rig.images[name]} for name in CAMERAS]
    assert len(stamps[0] & stamps[1]) >= 3


def test_images_show_the_joints_at_their_stamp(graph, tmp_path):
    rig = Rig(graph, tmp_path, joint_rate=100.0, max_joint_speed=2.0)
    assert rig.filmed(5)
    graph.spin_for(0.2)
    image = rig.images['cam_00'][3]
    stamp = stamp_ns(image.header.stamp)
    times = np.array([stamp_ns(joints.header.stamp) for joints in rig.joints], dtype=float)
    positions = np.array([joints.position for joints in rig.joints])
    assert times[0] <= stamp <= times[-1]
    assert list(rig.joints[0].name) == list(TINY_JOINTS)
    there = [np.interp(stamp, times, column) for column in positions.T]
    with SimulatedRobot(rig.urdf) as robot:
        expected = rig.rig.scene.drawing.draw_at(robot, there).images_VHW3[0]
    difference = np.abs(rgb_from_message(image).astype(int) - expected)
    assert difference.mean() < 2.0


def test_commands_move_the_robot_and_wrong_ones_do_not(graph, tmp_path):
    rig = Rig(graph, tmp_path, motion='commands', max_joint_speed=20.0, publish_masks=False)
    commands = rig.node.create_publisher(JointState, 'simulated_rig/joint_command', 10)
    assert graph.spin_until(lambda: commands.get_subscription_count() > 0 and rig.joints)
    first = rig.position('elbow')
    commands.publish(JointState(name=['hip'], position=[0.3]))
    assert graph.logged("no movable joint 'hip'")
    assert rig.position('elbow') == first
    commands.publish(JointState(name=['elbow'], position=[first + 0.2]))
    assert graph.spin_until(lambda: abs(rig.position('elbow') - first - 0.2) < 1e-6)
    assert not rig.masks['cam_00']


@pytest.mark.skipif(JointTrajectory is None, reason='trajectory_msgs is not installed')
def test_a_trajectory_ends_the_random_motion(graph, tmp_path):
    from trajectory_msgs.msg import JointTrajectoryPoint

    rig = Rig(graph, tmp_path)
    publisher = rig.node.create_publisher(JointTrajectory, 'simulated_rig/joint_trajectory', 10)
    assert graph.spin_until(lambda: publisher.get_subscription_count() > 0 and rig.joints)
    points = [JointTrajectoryPoint(positions=[value, -value]) for value in (0.1, 0.3)]
    for number, point in enumerate(points):
        point.time_from_start.nanosec = 200_000_000 * (number + 1)
    publisher.publish(JointTrajectory(joint_names=['shoulder', 'elbow'], points=points))
    assert graph.spin_until(lambda: abs(rig.position('shoulder') - 0.3) < 1e-6)
    assert rig.position('elbow') == pytest.approx(-0.3)


def test_pausing_stops_motion_and_images(graph, tmp_path):
    rig = Rig(graph, tmp_path, max_joint_speed=2.0)
    assert rig.filmed(1)
    pause = rig.node.create_client(SetBool, 'simulated_rig/pause')
    assert graph.call(pause, SetBool.Request(data=True)).success
    graph.spin_for(0.5)
    where, count = list(rig.joints[-1].position), len(rig.images['cam_00'])
    graph.spin_for(0.5)
    assert list(rig.joints[-1].position) == where
    assert len(rig.images['cam_00']) == count
    assert graph.call(pause, SetBool.Request(data=False)).success
    assert rig.filmed(count + 1)
    assert graph.spin_until(lambda: list(rig.joints[-1].position) != where)


def test_a_restart_begins_the_random_motion_again(graph, tmp_path):
    rig = Rig(graph, tmp_path, motion='commands', max_joint_speed=0.1)
    assert graph.spin_until(lambda: bool(rig.joints))
    begin = rig.rig.scene.random_positions(0.0)
    assert np.abs(np.array(rig.joints[-1].position) - begin).max() > 0.02
    restart = rig.node.create_client(Trigger, 'simulated_rig/restart')
    assert graph.call(restart, Trigger.Request()).success
    count = len(rig.joints)
    assert graph.spin_until(lambda: len(rig.joints) > count)
    assert np.abs(np.array(rig.joints[-1].position) - begin).max() < 0.05


def test_links_are_on_tf_where_they_are_asked_for(graph, tmp_path):
    rig = Rig(graph, tmp_path, publish_link_tf=True, motion='commands')
    assert graph.spin_until(lambda: len(rig.moving) > 10, START_TIMEOUT_S)
    with SimulatedRobot(rig.urdf) as robot:
        poses = dict(zip(robot.links, robot.link_poses(rig.joints[-1].position), strict=True))
    for stamped in rig.moving[-5:]:
        name = stamped.child_frame_id.removeprefix('true_')
        found = transform_from_message(stamped.transform, name)
        np.testing.assert_allclose(found, poses[name], atol=1e-6)


def test_a_rate_that_cannot_be_held_is_told(graph, tmp_path):
    rig = Rig(graph, tmp_path, rate=120.0, size=256)
    assert graph.logged('120 Hz cannot be drawn in time', timeout_s=START_TIMEOUT_S)
    assert rig.filmed(2)


def test_a_robot_that_is_missing_is_a_sentence(graph):
    with pytest.raises(DataError, match=r'nowhere\.urdf'):
        SimulatedRig(parameter_overrides=[Parameter('urdf', value='nowhere.urdf')])


def test_the_process_films_until_it_is_interrupted(graph, tmp_path):
    urdf = tmp_path / 'tiny.urdf'
    urdf.write_text(TINY_URDF)
    process = subprocess.Popen(
        node_command('simulated_rig_node')
        + ['--ros-args', '-p', f'urdf:={urdf}', '-p', 'cameras:=2', '-p', 'size:=32']
        + ['-p', 'processes:=1']
    )
    heard = []
    node = graph.add(rclpy.create_node('listener'))
    node.create_subscription(Image, 'cam_01/image_raw', heard.append, qos_profile_sensor_data)
    came = graph.spin_until(lambda: len(heard) >= 2, START_TIMEOUT_S)
    process.terminate()
    assert process.wait(20) == 0
    assert came
