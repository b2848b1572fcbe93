"""Small bags of every kind."""

from pathlib import Path

from geometry_msgs.msg import PointStamped
import numpy as np
from rclpy.serialization import serialize_message
from rclpy.time import Time
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

from posefield.nodes.conversions import transform_to_message

START = 1_700_000_000 * 1_000_000_000
STEP = 50_000_000
COUNT = 10


def point(index: int) -> PointStamped:
    """The point of one moment; x counts."""
    message = PointStamped()
    message.header.stamp = Time(nanoseconds=START + index * STEP).to_msg()
    message.header.frame_id = 'map'
    message.point.x = float(index)
    return message


def write_bag(folder: Path, plugin=StoragePlugin.MCAP, count: int = COUNT) -> Path:
    """Ten points in half a second, a clock, and a static transform at the start."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    infinite = QosTime(9223372036, 854775807)
    latched = Qos(
        QosHistory.KEEP_LAST,
        1,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL,
        infinite,
        infinite,
        QosLiveliness.AUTOMATIC,
        infinite,
        False,
    )
    with Writer(folder, version=9, storage_plugin=plugin) as writer:
        points = writer.add_connection(
            '/points', 'geometry_msgs/msg/PointStamped', typestore=store
        )
        clocks = writer.add_connection('/clock', 'rosgraph_msgs/msg/Clock', typestore=store)
        static = writer.add_connection(
            '/tf_static', 'tf2_msgs/msg/TFMessage', typestore=store, offered_qos_profiles=[latched]
        )
        transform = transform_to_message(np.eye(4), 'base_link', 'camera', Time().to_msg())
        writer.write(static, START, serialize_message(TFMessage(transforms=[transform])))
        for index in range(count):
            when = START + index * STEP
            writer.write(clocks, when, serialize_message(Clock(clock=Time().to_msg())))
            writer.write(points, when, serialize_message(point(index)))
    return folder


def write_ros1_bag(path: Path) -> Path:
    """Ten points in half a second, as ROS 1 recorded them."""
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    with Rosbag1Writer(path) as writer:
        connection = writer.add_connection(
            '/points', 'geometry_msgs/msg/PointStamped', typestore=store
        )
        for index in range(COUNT):
            when = START + index * STEP
            stamp = types['builtin_interfaces/msg/Time'](sec=when // 10**9, nanosec=when % 10**9)
            message = types['geometry_msgs/msg/PointStamped'](
                header=types['std_msgs/msg/Header'](seq=index, stamp=stamp, frame_id='map'),
                point=types['geometry_msgs/msg/Point'](x=float(index), y=0.0, z=0.0),
            )
            raw = store.serialize_ros1(message, 'geometry_msgs/msg/PointStamped')
            writer.write(connection, when, raw)
    return path
