"""TF through tf2_ros and through our own buffer: the same behaviour."""

import threading

import numpy as np
import pytest
import rclpy
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from posefield.nodes.conversions import transform_to_message
from posefield.nodes.transform_buffer import TransformBuffer, TransformMissing
from posefield.nodes.transforms import (
    TF_QOS,
    TF_STATIC_QOS,
    OwnTransforms,
    Tf2Transforms,
    has_tf2_ros,
)

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def pose(x=0.0, y=0.0, yaw=0.0, roll=0.0):
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler('xyz', [roll, 0.0, yaw]).as_matrix()
    T[:3, 3] = [x, y, 0.0]
    return T


def stamp(t_ns):
    return rclpy.time.Time(nanoseconds=t_ns).to_msg()


class Talker:
    """Sends TF from another node."""

    def __init__(self, graph):
        self.graph = graph
        self.node = graph.add(rclpy.create_node('talker'))
        self.dynamic = self.node.create_publisher(TFMessage, '/tf', TF_QOS)
        self.static = self.node.create_publisher(TFMessage, '/tf_static', TF_STATIC_QOS)

    def send(self, parent, child, t_ns, T, static=False):
        message = TFMessage(transforms=[transform_to_message(T, parent, child, stamp(t_ns))])
        (self.static if static else self.dynamic).publish(message)


@pytest.fixture(params=['own', 'tf2_ros'])
def tf(request, graph):
    if request.param == 'tf2_ros' and not has_tf2_ros():
        pytest.skip('tf2_ros is not installed on this machine')
    node = graph.add(rclpy.create_node('listener'))
    transforms = (OwnTransforms if request.param == 'own' else Tf2Transforms)(node)
    talker = Talker(graph)
    assert graph.spin_until(
        lambda: talker.dynamic.get_subscription_count() and talker.static.get_subscription_count()
    )
    yield transforms, talker
    transforms.destroy()


def known(transforms, graph, *where):
    def ready():
        try:
            transforms.lookup(*where)
        except TransformMissing:
            return False
        return True

    return graph.spin_until(ready)


def test_lookup_interpolates_along_the_chain_with_static_frames(tf, graph):
    transforms, talker = tf
    talker.send('base_link', 'camera', 0, pose(0.5, roll=-1.0), static=True)
    talker.send('odom', 'base_link', START, pose(0.0, 0.0, 3.0))
    talker.send('odom', 'base_link', START + SECOND, pose(1.0, 2.0, -3.0))
    when = START + SECOND // 4
    assert known(transforms, graph, 'odom', 'camera', when)
    turned = 3.0 + (2 * np.pi - 6.0) / 4
    expected = pose(0.25, 0.5, turned) @ pose(0.5, roll=-1.0)
    np.testing.assert_allclose(transforms.lookup('odom', 'camera', when), expected, atol=1e-9)
    np.testing.assert_allclose(
        transforms.lookup('camera', 'odom', when), np.linalg.inv(expected), atol=1e-9
    )
    np.testing.assert_allclose(transforms.lookup('camera', 'camera', when), np.eye(4))


def test_siblings_are_joined_through_their_parent(tf, graph):
    transforms, talker = tf
    talker.send('base_link', 'left', 0, pose(0.0, 0.1), static=True)
    talker.send('base_link', 'right', 0, pose(0.0, -0.1), static=True)
    assert known(transforms, graph, 'left', 'right', START)
    np.testing.assert_allclose(transforms.lookup('left', 'right', START), pose(0.0, -0.2))


def test_nothing_is_extrapolated_and_the_reason_names_the_frame(tf, graph):
    transforms, talker = tf
    with pytest.raises(TransformMissing, match='base_link|odom'):
        transforms.lookup('odom', 'base_link', START)
    talker.send('odom', 'base_link', START, pose())
    assert known(transforms, graph, 'odom', 'base_link', START)
    for when in (START - SECOND, START + SECOND):
        with pytest.raises(TransformMissing):
            transforms.lookup('odom', 'base_link', when)
    with pytest.raises(TransformMissing, match='gripper'):
        transforms.lookup('odom', 'gripper', START)


def test_lookup_waits_for_late_transforms_in_another_thread(tf, graph):
    transforms, talker = tf
    found = []
    waiting = threading.Thread(
        target=lambda: found.append(transforms.lookup('odom', 'base_link', START, timeout_s=5.0))
    )
    waiting.start()
    graph.spin_for(0.1)
    assert not found
    talker.send('odom', 'base_link', START, pose(4.0))
    assert graph.spin_until(lambda: found)
    waiting.join()
    np.testing.assert_allclose(found[0], pose(4.0))


def test_clear_keeps_static_frames_only(tf, graph):
    transforms, talker = tf
    talker.send('base_link', 'camera', 0, pose(0.5), static=True)
    talker.send('odom', 'base_link', START, pose())
    assert known(transforms, graph, 'odom', 'camera', START)
    transforms.clear()
    with pytest.raises(TransformMissing):
        transforms.lookup('odom', 'base_link', START)
    np.testing.assert_allclose(transforms.lookup('base_link', 'camera', START), pose(0.5))


def test_broadcast_reaches_other_nodes(tf, graph):
    transforms, talker = tf
    received = []
    talker.node.create_subscription(TFMessage, '/tf', received.append, TF_QOS)
    message = transform_to_message(pose(2.0, 1.0), 'map', 'odom', stamp(START))

    def send_and_see():
        transforms.broadcast([message])
        return received

    assert graph.spin_until(send_and_see)
    assert received[0].transforms[0] == message


def test_a_broken_transform_is_ignored(graph):
    node = graph.add(rclpy.create_node('listener'))
    transforms, talker = OwnTransforms(node), Talker(graph)
    graph.spin_until(talker.dynamic.get_subscription_count)
    broken = transform_to_message(pose(), 'odom', 'base_link', stamp(START))
    broken.transform.rotation.w = 0.0
    talker.dynamic.publish(TFMessage(transforms=[broken]))
    talker.send('odom', 'other', START, pose())
    assert known(transforms, graph, 'odom', 'other', START)
    with pytest.raises(TransformMissing, match='base_link'):
        transforms.lookup('odom', 'base_link', START)


def test_the_buffer_forgets_after_its_span():
    buffer = TransformBuffer(cache_s=2.0)
    for second in range(6):
        buffer.set('odom', 'base_link', START + second * SECOND, pose(second), False)
    np.testing.assert_allclose(buffer.lookup('odom', 'base_link', START + 3 * SECOND), pose(3))
    with pytest.raises(TransformMissing, match='first transform'):
        buffer.lookup('odom', 'base_link', START + 2 * SECOND)


def test_the_buffer_takes_transforms_in_any_order():
    buffer = TransformBuffer()
    for second in (2, 0, 1):
        buffer.set('odom', 'base_link', START + second * SECOND, pose(second), False)
    when = START + 3 * SECOND // 2
    np.testing.assert_allclose(buffer.lookup('odom', 'base_link', when), pose(1.5))


def test_a_child_that_changes_its_parent_starts_anew():
    buffer = TransformBuffer()
    buffer.set('odom', 'base_link', START, pose(1), False)
    buffer.set('map', 'base_link', START, pose(2), False)
    with pytest.raises(TransformMissing):
        buffer.lookup('odom', 'base_link', START)
    np.testing.assert_allclose(buffer.lookup('map', 'base_link', START), pose(2))


def test_a_loop_of_frames_ends():
    buffer = TransformBuffer()
    buffer.set('a', 'b', START, pose(), False)
    buffer.set('b', 'a', START, pose(), False)
    buffer.set('x', 'y', START, pose(), False)
    with pytest.raises(TransformMissing, match='unconnected'):
        buffer.lookup('a', 'y', START)
