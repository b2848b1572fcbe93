"""What the relocalizer publishes: poses, transforms, results, overlay, diagnostics."""

import cv2
from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
import pytest
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from posefield.geometry.poses import invert
from posefield.nodes.conversions import pose_from_message, stamp_ns, transform_from_message
from posefield.relocalization.tracker import moved_covariance
from support.fake_localizer import FakeLocalizer, localization
from support.robot import CAMERA_FRAME, HEIGHT, T_BASE_CAM, WIDTH, Robot, picture, pose


def standing_at(T_map_base, **options):
    """A localizer that always finds the robot there."""
    return FakeLocalizer(lambda *_: localization(T_map_base @ T_BASE_CAM, **options))


def test_map_to_odom_uses_odometry_at_the_stamp_of_the_image(graph):
    T_map_base = pose(2.0, 1.0, 0.4)
    robot = Robot(graph, standing_at(T_map_base))
    robot.start()
    robot.send_extrinsics()
    robot.send_info()
    # The robot drives: at the image's stamp it is between the two, and now it is far away.
    for t_s, x in ((0.0, 0.0), (1.0, 1.0), (2.0, 9.0)):
        robot.send_tf('odom', 'base_link', t_s, pose(x))
    robot.send_image(0.5)
    result = robot.result_at(0.5)
    assert result.accepted and result.state == 'tracking' and result.reason == ''
    assert result.header.frame_id == 'map' and result.child_frame_id == CAMERA_FRAME
    assert result.latency_s > 0 and list(result.timing_names) == [
        'hypotheses',
        'alignment',
        'total',
    ]
    expected = T_map_base @ invert(pose(0.5))
    sent = robot.heard.map_transforms('odom')
    for transform in sent:
        T_map_odom = transform_from_message(transform.transform, 'it')
        np.testing.assert_allclose(T_map_odom, expected, atol=1e-9)
    stamps = [stamp_ns(transform.header.stamp) for transform in sent]
    assert stamps[0] == stamp_ns(robot.stamp(0.5))
    # The other is dated `transform_tolerance` ahead of now (or of the image, if that is later).
    assert stamps[1] >= stamps[0] + 100_000_000
    assert not robot.heard.map_transforms('base_link')


def test_pose_is_that_of_the_base_with_its_covariance_at_the_stamp_of_the_image(graph):
    T_map_base = pose(2.0, 1.0, 0.4)
    robot = Robot(graph, standing_at(T_map_base), tf_mode='map_to_base')
    robot.start()
    robot.send_extrinsics()
    robot.send_info()
    robot.send_image(0.5)
    robot.result_at(0.5)
    (message,) = robot.heard.poses
    assert message.header.frame_id == 'map' and message.header.stamp == robot.stamp(0.5)
    np.testing.assert_allclose(pose_from_message(message.pose.pose, 'pose'), T_map_base, atol=1e-9)
    lever = T_map_base[:3, 3] - (T_map_base @ T_BASE_CAM)[:3, 3]
    at_camera = np.diag([0.01**2] * 3 + [0.005**2] * 3)
    np.testing.assert_allclose(
        np.reshape(message.pose.covariance, (6, 6)), moved_covariance(at_camera, lever)
    )


@pytest.mark.parametrize(
    ('tf_mode', 'child'),
    [('map_to_base', 'base_link'), ('map_to_camera', CAMERA_FRAME), ('none', None)],
)
def test_the_other_tf_modes(graph, tf_mode, child):
    T_map_base = pose(2.0, 1.0, 0.4)
    robot = Robot(graph, standing_at(T_map_base), tf_mode=tf_mode, use_odometry=False)
    robot.start()
    if tf_mode != 'map_to_camera':
        robot.send_extrinsics()
    robot.send_info()
    robot.send_image(0.5)
    assert robot.result_at(0.5).accepted
    expected = T_map_base @ T_BASE_CAM if tf_mode == 'map_to_camera' else T_map_base
    (message,) = robot.heard.poses
    np.testing.assert_allclose(pose_from_message(message.pose.pose, 'it'), expected, atol=1e-9)
    if child is None:
        assert not [t for t in robot.heard.transforms if t.header.frame_id == 'map']
        return
    (transform,) = robot.heard.map_transforms(child)
    assert transform.header.stamp == robot.stamp(0.5)
    np.testing.assert_allclose(
        transform_from_message(transform.transform, 'it'), expected, atol=1e-9
    )


def test_frames_are_parameters(graph):
    robot = Robot(
        graph,
        standing_at(pose(1.0)),
        tf_mode='map_to_base',
        map_frame='hall',
        base_frame='chassis',
    )
    robot.start()
    robot.send_tf('chassis', CAMERA_FRAME, 0.0, T_BASE_CAM, static=True)
    robot.send_info()
    robot.send_image(0.1)
    assert robot.result_at(0.1).header.frame_id == 'hall'
    assert [(t.header.frame_id, t.child_frame_id) for t in robot.heard.transforms] == [
        ('hall', 'chassis')
    ]


def test_map_to_odom_is_repeated_with_a_later_stamp(graph):
    robot = Robot(graph, standing_at(pose(1.0)), tf_rebroadcast_rate=20.0)
    robot.start()
    robot.send_extrinsics()
    robot.send_info()
    robot.send_tf('odom', 'base_link', 0.0, pose())
    robot.send_image(0.0)
    robot.result_at(0.0)
    graph.spin_for(0.5)
    stamps = [stamp_ns(t.header.stamp) for t in robot.heard.map_transforms()]
    assert len(stamps) >= 7
    assert stamps == sorted(stamps)
    ahead = stamps[-1] - robot.node.get_clock().now().nanoseconds
    assert -100_000_000 < ahead <= 100_000_000


def test_nothing_is_published_or_repeated_while_lost(graph):
    localizer = standing_at(pose(1.0))
    robot = Robot(graph, localizer, tracking__lost_after=2)
    robot.start()
    robot.send_extrinsics()
    robot.send_info()
    for step in range(6):
        robot.send_tf('odom', 'base_link', 0.1 * step, pose())
    robot.send_image(0.0)
    assert robot.result_at(0.0).accepted
    localizer.answer = lambda *_: localization(np.eye(4), accepted=False)
    robot.send_image(0.1)
    assert robot.result_at(0.1).state == 'degraded'
    assert len(robot.heard.poses) == 1
    # Odometry still carries the last fix.
    robot.heard.transforms.clear()
    assert graph.spin_until(robot.heard.map_transforms)
    robot.send_image(0.2)
    lost = robot.result_at(0.2)
    assert lost.state == 'lost' and not lost.accepted and 'agrees with the map' in lost.reason
    robot.heard.transforms.clear()
    robot.send_image(0.3)
    assert robot.result_at(0.3).state == 'searching'
    graph.spin_for(0.3)
    assert len(robot.heard.poses) == 1 and not robot.heard.map_transforms()


def test_late_tf_is_waited_for_without_blocking_the_executor(graph):
    robot = Robot(graph, standing_at(pose(1.0)), tf_timeout=3.0)
    robot.start()
    robot.send_extrinsics()
    robot.send_info()
    robot.send_tf('odom', 'base_link', 0.0, pose())
    robot.send_image(0.5)
    graph.spin_for(0.5)
    assert not robot.heard.results
    robot.send_tf('odom', 'base_link', 1.0, pose(1.0))
    assert robot.result_at(0.5).accepted
    np.testing.assert_allclose(
        transform_from_message(robot.heard.map_transforms()[0].transform, 'it'),
        pose(1.0) @ invert(pose(0.5)),
        atol=1e-9,
    )


@pytest.mark.parametrize(
    ('sent', 'words'),
    [
        ([], ['"base_link" -> "camera_optical_frame"', 'map_to_camera']),
        (['extrinsics'], ['"odom" -> "base_link"', '0.3 s']),
    ],
)
def test_missing_tf_is_named_and_gives_no_pose(graph, sent, words):
    robot = Robot(graph, standing_at(pose(1.0)))
    robot.start()
    robot.send_info()
    if 'extrinsics' in sent:
        robot.send_extrinsics()
    robot.send_image(0.5)
    assert graph.logged(*words)
    assert not robot.heard.poses and not robot.heard.results


def test_compressed_images(graph):
    robot = Robot(graph, tf_mode='map_to_camera', image_transport='compressed')
    publisher = robot.node.create_publisher(CompressedImage, 'image/compressed', 10)
    assert robot.subject.trigger_configure().name == 'SUCCESS'
    assert robot.subject.trigger_activate().name == 'SUCCESS'
    assert graph.spin_until(
        lambda: publisher.get_subscription_count() and robot.infos.get_subscription_count()
    )
    robot.send_info()
    ok, data = cv2.imencode('.png', picture(10, 20, 30)[..., ::-1])
    assert ok
    message = CompressedImage(format='rgb8; png compressed bgr8', data=data.tobytes())
    message.header = Header(stamp=robot.stamp(0.1), frame_id=CAMERA_FRAME)
    publisher.publish(message)
    result = robot.result_at(0.1)
    assert result.pose.pose.position.x == pytest.approx(0.1)
    assert result.pose.pose.position.z == pytest.approx(0.3)


def test_overlay_is_rendered_only_for_who_looks(graph):
    localizer = standing_at(pose(1.0))
    robot = Robot(graph, localizer, tf_mode='map_to_camera', overlay_short_side=16)
    rendered = []
    original = localizer.render

    def render(T_map_cam, camera):
        rendered.append(camera)
        return original(T_map_cam, camera)

    localizer.render = render
    robot.start()
    robot.send_info()
    robot.send_image(0.1)
    robot.result_at(0.1)
    assert not rendered
    robot.node.create_subscription(Image, 'relocalizer/overlay', robot.heard.overlays.append, 10)
    assert graph.spin_until(lambda: robot.subject._output.wants_overlay)
    robot.send_image(0.2, picture(200, 0, 0))
    assert graph.spin_until(lambda: robot.heard.overlays)
    (overlay,) = robot.heard.overlays
    assert overlay.encoding == 'rgb8' and overlay.header.stamp == robot.stamp(0.2)
    assert (overlay.height, overlay.width) == (16, round(16 * WIDTH / HEIGHT))
    np.testing.assert_allclose(np.frombuffer(overlay.data, np.uint8)[:3], [100, 0, 128], atol=1)


def test_diagnostics_tell_state_rates_and_map(graph):
    robot = Robot(graph, tf_mode='map_to_camera', diagnostics_period=0.1)
    robot.start()
    robot.send_info()
    robot.send_image(0.1)
    robot.result_at(0.1)
    robot.heard.diagnostics.clear()
    assert graph.spin_until(lambda: robot.heard.diagnostics)
    (status,) = robot.heard.diagnostics[-1].status
    values = {pair.key: pair.value for pair in status.values}
    assert status.level == b'\x00' and status.message == 'tracking'
    assert status.name == 'relocalizer: localization'
    assert values['state'] == 'tracking' and values['map'] == 'fake'
    assert values['map units'] == 'metres' and values['images received'] == '1'
    assert float(values['latency median [s]']) > 0


def test_initialpose_becomes_the_prior_of_the_next_image(graph):
    robot = Robot(graph, standing_at(pose(1.0)), tf_mode='map_to_base')
    robot.start()
    robot.send_extrinsics()
    robot.send_info()
    hints = robot.node.create_publisher(PoseWithCovarianceStamped, 'initialpose', 10)
    assert graph.spin_until(lambda: hints.get_subscription_count() == 1)
    hint = PoseWithCovarianceStamped()
    hint.header.frame_id = 'map'
    hint.pose.pose.position.x = 5.0
    hint.pose.covariance[0] = hint.pose.covariance[7] = 0.25
    hint.pose.covariance[35] = 0.07
    hints.publish(hint)
    graph.spin_for(0.2)
    robot.send_image(0.1)
    assert robot.result_at(0.1).accepted
    prior = robot.localizer.calls[-1][2]
    np.testing.assert_allclose(prior.T_map_cam, pose(5.0) @ T_BASE_CAM, atol=1e-9)
    hint.header.frame_id = 'odom'
    hints.publish(hint)
    assert graph.logged('initialpose', '"odom"', 'expected "map"')


def test_live_parameters_take_effect(graph):
    robot = Robot(graph, tf_mode='map_to_camera')
    robot.start()
    robot.send_info()
    assert robot.subject.set_parameters([Parameter('max_rate', value=2.0)])[0].successful
    for t_s in (0.1, 0.2, 0.3, 0.7):
        robot.send_image(t_s)
        graph.spin_for(0.1)
    robot.result_at(0.7)
    stamps = [stamp_ns(r.header.stamp) for r in robot.heard.results]
    assert stamps == [stamp_ns(robot.stamp(t_s)) for t_s in (0.1, 0.7)]
    robot.subject.set_parameters([Parameter('tracking.confirm_k', value=2)])
    graph.spin_for(0.1)
    assert robot.subject._tracker.config.confirm_k == 2
