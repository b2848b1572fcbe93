"""A robot with a camera, played to a relocalizer node over DDS."""

from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
import rclpy
from rclpy.parameter import Parameter
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from posefield.errors import BundleError
from posefield.nodes.conversions import stamp_ns, transform_to_message
from posefield.nodes.images import message_from_rgb
from posefield.nodes.relocalizer import RelocalizerNode
from posefield.nodes.transforms import TF_QOS, TF_STATIC_QOS
from posefield_msgs.msg import LocalizationResult
from support.fake_localizer import FakeLocalizer

CAMERA_FRAME = 'camera_optical_frame'
WIDTH, HEIGHT = 32, 24
SECOND = 1_000_000_000

T_BASE_CAM = np.eye(4)
T_BASE_CAM[:3, :3] = Rotation.from_euler('xyz', [-np.pi / 2, 0.0, -np.pi / 2]).as_matrix()
T_BASE_CAM[:3, 3] = [0.2, 0.0, 0.5]


def pose(x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """A pose on the floor."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler('z', yaw).as_matrix()
    T[:3, 3] = [x, y, 0.0]
    return T


def picture(x: int = 0, y: int = 0, z: int = 0) -> np.ndarray:
    """An image that tells the fake localizer a camera position in centimetres."""
    return np.full((HEIGHT, WIDTH, 3), (x, y, z), np.uint8)


def camera_info(stamp, frame: str = CAMERA_FRAME) -> CameraInfo:
    """The calibration of `picture`."""
    info = CameraInfo(header=Header(stamp=stamp, frame_id=frame), width=WIDTH, height=HEIGHT)
    info.k = [30.0, 0.0, 15.5, 0.0, 30.0, 11.5, 0.0, 0.0, 1.0]
    info.distortion_model = 'plumb_bob'
    return info


def load_fake(localizer: FakeLocalizer):
    """A loader of maps for which every folder but `missing` holds the fake."""

    def load(map_dir: str, device: str) -> FakeLocalizer:
        if map_dir == 'missing':
            raise BundleError(f'{map_dir} has no map.json.')
        return localizer

    return load


@dataclass
class Heard:
    """What the relocalizer said."""

    poses: list = field(default_factory=list)
    results: list = field(default_factory=list)
    transforms: list = field(default_factory=list)
    overlays: list = field(default_factory=list)
    diagnostics: list = field(default_factory=list)

    def map_transforms(self, child: str = 'odom') -> list:
        """The transforms from the map to this child."""
        return [
            t for t in self.transforms if t.header.frame_id == 'map' and t.child_frame_id == child
        ]


class Robot:
    """Publishes images, calibration and TF; listens to everything that comes back."""

    def __init__(self, graph, localizer: FakeLocalizer | None = None, **parameters):
        self.graph = graph
        self.localizer = localizer or FakeLocalizer()
        values = {'map': 'fake', 'tf_timeout': 0.3, **parameters}
        self.subject = graph.add(
            RelocalizerNode(
                load_fake(self.localizer),
                parameter_overrides=[
                    Parameter(name.replace('__', '.'), value=value)
                    for name, value in values.items()
                ],
            )
        )
        self.node = graph.add(rclpy.create_node('robot'))
        self.images = self.node.create_publisher(Image, 'image', 10)
        self.infos = self.node.create_publisher(CameraInfo, 'camera_info', 10)
        self.tf = self.node.create_publisher(TFMessage, '/tf', TF_QOS)
        self.tf_static = self.node.create_publisher(TFMessage, '/tf_static', TF_STATIC_QOS)
        self.heard = Heard()
        self._listen()
        self.start_ns = self.node.get_clock().now().nanoseconds

    def _listen(self) -> None:
        heard, node = self.heard, self.node
        node.create_subscription(PoseWithCovarianceStamped, 'pose', heard.poses.append, 10)
        node.create_subscription(
            LocalizationResult, 'relocalizer/result', heard.results.append, 10
        )
        node.create_subscription(
            TFMessage, '/tf', lambda m: heard.transforms.extend(m.transforms), TF_QOS
        )
        node.create_subscription(DiagnosticArray, '/diagnostics', heard.diagnostics.append, 10)

    def start(self) -> None:
        """Configure and activate the node and wait until it hears us and we hear it."""
        assert self.subject.trigger_configure().name == 'SUCCESS'
        self.activate()

    def activate(self) -> None:
        """Activate the node and wait for the connections."""
        assert self.subject.trigger_activate().name == 'SUCCESS'
        assert self.graph.spin_until(self._connected)

    def _connected(self) -> bool:
        return (
            self.images.get_subscription_count() == 1
            and self.infos.get_subscription_count() == 1
            and self.tf.get_subscription_count() == 2
            and self.tf_static.get_subscription_count() == 1
            and self.node.count_publishers('pose') == 1
            and self.node.count_publishers('relocalizer/result') == 1
        )

    def stamp(self, t_s: float):
        """The stamp this many seconds after the start of the test."""
        return Time(nanoseconds=self.start_ns + round(t_s * SECOND)).to_msg()

    def send_extrinsics(self) -> None:
        """Publish base_link -> camera on /tf_static."""
        self.send_tf('base_link', CAMERA_FRAME, 0.0, T_BASE_CAM, static=True)

    def send_tf(self, parent, child, t_s, T, static=False) -> None:
        """Publish one transform."""
        message = TFMessage(transforms=[transform_to_message(T, parent, child, self.stamp(t_s))])
        (self.tf_static if static else self.tf).publish(message)

    def send_info(self, **changes) -> None:
        """Publish the calibration, changed as told."""
        frame = changes.pop('frame', CAMERA_FRAME)
        info = camera_info(self.stamp(0.0), frame)
        for name, value in changes.items():
            setattr(info, name, value)
        self.infos.publish(info)
        self.graph.spin_for(0.1)

    def send_image(self, t_s: float, image=None, **changes) -> None:
        """Publish an image, with fields of the message changed as told."""
        header = Header(stamp=self.stamp(t_s), frame_id=changes.pop('frame', CAMERA_FRAME))
        message = message_from_rgb(picture() if image is None else image, header)
        for name, value in changes.items():
            setattr(message, name, value)
        self.images.publish(message)

    def result_at(self, t_s: float, timeout_s: float = 5.0) -> LocalizationResult:
        """Wait for the result of the image of this moment."""
        wanted = stamp_ns(self.stamp(t_s))

        def find():
            return next(
                (r for r in self.heard.results if stamp_ns(r.header.stamp) == wanted), None
            )

        assert self.graph.spin_until(lambda: find() is not None, timeout_s)
        # Whatever else was sent for this image has been sent before its result.
        self.graph.spin_for(0.1)
        return find()
