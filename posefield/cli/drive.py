"""A recorded drive: images with calibration, odometry and ground truth in an mcap bag."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
import shutil

import numpy as np
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from posefield.data.image_files import read_rgb
from posefield.data.scene import Frame
from posefield.geometry.camera import Camera
from posefield.geometry.poses import invert, to_quat_xyzw
from posefield.geometry.trajectory import Trajectory

IMAGE_TOPIC = '/camera/image_raw'
CAMERA_INFO_TOPIC = '/camera/camera_info'
GROUND_TRUTH_TOPIC = '/ground_truth/camera_pose'
MAP_FRAME, ODOM_FRAME, BASE_FRAME = 'map', 'odom', 'base_link'
CAMERA_FRAME = 'camera_optical_frame'

PERIOD_S = 0.5
ODOMETRY_PERIOD_S = 0.1
START_S = 1_700_000_000
# The robot stands still this long before the first image, while subscribers find the topics.
LEAD_IN_S = 1.0
NANOSECONDS = 1_000_000_000
# Errors of the simulated odometry: of the distance and angle of every step, one sigma.
ODOMETRY_NOISE = 0.03


@dataclass(frozen=True)
class Drive:
    """Frames in the order of a drive.

    Attributes:
        frames: with ground truth poses of the camera.
        stamps_N: seconds.
        T_odom_base_N44: drifting odometry at the stamps.
        T_base_cam: (4, 4) extrinsics.
    """

    frames: tuple[Frame, ...]
    stamps_N: np.ndarray
    T_odom_base_N44: np.ndarray
    T_base_cam: np.ndarray


def forward_camera() -> np.ndarray:
    """Return T_base_cam of a camera that looks ahead: 0.2 m in front, 0.5 m above the base."""
    T = np.eye(4)
    T[:3, :3] = [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]
    T[:3, 3] = [0.2, 0.0, 0.5]
    return T


def make_drive(frames: Sequence[Frame], seed: int) -> Drive:
    """Return a drive along the frames with odometry that drifts, as wheels and IMUs do."""
    generator = np.random.default_rng(seed)
    T_base_cam = forward_camera()
    bases = [frame.T_map_cam @ invert(T_base_cam) for frame in frames]
    odometry = [np.eye(4)]
    for before, after in zip(bases, bases[1:], strict=False):
        step = invert(before) @ after
        noisy = np.eye(4)
        noise = 1.0 + ODOMETRY_NOISE * generator.normal(size=2)
        rotvec = Rotation.from_matrix(step[:3, :3]).as_rotvec()
        noisy[:3, :3] = Rotation.from_rotvec(noise[0] * rotvec).as_matrix()
        noisy[:3, 3] = noise[1] * step[:3, 3]
        odometry.append(odometry[-1] @ noisy)
    stamps = START_S + PERIOD_S * np.arange(len(bases))
    return Drive(tuple(frames), stamps, np.array(odometry), T_base_cam)


def write_drive(folder: Path, drive: Drive) -> None:
    """Write the drive as a rosbag2 folder with mcap storage, replacing an older one."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    messages = sorted(_messages(drive), key=lambda item: item[0])
    store = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for stamp_ns, topic, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(
                    topic, kind, typestore=store, offered_qos_profiles=_qos(topic)
                )
            writer.write(connections[topic], stamp_ns, store.serialize_cdr(message, kind))


def _qos(topic: str) -> list[Qos]:
    """Return what rosbag2 needs to know to play /tf_static to late subscribers."""
    latched = topic == '/tf_static'
    forever = QosTime(9223372036, 854775807)
    return [
        Qos(
            QosHistory.KEEP_LAST,
            1 if latched else 10,
            QosReliability.RELIABLE,
            QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
            forever,
            forever,
            QosLiveliness.AUTOMATIC,
            forever,
            False,
        )
    ]


def _messages(drive: Drive) -> Iterator[tuple[int, str, object]]:
    """Yield (time in ns, topic, message); at equal times TF comes before the image it serves."""
    make = _MessageFactory()
    first_ns = round(drive.stamps_N[0] * NANOSECONDS)
    begin_ns = first_ns - round(LEAD_IN_S * NANOSECONDS)
    yield (
        begin_ns,
        '/tf_static',
        make.tf(begin_ns, BASE_FRAME, CAMERA_FRAME, drive.T_base_cam),
    )
    odometry = Trajectory(drive.stamps_N, drive.T_odom_base_N44)
    per_image = round(PERIOD_S / ODOMETRY_PERIOD_S)
    standing = round(LEAD_IN_S / ODOMETRY_PERIOD_S)
    for index in range(-standing, (len(drive.frames) - 1) * per_image + 1):
        stamp_s = drive.stamps_N[0] + max(index, 0) * ODOMETRY_PERIOD_S
        T_odom_base = odometry.at(stamp_s, max_gap_s=PERIOD_S)
        stamp_ns = first_ns + round(index * ODOMETRY_PERIOD_S * NANOSECONDS)
        yield stamp_ns, '/tf', make.tf(stamp_ns, ODOM_FRAME, BASE_FRAME, T_odom_base)
    for index, frame in enumerate(drive.frames):
        stamp_ns = first_ns + round(index * PERIOD_S * NANOSECONDS)
        yield stamp_ns, GROUND_TRUTH_TOPIC, make.pose(stamp_ns, MAP_FRAME, frame.T_map_cam)
        yield stamp_ns, CAMERA_INFO_TOPIC, make.camera_info(stamp_ns, frame.camera)
        yield stamp_ns, IMAGE_TOPIC, make.image(stamp_ns, read_rgb(frame.image_path))


class _MessageFactory:
    """Makes rosbags' message objects."""

    def __init__(self):
        self._types = get_typestore(Stores.ROS2_HUMBLE).types

    def _new(self, name: str, *values):
        return self._types[name](*values)

    def header(self, stamp_ns: int, frame_id: str):
        stamp = self._new('builtin_interfaces/msg/Time', *divmod(stamp_ns, NANOSECONDS))
        return self._new('std_msgs/msg/Header', stamp, frame_id)

    def tf(self, stamp_ns: int, parent: str, child: str, T_parent_child: np.ndarray):
        transform = self._new(
            'geometry_msgs/msg/Transform',
            self._new('geometry_msgs/msg/Vector3', *T_parent_child[:3, 3]),
            self._new('geometry_msgs/msg/Quaternion', *to_quat_xyzw(T_parent_child)),
        )
        stamped = self._new(
            'geometry_msgs/msg/TransformStamped', self.header(stamp_ns, parent), child, transform
        )
        return self._new('tf2_msgs/msg/TFMessage', [stamped])

    def pose(self, stamp_ns: int, frame_id: str, T: np.ndarray):
        pose = self._new(
            'geometry_msgs/msg/Pose',
            self._new('geometry_msgs/msg/Point', *T[:3, 3]),
            self._new('geometry_msgs/msg/Quaternion', *to_quat_xyzw(T)),
        )
        return self._new('geometry_msgs/msg/PoseStamped', self.header(stamp_ns, frame_id), pose)

    def camera_info(self, stamp_ns: int, camera: Camera):
        K_33 = camera.K_33
        P_34 = np.hstack([K_33, np.zeros((3, 1))])
        plain = camera.model == 'pinhole'
        return self._new(
            'sensor_msgs/msg/CameraInfo',
            self.header(stamp_ns, CAMERA_FRAME),
            camera.height,
            camera.width,
            'plumb_bob' if plain else camera.model,
            np.zeros(5) if plain else np.array(camera.distortion),
            K_33.ravel(),
            np.eye(3).ravel(),
            P_34.ravel(),
            0,
            0,
            self._new('sensor_msgs/msg/RegionOfInterest', 0, 0, 0, 0, False),
        )

    def image(self, stamp_ns: int, image_HW3: np.ndarray):
        height, width = image_HW3.shape[:2]
        return self._new(
            'sensor_msgs/msg/Image',
            self.header(stamp_ns, CAMERA_FRAME),
            height,
            width,
            'rgb8',
            0,
            3 * width,
            np.ascontiguousarray(image_HW3).reshape(-1),
        )
