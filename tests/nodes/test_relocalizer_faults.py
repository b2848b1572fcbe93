"""What the relocalizer does with bad input, and that it goes on afterwards."""

import time

import pytest
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from posefield.errors import CameraError
from support.fake_localizer import FakeLocalizer, localization
from support.robot import CAMERA_FRAME, HEIGHT, T_BASE_CAM, WIDTH, Robot, pose


@pytest.fixture
def robot(graph):
    robot = Robot(graph, tf_mode='map_to_camera')
    robot.start()
    robot.send_info()
    return robot


def goes_on(robot, t_s=50.0):
    """A good image still gives a pose."""
    robot.heard.poses.clear()
    robot.send_image(t_s)
    return robot.result_at(t_s).accepted and len(robot.heard.poses) == 1


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'encoding': 'yuv777'}, ['/image', 'encoding', 'yuv777']),
        ({'step': 5}, ['/image', 'step', '5']),
        ({'width': 0}, ['/image', f'0x{HEIGHT}']),
        ({'width': 0, 'height': 0, 'step': 0, 'data': b''}, ['/image', '0x0']),
        ({'data': b'\0' * 10}, ['/image', '10']),
        ({'height': HEIGHT // 2}, ['/image', f'{WIDTH}x{HEIGHT // 2}', f'{WIDTH}x{HEIGHT}']),
        ({'frame': 'lidar'}, ['frame_id', 'lidar', 'camera_optical_frame', 'the same']),
    ],
)
def test_a_bad_image_is_named_and_gives_no_pose(graph, robot, changes, words):
    for t_s in (0.1, 0.2, 0.3):
        robot.send_image(t_s, **changes)
    assert graph.logged('WARN', *words)
    graph.spin_for(0.2)
    assert not robot.heard.poses and not robot.heard.results and not robot.localizer.calls
    assert graph.log.count('[WARN]') == 1, 'the warning must be throttled'
    assert goes_on(robot)


def test_an_image_without_stamp_is_refused(graph, robot):
    robot.send_image(0.0, header=Header(frame_id=CAMERA_FRAME))
    assert graph.logged('WARN', 'no stamp')
    assert not robot.heard.poses
    assert goes_on(robot)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'k': [0.0] * 9}, ['/camera_info', 'K[0] = 0']),
        ({'distortion_model': 'wavy', 'd': [0.1] * 5}, ['/camera_info', 'wavy']),
        ({'frame': 'camera_link'}, ['/camera_info', 'camera_link', 'the same']),
    ],
)
def test_a_bad_calibration_is_named_and_gives_no_pose(graph, robot, changes, words):
    robot.send_info(**changes)
    robot.send_image(0.1)
    robot.send_image(0.2)
    assert graph.logged('WARN', *words)
    graph.spin_for(0.2)
    assert not robot.heard.poses and graph.log.count('[WARN]') == 1
    robot.send_info()
    assert goes_on(robot)


def test_images_without_calibration_name_both_topics(graph):
    robot = Robot(graph, tf_mode='map_to_camera')
    robot.start()
    robot.send_image(0.1)
    assert graph.logged('WARN', '/image', 'no camera_info on /camera_info', 'best_effort')
    robot.send_info()
    assert goes_on(robot)


def test_the_watchdog_names_topic_and_qos(graph):
    robot = Robot(graph, tf_mode='map_to_camera', watchdog_period=0.5)
    robot.node.destroy_publisher(robot.images)
    assert robot.subject.trigger_configure().name == 'SUCCESS'
    assert robot.subject.trigger_activate().name == 'SUCCESS'
    assert graph.logged(
        'WARN', 'No image for', '/image', 'best_effort, volatile, keep_last 5', 'nobody'
    )


def test_the_watchdog_tells_a_publisher_that_does_not_match(graph):
    overrides = {'qos_overrides./image.subscription.reliability': 'reliable'}
    robot = Robot(graph, tf_mode='map_to_camera', watchdog_period=0.5, **overrides)
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    robot.node.destroy_publisher(robot.images)
    robot.node.create_publisher(Image, 'image', best_effort)
    assert robot.subject.trigger_configure().name == 'SUCCESS'
    assert robot.subject.trigger_activate().name == 'SUCCESS'
    assert graph.logged('WARN', 'No image for', 'QoS reliable', 'robot', 'QoS best_effort')


def test_the_watchdog_is_silent_while_images_come(graph):
    robot = Robot(graph, tf_mode='map_to_camera', watchdog_period=0.5)
    robot.start()
    robot.send_info()
    for step in range(10):
        robot.send_image(0.1 * step)
        graph.spin_for(0.1)
    assert 'No image' not in graph.log
    assert graph.logged('WARN', 'No image')


def test_a_best_effort_camera_is_heard(graph):
    robot = Robot(graph, tf_mode='map_to_camera')
    robot.start()
    sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    robot.node.destroy_publisher(robot.images)
    robot.images = robot.node.create_publisher(Image, 'image', sensor)
    assert graph.spin_until(lambda: robot.images.get_subscription_count() == 1)
    robot.send_info()
    assert goes_on(robot)


def test_qos_overrides_hold_and_survive_another_activation(graph):
    overrides = {'qos_overrides./image.subscription.depth': 2}
    robot = Robot(graph, tf_mode='map_to_camera', **overrides)
    robot.start()
    for _ in range(2):
        assert robot.subject._input.image_qos.depth == 2
        assert robot.subject.trigger_deactivate().name == 'SUCCESS'
        robot.activate()


def test_errors_of_the_localizer_are_told_and_the_node_goes_on(graph, robot):
    answer = robot.localizer.answer

    def refuse(*_):
        raise CameraError('The image is too small for this map.')

    def crash(*_):
        raise ZeroDivisionError('a bug')

    robot.localizer.answer = refuse
    robot.send_image(0.1)
    assert graph.logged('WARN', 'too small for this map')
    robot.localizer.answer = crash
    robot.send_image(0.2)
    assert graph.logged('ZeroDivisionError: a bug')
    robot.localizer.answer = answer
    assert goes_on(robot)


def test_a_slow_localizer_drops_the_oldest_and_never_blocks_the_executor(graph):
    robot = Robot(graph, FakeLocalizer(delay_s=0.4), tf_mode='map_to_camera')
    robot.start()
    robot.send_info()
    robot.send_image(0.0)
    assert graph.spin_until(lambda: robot.localizer.calls)
    for step in range(1, 6):
        robot.send_image(0.1 * step)
    slowest = 0.0
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        start = time.monotonic()
        graph.executor.spin_once(timeout_sec=0.01)
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < 0.2
    robot.result_at(0.5)
    assert [call[2] is None for call in robot.localizer.calls] == [True, False]
    assert robot.subject._worker.dropped == 4


def test_a_clock_that_differs_from_the_stamps_is_told(graph, robot):
    robot.send_image(-100.0)
    assert graph.logged('WARN', '-100', 'use_sim_time')
    assert robot.result_at(-100.0).accepted


def test_time_that_jumps_back_starts_again(graph):
    localizer = FakeLocalizer(lambda *_: localization(pose(1.0) @ T_BASE_CAM))
    robot = Robot(graph, localizer, use_sim_time=True)
    clock = robot.node.create_publisher(Clock, '/clock', 10)
    robot.start()
    assert graph.spin_until(lambda: clock.get_subscription_count() == 1)
    robot.start_ns = 1_000_000_000_000

    def tick(t_s):
        clock.publish(Clock(clock=robot.stamp(t_s)))
        wanted = Time.from_msg(robot.stamp(t_s)).nanoseconds
        assert graph.spin_until(lambda: robot.subject.get_clock().now().nanoseconds == wanted)

    robot.send_extrinsics()
    robot.send_info()
    tick(10.0)
    robot.send_tf('odom', 'base_link', 10.0, pose())
    robot.send_image(10.0)
    assert robot.result_at(10.0).accepted
    assert robot.heard.map_transforms()
    tick(2.0)
    assert graph.logged('Time jumped')
    robot.heard.transforms.clear()
    tick(2.5)
    graph.spin_for(0.2)
    assert not robot.heard.map_transforms()
    robot.send_tf('odom', 'base_link', 3.0, pose())
    robot.send_image(3.0)
    assert robot.result_at(3.0).accepted
    assert localizer.calls[-1][2] is None


def test_the_camera_info_topic_follows_the_image_unless_remapped(graph):
    from posefield.nodes.camera_topic import info_topic

    def topics(*rules):
        node = graph.add(
            rclpy.create_node('subject', cli_args=['--ros-args', *rules], namespace='robot')
        )
        image = node.resolve_topic_name('image')
        return image, info_topic(node, image)

    assert topics() == ('/robot/image', '/robot/camera_info')
    remap_image = ['-r', 'image:=/front/image_raw']
    assert topics(*remap_image) == ('/front/image_raw', '/front/camera_info')
    both = [*remap_image, '-r', 'camera_info:=/calibration']
    assert topics(*both) == ('/front/image_raw', '/calibration')


def test_one_calibration_holds_for_all_images(graph):
    robot = Robot(graph, tf_mode='map_to_camera')
    robot.start()
    robot.send_info()
    for t_s in (0.1, 30.0):
        robot.send_image(t_s)
        assert robot.result_at(t_s).accepted
