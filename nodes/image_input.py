"""The camera side of a node with one camera: its topics, their checks and their watchdog."""

from collections.abc import Callable
import time

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile

from posefield.geometry.camera import Camera
from posefield.nodes.camera_topic import CameraTopic, ImageMessage, info_topic
from posefield.nodes.parameters import RelocalizerParameters
from posefield.nodes.throttle import ThrottledWarnings


class ImageInput:
    """Subscribes to the topic `image` or `image/compressed` and its camera_info.

    Where camera_info is not remapped it is the sibling of the image topic, as everywhere in ROS.
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
        self._silent_since_s = time.monotonic()
        base_topic = node.resolve_topic_name('image')
        self._topic = CameraTopic(
            node,
            base_topic,
            info_topic(node, base_topic),
            self._receive_image,
            transport=parameters.image_transport,
            rectified=parameters.image_is_rectified,
        )
        self._watchdog = node.create_timer(
            parameters.watchdog_period / 5.0,
            self._watch,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def destroy(self) -> None:
        """Leave the graph."""
        self._topic.destroy()
        self._node.destroy_timer(self._watchdog)

    @property
    def topics(self) -> tuple[str, str]:
        """The resolved names of the image and camera_info topics."""
        return self._topic.topics

    @property
    def image_qos(self) -> QoSProfile:
        """The QoS of the image subscription, with overrides."""
        return self._topic.image_qos

    def _receive_image(self, message: ImageMessage) -> None:
        self._silent_since_s = time.monotonic()
        self._on_image(message)

    def view(self, message: ImageMessage) -> tuple[np.ndarray, Camera]:
        """Return the picture, (H, W, 3) RGB, and its camera.

        Raises:
            InputError: for a message that cannot be used, in one sentence.
        """
        return self._topic.view(message)

    def _watch(self) -> None:
        silence_s = time.monotonic() - self._silent_since_s
        if silence_s >= self._parameters.watchdog_period:
            self._warnings.warn('no image', f'{self._topic.silence_text(silence_s)}.')
