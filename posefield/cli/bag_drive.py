"""What `bag evaluate` needs of a bag: images with calibration, transforms, ground truth."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import Stores, get_typestore

from posefield.data.encodings import decode_compressed, decode_image
from posefield.errors import DataError
from posefield.evaluation.trajectories import MAX_GAP_S, Trajectory
from posefield.geometry.camera import Camera
from posefield.geometry.poses import from_quat_xyzw, invert

NANOSECONDS = 1_000_000_000
TF_TYPES = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')


@contextmanager
def open_bag(path: Path) -> Iterator[AnyReader]:
    """Open a rosbag2 folder, an .mcap, .db3 or ROS 1 .bag file.

    Raises:
        DataError: when it cannot be read.
    """
    try:
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except (AnyReaderError, OSError) as error:
        raise DataError(f'The bag {path} cannot be read: {error}.') from error
    try:
        yield reader
    finally:
        reader.close()


def stamp_seconds(message: Any) -> float:
    """Return the stamp of a message's header in seconds."""
    stamp = message.header.stamp
    return stamp.sec + stamp.nanosec / NANOSECONDS


def messages(reader: AnyReader, topic: str) -> Iterator[Any]:
    """Yield the messages of one topic in the order of the bag.

    Raises:
        DataError: when the bag has no such topic.
    """
    connections = [item for item in reader.connections if item.topic == topic]
    if not connections:
        raise DataError(
            f'The bag {reader.paths[0]} has no topic {topic}, it has '
            f'{", ".join(sorted(reader.topics))}.'
        )
    for connection, _, data in reader.messages(connections):
        yield reader.deserialize(data, connection.msgtype)


def message_count(reader: AnyReader, topic: str) -> int:
    """Return how many messages a topic has; 0 where it does not exist."""
    return sum(item.msgcount for item in reader.connections if item.topic == topic)


def picture(message: Any) -> np.ndarray:
    """Return the picture of a raw or compressed image message, (H, W, 3) RGB uint8."""
    if hasattr(message, 'format'):
        return decode_compressed(message.data)
    return decode_image(
        message.data,
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
    )


def camera_of(info: Any, topic: str) -> Camera:
    """Return the camera of a CameraInfo message of ROS 2 or ROS 1.

    Raises:
        DataError: for an uncalibrated camera.
    """
    K = np.asarray(getattr(info, 'k', None) if hasattr(info, 'k') else info.K).ravel()
    distortion = np.asarray(info.d if hasattr(info, 'd') else info.D).ravel()
    if K[0] == 0.0:
        raise DataError(f'{topic} is of an uncalibrated camera: K[0] is 0.')
    model = info.distortion_model
    if model != 'equidistant' and not distortion.any():
        model, distortion = 'pinhole', np.zeros(0)
    return Camera(
        int(info.width),
        int(info.height),
        *(float(K[index]) for index in (0, 4, 2, 5)),
        model=model,
        distortion=tuple(map(float, distortion)),
    )


def pose_matrix(position: Any, orientation: Any) -> np.ndarray:
    """Return the (4, 4) transform of a position and quaternion message."""
    quat_xyzw = np.array([orientation.x, orientation.y, orientation.z, orientation.w])
    if not np.linalg.norm(quat_xyzw) > 0:
        raise DataError('A pose in the bag has a quaternion of length 0.')
    return from_quat_xyzw(quat_xyzw, np.array([position.x, position.y, position.z]))


def pose_trajectory(reader: AnyReader, topic: str) -> Trajectory:
    """Return the poses of a topic of poses, odometry or transforms with headers.

    Raises:
        DataError: for another type of message.
    """
    pairs = []
    for message in messages(reader, topic):
        if hasattr(message, 'transform'):
            T = pose_matrix(message.transform.translation, message.transform.rotation)
        elif hasattr(message, 'pose'):
            inner = message.pose.pose if hasattr(message.pose, 'pose') else message.pose
            T = pose_matrix(inner.position, inner.orientation)
        else:
            raise DataError(f'{topic} is {message.__msgtype__}, expected poses with a header.')
        pairs.append((stamp_seconds(message), T))
    return Trajectory.from_pairs(pairs)


class TransformTree:
    """All transforms of a bag, looked up by interpolation."""

    def __init__(self, reader: AnyReader):
        self._parents: dict[str, str] = {}
        self._fixed: dict[str, np.ndarray] = {}
        moving: dict[str, list[tuple[float, np.ndarray]]] = {}
        connections = [item for item in reader.connections if item.msgtype in TF_TYPES]
        for connection, _, data in reader.messages(connections) if connections else ():
            for stamped in reader.deserialize(data, connection.msgtype).transforms:
                child = stamped.child_frame_id.lstrip('/')
                self._parents[child] = stamped.header.frame_id.lstrip('/')
                transform = stamped.transform
                T = pose_matrix(transform.translation, transform.rotation)
                if connection.topic.endswith('tf_static'):
                    self._fixed[child] = T
                else:
                    moving.setdefault(child, []).append((stamp_seconds(stamped), T))
        self._moving = {child: Trajectory.from_pairs(pairs) for child, pairs in moving.items()}

    def lookup(
        self, target: str, source: str, stamp_s: float, max_gap_s: float
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
        found = ((s, self.lookup(target, source, s, MAX_GAP_S)) for s in stamps)
        return Trajectory.from_pairs((s, T) for s, T in found if T is not None)
