"""What is taken from bags (rosbag2 with mcap or db3 storage, ROS 1), without ROS."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import sqlite3
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection
from rosbags.rosbag1 import ReaderError as Rosbag1Error
from rosbags.rosbag2 import ReaderError as Rosbag2Error
from rosbags.typesys import Stores, get_typestore

from posefield.data.camera_info import camera_from_info
from posefield.data.encodings import decode_compressed, decode_image
from posefield.errors import CameraError, DataError, PoseError
from posefield.geometry.camera import Camera
from posefield.geometry.poses import from_quat_xyzw, invert
from posefield.geometry.trajectory import MAX_GAP_S, Trajectory

NANOSECONDS = 1_000_000_000
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
TF_TYPES = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')
# A quaternion whose norm is off by more than this was not meant as a rotation.
NORM_TOLERANCE = 0.1
READING_ERRORS = (AnyReaderError, Rosbag1Error, Rosbag2Error, sqlite3.Error, OSError)


@contextmanager
def open_bag(path: Path) -> Iterator[AnyReader]:
    """Open a rosbag2 folder, an .mcap, .db3 or ROS 1 .bag file.

    Raises:
        DataError: when it cannot be read.
    """
    try:
        reader = AnyReader([Path(path)], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except READING_ERRORS as error:
        raise DataError(f'The bag {path} cannot be read: {error}.') from error
    try:
        yield reader
    finally:
        reader.close()


def messages(reader: AnyReader, topic: str) -> Iterator[Any]:
    """Yield the messages of one topic in the order of the bag.

    Raises:
        DataError: when the bag has no such topic, or is damaged.
    """
    connections = [item for item in reader.connections if item.topic == topic]
    if not connections:
        raise DataError(
            f'The bag {reader.paths[0]} has no topic {topic}, it has '
            f'{", ".join(sorted(reader.topics))}.'
        )
    for _, message in _deserialized(reader, connections):
        yield message


def _deserialized(
    reader: AnyReader, connections: list[Connection]
) -> Iterator[tuple[Connection, Any]]:
    try:
        for connection, _, data in reader.messages(connections) if connections else ():
            yield connection, reader.deserialize(data, connection.msgtype)
    except READING_ERRORS as error:
        raise DataError(f'The bag {reader.paths[0]} is damaged: {error}.') from error


def message_count(reader: AnyReader, topic: str) -> int:
    """Return how many messages a topic has; 0 where it does not exist."""
    return sum(item.msgcount for item in reader.connections if item.topic == topic)


def only_image_topic(reader: AnyReader) -> str:
    """Return the topic of images where the bag has one alone.

    Raises:
        DataError: when it has none or several.
    """
    topics = sorted({item.topic for item in reader.connections if item.msgtype in IMAGE_TYPES})
    if len(topics) != 1:
        raise DataError(
            f'The bag {reader.paths[0]} must have one image topic unless --image names it, '
            f'found {", ".join(topics) or "none"}.'
        )
    return topics[0]


def info_topic_beside(image_topic: str) -> str:
    """Return where the calibration of an image topic is by convention."""
    return f'{image_topic.removesuffix("/compressed").rpartition("/")[0]}/camera_info'


def stamp_seconds(message: Any) -> float:
    """Return the stamp of a message's header in seconds."""
    stamp = message.header.stamp
    return stamp.sec + stamp.nanosec / NANOSECONDS


def frame_of(message: Any) -> str:
    """Return the frame of a message's header, without the leading slash of ROS 1."""
    return message.header.frame_id.lstrip('/')


def is_compressed(message: Any) -> bool:
    """Whether an image message is a sensor_msgs/CompressedImage."""
    return hasattr(message, 'format')


def picture(message: Any) -> np.ndarray:
    """Return the picture of a raw or compressed image message, (H, W, 3) RGB uint8.

    Raises:
        DataError: when it cannot be decoded.
    """
    if is_compressed(message):
        return decode_compressed(message.data)
    return decode_image(
        message.data,
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
    )


def cameras_by_stamp(
    reader: AnyReader, topic: str, *, rectified: bool = False
) -> dict[float, Camera]:
    """Return stamp in seconds -> camera of a camera_info topic, in the order of the bag.

    Args:
        reader: an open bag.
        topic: of camera_info.
        rectified: whether the images that it belongs to are rectified.

    Raises:
        DataError: for an uncalibrated camera, or when there is no message.
    """
    cameras = {}
    for message in messages(reader, topic):
        try:
            cameras[stamp_seconds(message)] = camera_from_info(message, rectified=rectified)
        except CameraError as error:
            raise DataError(
                f'The calibration on {topic} of {reader.paths[0]} cannot be used: {error}'
            ) from error
    if not cameras:
        raise DataError(f'The topic {topic} of {reader.paths[0]} has no message.')
    return cameras


def camera_at(cameras: dict[float, Camera], stamp_s: float) -> Camera:
    """Return the camera of that very stamp, else the first one."""
    return cameras.get(stamp_s) or next(iter(cameras.values()))


def pose_matrix(position: Any, orientation: Any, name: str) -> np.ndarray:
    """Return the (4, 4) transform of a position and quaternion message.

    Raises:
        PoseError: for numbers that are not finite, or a quaternion whose norm is not 1.
    """
    quat_xyzw = np.array([orientation.x, orientation.y, orientation.z, orientation.w])
    translation = np.array([position.x, position.y, position.z])
    norm = float(np.linalg.norm(quat_xyzw))
    if not (abs(norm - 1.0) <= NORM_TOLERANCE and np.isfinite(translation).all()):
        raise PoseError(
            f'{name} has no rigid pose: the quaternion has norm {norm:.3g} and the position is '
            f'{translation.tolist()}.'
        )
    return from_quat_xyzw(quat_xyzw, translation)


class TransformTree:
    """All transforms of a bag, looked up by interpolation."""

    def __init__(self, reader: AnyReader):
        self._parents: dict[str, str] = {}
        self._fixed: dict[str, np.ndarray] = {}
        moving: dict[str, list[tuple[float, np.ndarray]]] = {}
        connections = [item for item in reader.connections if item.msgtype in TF_TYPES]
        for connection, message in _deserialized(reader, connections):
            for stamped in message.transforms:
                child = stamped.child_frame_id.lstrip('/')
                self._parents[child] = frame_of(stamped)
                transform = stamped.transform
                name = f'The transform {self._parents[child]} -> {child} in {reader.paths[0]}'
                T = pose_matrix(transform.translation, transform.rotation, name)
                if connection.topic.endswith('tf_static'):
                    self._fixed[child] = T
                else:
                    moving.setdefault(child, []).append((stamp_seconds(stamped), T))
        self._moving = {child: Trajectory.from_pairs(pairs) for child, pairs in moving.items()}

    def lookup(
        self, target: str, source: str, stamp_s: float, max_gap_s: float = MAX_GAP_S
    ) -> np.ndarray | None:
        """Return T_target_source (4, 4) at a time; None where it is not known."""
        from_target, from_source = (
            self._chain(frame, stamp_s, max_gap_s) for frame in (target, source)
        )
        for frame, T_frame_source in from_source.items():
            if frame in from_target:
                return invert(from_target[frame]) @ T_frame_source
        return None

    def _chain(self, frame: str, stamp_s: float, max_gap_s: float) -> dict[str, np.ndarray]:
        """Return T_ancestor_frame of the frame itself and all its ancestors, nearest first."""
        T = np.eye(4)
        chain = {frame: T}
        while frame in self._parents:
            step = self._fixed.get(frame)
            if step is None:
                step = self._moving[frame].at(stamp_s, max_gap_s)
            parent = self._parents[frame]
            if step is None or parent in chain:
                break
            T = step @ T
            frame = parent
            chain[frame] = T
        return chain

    def trajectory(self, target: str, source: str, stamps: list[float]) -> Trajectory:
        """Return T_target_source at those stamps where it is known."""
        found = ((s, self.lookup(target, source, s)) for s in stamps)
        return Trajectory.from_pairs((s, T) for s, T in found if T is not None)


def camera_trajectory(
    reader: AnyReader, tree: TransformTree, topic: str, camera_frame: str
) -> Trajectory:
    """Return the poses of the camera by a topic of poses, odometry or transforms with headers.

    Messages that name the frame they are of (Odometry, TransformStamped) are taken on to the
    camera's frame by TF; PoseStamped and PoseWithCovarianceStamped are of the camera itself.

    Raises:
        DataError: for another type of message, or when TF does not lead to the camera.
        PoseError: for numbers that are not a pose.
    """
    pairs = []
    lost = ''
    for message in messages(reader, topic):
        stamp_s = stamp_seconds(message)
        T = _pose_of(message, topic)
        child = getattr(message, 'child_frame_id', '').lstrip('/')
        if child and child != camera_frame:
            T_child_cam = tree.lookup(child, camera_frame, stamp_s)
            if T_child_cam is None:
                lost = child
                continue
            T = T @ T_child_cam
        pairs.append((stamp_s, T))
    if lost and not pairs:
        raise DataError(
            f'The poses on {topic} are of {lost}, and TF in {reader.paths[0]} never has '
            f'{lost} -> {camera_frame}.'
        )
    return Trajectory.from_pairs(pairs)


def _pose_of(message: Any, topic: str) -> np.ndarray:
    name = f'A message on {topic}'
    if hasattr(message, 'transform'):
        return pose_matrix(message.transform.translation, message.transform.rotation, name)
    if hasattr(message, 'pose'):
        inner = message.pose.pose if hasattr(message.pose, 'pose') else message.pose
        return pose_matrix(inner.position, inner.orientation, name)
    raise DataError(f'{topic} is {message.__msgtype__}, expected poses with a header.')
