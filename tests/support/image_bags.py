"""Bags with images, calibration and poses, of every kind, written without ROS."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from posefield.geometry.camera import Camera
from posefield.geometry.poses import to_quat_xyzw

START_NS = 1_700_000_000_000_000_000
STEP_NS = 40_000_000
COUNT = 8
IMAGE_TOPIC, INFO_TOPIC, POSE_TOPIC = '/cam/image_raw', '/cam/camera_info', '/slam/pose'
CAMERA_FRAME = 'cam_optical_frame'
CAMERA = Camera(16, 12, 20.0, 21.0, 7.25, 5.75, 'plumb_bob', (0.1, -0.02, 0.003, -0.004, 0.0))
STORAGES = ('mcap', 'db3', 'ros1')

Stamped = tuple[int, str, Any]


def image_ns(index: int) -> int:
    """The stamp of an image; poses are between two of them."""
    return START_NS + index * STEP_NS


def picture(index: int) -> np.ndarray:
    """An RGB picture that tells its index and its channels."""
    image = np.zeros((12, 16, 3), np.uint8)
    image[..., 0] = 20 * index % 256
    image[:, 8:, 1] = 200
    return image


def type_store(ros1: bool) -> Typestore:
    """The messages of one version of ROS; rosbags has no tf2_msgs for ROS 1."""
    store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
    if ros1:
        definition = 'geometry_msgs/TransformStamped[] transforms'
        store.register(get_types_from_msg(definition, 'tf2_msgs/msg/TFMessage'))
    return store


@dataclass
class Messages:
    """Makes the messages of one version of ROS."""

    ros1: bool = False

    def __post_init__(self):
        self.store = type_store(self.ros1)

    def new(self, name: str, *values: Any) -> Any:
        return self.store.types[name](*values)

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        stamp = self.new('builtin_interfaces/msg/Time', *divmod(stamp_ns, 10**9))
        values = (0, stamp, f'/{frame_id}') if self.ros1 else (stamp, frame_id)
        return self.new('std_msgs/msg/Header', *values)

    def _quaternion(self, T: np.ndarray) -> Any:
        return self.new('geometry_msgs/msg/Quaternion', *map(float, to_quat_xyzw(T)))

    def pose(self, T: np.ndarray) -> Any:
        point = self.new('geometry_msgs/msg/Point', *map(float, T[:3, 3]))
        return self.new('geometry_msgs/msg/Pose', point, self._quaternion(T))

    def pose_stamped(self, stamp_ns: int, T: np.ndarray) -> Any:
        return self.new(
            'geometry_msgs/msg/PoseStamped', self.header(stamp_ns, 'map'), self.pose(T)
        )

    def pose_with_covariance(self, stamp_ns: int, T: np.ndarray) -> Any:
        inner = self.new('geometry_msgs/msg/PoseWithCovariance', self.pose(T), np.zeros(36))
        return self.new(
            'geometry_msgs/msg/PoseWithCovarianceStamped', self.header(stamp_ns, 'map'), inner
        )

    def odometry(self, stamp_ns: int, T: np.ndarray, child: str) -> Any:
        zero = [self.new('geometry_msgs/msg/Vector3', 0.0, 0.0, 0.0) for _ in range(2)]
        twist = self.new('geometry_msgs/msg/Twist', *zero)
        return self.new(
            'nav_msgs/msg/Odometry',
            self.header(stamp_ns, 'map'),
            child,
            self.new('geometry_msgs/msg/PoseWithCovariance', self.pose(T), np.zeros(36)),
            self.new('geometry_msgs/msg/TwistWithCovariance', twist, np.zeros(36)),
        )

    def transform(self, stamp_ns: int, parent: str, child: str, T: np.ndarray) -> Any:
        translation = self.new('geometry_msgs/msg/Vector3', *map(float, T[:3, 3]))
        return self.new(
            'geometry_msgs/msg/TransformStamped',
            self.header(stamp_ns, parent),
            child,
            self.new('geometry_msgs/msg/Transform', translation, self._quaternion(T)),
        )

    def tf(self, *transforms: Any) -> Any:
        return self.new('tf2_msgs/msg/TFMessage', list(transforms))

    def camera_info(self, stamp_ns: int, camera: Camera = CAMERA, frame: str = CAMERA_FRAME):
        P_34 = np.hstack([camera.K_33, np.zeros((3, 1))]).ravel()
        roi = self.new('sensor_msgs/msg/RegionOfInterest', 0, 0, 0, 0, False)
        return self.new(
            'sensor_msgs/msg/CameraInfo',
            self.header(stamp_ns, frame),
            camera.height,
            camera.width,
            camera.model,
            np.array(camera.distortion),
            camera.K_33.ravel(),
            np.eye(3).ravel(),
            P_34,
            0,
            0,
            roi,
        )

    def image(self, stamp_ns: int, image: np.ndarray) -> Any:
        height, width = image.shape[:2]
        flat = np.ascontiguousarray(image[..., ::-1]).reshape(-1)
        header = self.header(stamp_ns, CAMERA_FRAME)
        return self.new('sensor_msgs/msg/Image', header, height, width, 'bgr8', 0, 3 * width, flat)

    def compressed(self, stamp_ns: int, image: np.ndarray, suffix: str) -> Any:
        data = cv2.imencode(suffix, image[..., ::-1])[1].reshape(-1)
        header = self.header(stamp_ns, CAMERA_FRAME)
        return self.new('sensor_msgs/msg/CompressedImage', header, suffix[1:], data)


def images(make: Messages, count: int = COUNT) -> Iterator[Stamped]:
    """Raw images and their calibration."""
    for index in range(count):
        stamp_ns = image_ns(index)
        yield stamp_ns, INFO_TOPIC, make.camera_info(stamp_ns)
        yield stamp_ns, IMAGE_TOPIC, make.image(stamp_ns, picture(index))


def write_bag(path: Path, storage: str, messages: Iterable[Stamped]) -> Path:
    """Write a bag in order of time; `path` has no suffix.

    Args:
        path: where, without the suffix that a ROS 1 bag gets.
        storage: one of STORAGES.
        messages: (time in ns, topic, message).

    Returns:
        What to open: a folder, or a ROS 1 .bag file.
    """
    ordered = sorted(messages, key=lambda item: item[0])
    if storage == 'ros1':
        path = path.with_suffix('.bag')
        writer = Rosbag1Writer(path)
        store = type_store(ros1=True)
        serialize = store.serialize_ros1
    else:
        plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
        writer = Rosbag2Writer(path, version=9, storage_plugin=plugin)
        store = type_store(ros1=False)
        serialize = store.serialize_cdr
    with writer:
        connections = {}
        for time_ns, topic, message in ordered:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], time_ns, serialize(message, kind))
    return path
