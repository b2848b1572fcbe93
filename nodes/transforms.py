"""TF for nodes: tf2_ros where it is installed, otherwise the same with our own small buffer."""

from collections.abc import Sequence
import importlib.util
import threading
import time

from geometry_msgs.msg import TransformStamped
import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from posefield.errors import PoseError
from posefield.nodes.conversions import NANOSECONDS, stamp_ns, transform_from_message
from posefield.nodes.transform_buffer import TransformBuffer, TransformMissing

POLL_S = 0.002
TF_QOS = QoSProfile(depth=100)
TF_STATIC_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Transforms:
    """What nodes ask of TF; see `make_transforms`."""

    def lookup(
        self, target: str, source: str, stamp_ns: int, timeout_s: float = 0.0
    ) -> np.ndarray:
        """Return T_target_source (4, 4) at a time, waiting for late TF.

        Call it from a thread that is not the executor's: it waits for messages to come in.

        Raises:
            TransformMissing: a reason that names the frames.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self._lookup_now(target, source, stamp_ns)
            except TransformMissing:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(POLL_S)

    def _lookup_now(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        raise NotImplementedError

    def broadcast(self, transforms: Sequence[TransformStamped]) -> None:
        """Send transforms to /tf."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget everything that changes with time."""
        raise NotImplementedError

    def destroy(self) -> None:
        """Leave the graph."""
        raise NotImplementedError


class OwnTransforms(Transforms):
    """TF without tf2_ros."""

    def __init__(self, node: Node, broadcasts: bool = True):
        self._node = node
        self._buffer = TransformBuffer()
        self._lock = threading.Lock()
        group = ReentrantCallbackGroup()
        self._publisher = node.create_publisher(TFMessage, '/tf', TF_QOS) if broadcasts else None
        self._subscriptions = [
            node.create_subscription(
                TFMessage, '/tf', self._on_dynamic, TF_QOS, callback_group=group
            ),
            node.create_subscription(
                TFMessage, '/tf_static', self._on_static, TF_STATIC_QOS, callback_group=group
            ),
        ]

    def _on_dynamic(self, message: TFMessage) -> None:
        self._store(message, is_static=False)

    def _on_static(self, message: TFMessage) -> None:
        self._store(message, is_static=True)

    def _store(self, message: TFMessage, is_static: bool) -> None:
        for stamped in message.transforms:
            parent = stamped.header.frame_id.lstrip('/')
            child = stamped.child_frame_id.lstrip('/')
            name = f'"{parent}" -> "{child}" on TF'
            try:
                T_parent_child = transform_from_message(stamped.transform, name)
            except PoseError as error:
                self._node.get_logger().warning(str(error), throttle_duration_sec=5.0)
                continue
            with self._lock:
                self._buffer.set(
                    parent, child, stamp_ns(stamped.header.stamp), T_parent_child, is_static
                )

    def _lookup_now(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        with self._lock:
            return self._buffer.lookup(target, source, stamp_ns)

    def broadcast(self, transforms: Sequence[TransformStamped]) -> None:
        """Send transforms to /tf."""
        self._publisher.publish(TFMessage(transforms=list(transforms)))

    def clear(self) -> None:
        """Forget everything that changes with time."""
        with self._lock:
            self._buffer.clear()

    def destroy(self) -> None:
        """Leave the graph."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


class Tf2Transforms(Transforms):
    """TF through tf2_ros."""

    def __init__(self, node: Node, broadcasts: bool = True):
        from tf2_ros import Buffer, TransformBroadcaster, TransformListener

        self._buffer = Buffer(node=node)
        self._listener = TransformListener(self._buffer, node)
        self._broadcaster = TransformBroadcaster(node) if broadcasts else None
        self._node = node

    def _lookup_now(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        from rclpy.time import Time
        from tf2_ros import TransformException

        seconds, nanoseconds = divmod(stamp_ns, NANOSECONDS)
        try:
            stamped = self._buffer.lookup_transform(
                target, source, Time(seconds=seconds, nanoseconds=nanoseconds)
            )
        except TransformException as error:
            raise TransformMissing(str(error)) from error
        return transform_from_message(stamped.transform, f'"{target}" -> "{source}" on TF')

    def broadcast(self, transforms: Sequence[TransformStamped]) -> None:
        """Send transforms to /tf."""
        self._broadcaster.sendTransform(list(transforms))

    def clear(self) -> None:
        """Forget everything that changes with time."""
        self._buffer.clear()

    def destroy(self) -> None:
        """Leave the graph."""
        self._listener.unregister()
        if self._broadcaster is not None:
            self._node.destroy_publisher(self._broadcaster.pub_tf)


def has_tf2_ros() -> bool:
    """Whether this machine has tf2_ros."""
    return importlib.util.find_spec('tf2_ros') is not None


def make_transforms(node: Node, broadcasts: bool = True) -> Transforms:
    """Return TF for a node: tf2_ros where it is installed, otherwise our own.

    Args:
        node: that asks and tells.
        broadcasts: whether it will `broadcast`; a node that only asks publishes no /tf.
    """
    return (Tf2Transforms if has_tf2_ros() else OwnTransforms)(node, broadcasts)
