"""The camera side of a node: image and camera_info topics, their checks and their watchdog."""

from collections.abc import Callable
import time

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from posefield.data.camera_info import camera_from_info
from posefield.errors import CameraError, DataError, PosefieldError
from posefield.geometry.camera import Camera
from posefield.nodes.conversions import stamp_ns
from posefield.nodes.images import rgb_from_message
from posefield.nodes.parameters import RelocalizerParameters
from posefield.nodes.throttle import ThrottledWarnings

ImageMessage = Image | CompressedImage


class InputError(PosefieldError):
    """An image that cannot be used; `kind` groups warnings of the same cause."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class ImageInput:
    """Subscribes to one camera.

    `camera_info` is not synchronised with the images: the latest holds. Where it is not
    remapped it is the sibling of the image topic, as everywhere in ROS.
    """

    def __init__(
        self,
        node: Node,
        parameters: RelocalizerParameters,
        on_image: Callable[[ImageMessage], None],
        warnings: ThrottledWarnings,
    ):
        self._node = node
        self._parameters = parameters
        self._on_image = on_image
        self._warnings = warnings
        self._info: CameraInfo | None = None
        self._camera: tuple[CameraInfo, Camera] | None = None
        self._silent_since_s = time.monotonic()
        overrides = QoSOverridingOptions.with_default_policies()
        compressed = parameters.image_transport == 'compressed'
        base_topic = node.resolve_topic_name('image')
        self._image_subscription = node.create_subscription(
            CompressedImage if compressed else Image,
            f'{base_topic}/compressed' if compressed else base_topic,
            self._receive_image,
            copy_of(qos_profile_sensor_data),
            qos_overriding_options=overrides,
        )
        self._info_subscription = node.create_subscription(
            CameraInfo,
            info_topic(node, base_topic),
            self._receive_info,
            copy_of(qos_profile_sensor_data),
            qos_overriding_options=overrides,
        )
        self._watchdog = node.create_timer(
            parameters.watchdog_period / 5.0,
            self._watch,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def destroy(self) -> None:
        """Leave the graph."""
        self._node.destroy_subscription(self._image_subscription)
        self._node.destroy_subscription(self._info_subscription)
        self._node.destroy_timer(self._watchdog)

    @property
    def topics(self) -> tuple[str, str]:
        """The resolved names of the image and camera_info topics."""
        return self._image_subscription.topic_name, self._info_subscription.topic_name

    def _receive_image(self, message: ImageMessage) -> None:
        self._silent_since_s = time.monotonic()
        self._on_image(message)

    def _receive_info(self, message: CameraInfo) -> None:
        if self._info is None or message_content(message) != message_content(self._info):
            self._info = message

    def view(self, message: ImageMessage) -> tuple[np.ndarray, Camera]:
        """Return the picture, (H, W, 3) RGB, and its camera.

        Raises:
            InputError: for a message that cannot be used, in one sentence.
        """
        if stamp_ns(message.header.stamp) == 0:
            raise InputError(
                'stamp', 'The image has no stamp (0), so no pose can be given for it.'
            )
        camera = self._camera_of(message)
        try:
            image = rgb_from_message(message)
        except DataError as error:
            raise InputError('image', f'{self.topics[0]}: {error}') from error
        if image.shape[:2] != (camera.height, camera.width):
            raise InputError(
                'size',
                f'The image on {self.topics[0]} is {image.shape[1]}x{image.shape[0]} but '
                f'{self.topics[1]} is for {camera.width}x{camera.height}.',
            )
        return image, camera

    def _camera_of(self, message: ImageMessage) -> Camera:
        image_topic, topic = self.topics
        info = self._info
        if info is None:
            raise InputError(
                'no camera_info',
                f'Images come on {image_topic} but no camera_info on {topic} '
                f'({qos_text(self._info_subscription.qos_profile)}); '
                f'{self._publishers_text(topic)}.',
            )
        frame = message.header.frame_id
        if info.header.frame_id != frame:
            raise InputError(
                'frame_id',
                f'The frame_id of {topic} is "{info.header.frame_id}" but that of {image_topic} '
                f'is "{frame}"; they must be the same optical frame, so no pose is given.',
            )
        if not frame:
            raise InputError(
                'frame_id', f'The frame_id of {image_topic} is empty, expected the optical frame.'
            )
        if self._camera is None or self._camera[0] is not info:
            try:
                camera = camera_from_info(info, rectified=self._parameters.image_is_rectified)
            except CameraError as error:
                raise InputError('camera_info', f'{topic}: {error}') from error
            self._camera = (info, camera)
        return self._camera[1]

    def _watch(self) -> None:
        silence_s = time.monotonic() - self._silent_since_s
        if silence_s >= self._parameters.watchdog_period:
            topic = self.topics[0]
            self._warnings.warn(
                'no image',
                f'No image for {silence_s:.1f} s on {topic} '
                f'({qos_text(self._image_subscription.qos_profile)}); '
                f'{self._publishers_text(topic)}.',
            )

    def _publishers_text(self, topic: str) -> str:
        publishers = self._node.get_publishers_info_by_topic(topic)
        if not publishers:
            return 'nobody publishes it'
        each = ', '.join(
            f'{p.node_name}: {p.topic_type}, {qos_text(p.qos_profile)}' for p in publishers
        )
        return f'published by {each}'


def info_topic(node: Node, image_topic: str) -> str:
    """Return where camera_info comes from: as remapped, or beside the image."""
    unmapped = node.resolve_topic_name('camera_info', only_expand=True)
    resolved = node.resolve_topic_name('camera_info')
    if resolved != unmapped:
        return resolved
    return f'{image_topic.rpartition("/")[0]}/camera_info'


def copy_of(qos: QoSProfile) -> QoSProfile:
    """Return a profile that overrides may change without changing rclpy's own."""
    return QoSProfile(
        history=qos.history,
        depth=qos.depth,
        reliability=qos.reliability,
        durability=qos.durability,
    )


def qos_text(qos: QoSProfile) -> str:
    """Return a profile for people: `QoS best_effort, volatile, keep_last 5`."""
    words = (qos.reliability, qos.durability, qos.history)
    reliability, durability, history = (word.name.lower() for word in words)
    return f'QoS {reliability}, {durability}, {history} {qos.depth}'


def message_content(info: CameraInfo) -> tuple:
    """Return what makes a calibration another one: everything but its stamp."""
    roi = info.roi
    return (
        info.header.frame_id,
        info.width,
        info.height,
        info.distortion_model,
        tuple(info.d),
        tuple(info.k),
        tuple(info.p),
        info.binning_x,
        info.binning_y,
        (roi.x_offset, roi.y_offset, roi.width, roi.height, roi.do_rectify),
    )
