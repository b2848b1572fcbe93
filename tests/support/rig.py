"""Cameras of a rig that a test plays by hand over DDS."""

from collections.abc import Iterable
import time

import numpy as np
import rclpy
from rclpy.qos import QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from posefield.nodes.conversions import transform_to_message
from posefield.nodes.images import message_from_rgb
from posefield.nodes.transforms import TF_STATIC_QOS

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
WIDTH, HEIGHT = 32, 24
NAMES = ('left', 'right', 'top')
RELIABLE = QoSProfile(depth=30)


def pose_of(index: int) -> np.ndarray:
    """T_world_cam of a camera."""
    T = np.eye(4)
    T[:3, 3] = [0.5 * index, 0.25, 2.0]
    return T


def frame_of(name: str) -> str:
    """The optical frame of a camera."""
    return f'{name.replace("/", "_")}_optical_frame'


def picture(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture that tells its index, with noise that no compression could reproduce."""
    image = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image[0, 0] = index % 256
    return image


class Rig:
    """Publishes images, masks, camera_info and static TF of some cameras."""

    def __init__(self, graph, names: Iterable[str] = NAMES, masks: bool = False):
        self.graph = graph
        self.names = tuple(names)
        self.node = graph.add(rclpy.create_node('rig'))
        self.images = {
            name: self.node.create_publisher(Image, f'{name}/image_raw', RELIABLE)
            for name in self.names
        }
        self.infos = {
            name: self.node.create_publisher(CameraInfo, f'{name}/camera_info', RELIABLE)
            for name in self.names
        }
        self.masks = {
            name: self.node.create_publisher(Image, f'{name}/mask', RELIABLE)
            for name in self.names
            if masks
        }
        self.static = self.node.create_publisher(TFMessage, '/tf_static', TF_STATIC_QOS)
        self.dynamic = self.node.create_publisher(TFMessage, '/tf', 100)
        self.sizes = dict.fromkeys(self.names, (WIDTH, HEIGHT))

    def connect(self) -> None:
        """Wait until the topics are subscribed to."""
        publishers = [*self.images.values(), *self.infos.values(), *self.masks.values()]
        assert self.graph.spin_until(
            lambda: all(publisher.get_subscription_count() for publisher in publishers), 20.0
        )

    def send_tf(self, names: Iterable[str] | None = None, world: str = 'world') -> None:
        """Publish where cameras stand."""
        self.static.publish(
            TFMessage(
                transforms=[
                    transform_to_message(
                        pose_of(self.names.index(name)), world, frame_of(name), Time().to_msg()
                    )
                    for name in (self.names if names is None else names)
                ]
            )
        )

    def header(self, name: str, at_s: float) -> Header:
        stamp = Time(nanoseconds=START + round(at_s * SECOND)).to_msg()
        return Header(stamp=stamp, frame_id=frame_of(name))

    def send_info(self, name: str, at_s: float = 0.0, **changes) -> None:
        """Publish the calibration of a camera at its present size."""
        width, height = self.sizes[name]
        info = CameraInfo(header=self.header(name, at_s), width=width, height=height)
        info.k = [1.2 * width, 0.0, width / 2 - 0.5, 0.0, 1.2 * width, height / 2 - 0.5, 0, 0, 1.0]
        info.p = [*info.k[:3], 0.0, *info.k[3:6], 0.0, *info.k[6:], 0.0]
        info.distortion_model = 'plumb_bob'
        for key, value in changes.items():
            setattr(info, key, value)
        self.infos[name].publish(info)

    def send_infos(self) -> None:
        for name in self.names:
            self.send_info(name)

    def send_image(self, name: str, at_s: float, index: int = 0, encoding: str = 'rgb8') -> Image:
        """Publish one picture."""
        message = message_from_rgb(picture(index, *self.sizes[name]), self.header(name, at_s))
        if encoding == 'mono8':
            message.step = message.width
            message.data = bytes(message.data[: message.width * message.height])
        message.encoding = encoding
        self.images[name].publish(message)
        return message

    def send_mask(self, name: str, at_s: float) -> None:
        """Publish a mask whose left half is the object."""
        width, height = self.sizes[name]
        grey = np.zeros((height, width), np.uint8)
        grey[:, : width // 2] = 255
        self.masks[name].publish(
            Image(
                header=self.header(name, at_s),
                width=width,
                height=height,
                encoding='mono8',
                step=width,
                data=grey.tobytes(),
            )
        )

    def send(self, at_s: float, names: Iterable[str] | None = None, index: int = 0) -> None:
        """Publish one moment of some cameras, masks included."""
        for name in self.names if names is None else names:
            self.send_image(name, at_s, index)
            if name in self.masks:
                self.send_mask(name, at_s)

    def play(
        self,
        seconds: float,
        *,
        start_s: float,
        names: Iterable[str] | None = None,
        rate_hz: float = 20.0,
    ) -> float:
        """Publish moments at a rate, spinning meanwhile, and return when the next one is due."""
        count = round(seconds * rate_hz)
        begun_s = time.monotonic()
        for index in range(count):
            self.send(start_s + index / rate_hz, names, index)
            due_s = begun_s + (index + 1) / rate_hz
            self.graph.spin_until(lambda due_s=due_s: time.monotonic() >= due_s, 10.0)
        return start_s + count / rate_hz
