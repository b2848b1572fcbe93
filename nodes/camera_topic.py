"""The topics of one camera: images, and the camera_info that holds for them."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from posefield.data.camera_info import camera_from_info
from posefield.errors import CameraError, DataError, PosefieldError
from posefield.geometry.camera import Camera
from posefield.nodes.conversions import stamp_ns
from posefield.nodes.images import rgb_from_message

ImageMessage = Image | CompressedImage


class InputError(PosefieldError):
    """An image that cannot be used; `kind` groups warnings of the same cause."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class CameraTopic:
    """Subscribes to one camera.

    `camera_info` is not synchronised with the images: the latest holds.
    """

    def __init__(
        self,
        node: Node,
        base_topic: str,
        info_topic: str,
        on_image: Callable[[ImageMessage], None],
        *,
        transport: str = 'raw',
        rectified: bool = False,
        depth: int = qos_profile_sensor_data.depth,
    ):
        """Subscribe.

        Args:
            node: that subscribes.
            base_topic: resolved name of the image topic.
            info_topic: resolved name of the camera_info topic.
            on_image: takes every image, in the executor.
            transport: `raw`, or `compressed` for `<base_topic>/compressed`.
            rectified: whether P of camera_info holds and not K and D.
            depth: images that may wait for the executor.
        """
        self._node = node
        self._rectified = rectified
        self._info: CameraInfo | None = None
        self._camera: tuple[CameraInfo, Camera] | None = None
        self._images = subscribe_images(node, base_topic, on_image, transport, depth)
        self._infos = node.create_subscription(
            CameraInfo,
            info_topic,
            self._receive_info,
            copy_of(qos_profile_sensor_data),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def destroy(self) -> None:
        """Leave the graph."""
        self._node.destroy_subscription(self._images)
        self._node.destroy_subscription(self._infos)

    @property
    def topics(self) -> tuple[str, str]:
        """The resolved names of the image and camera_info topics."""
        return self._images.topic_name, self._infos.topic_name

    @property
    def image_qos(self) -> QoSProfile:
        """The QoS of the image subscription, with overrides."""
        return self._images.qos_profile

    @property
    def info(self) -> CameraInfo | None:
        """The camera_info that holds; the same object until another calibration comes."""
        return self._info

    def _receive_info(self, message: CameraInfo) -> None:
        if self._info is None or message_content(message) != message_content(self._info):
            self._info = message

    def view(self, message: ImageMessage) -> tuple[np.ndarray, Camera]:
        """Return the picture, (H, W, 3) RGB uint8, and its camera.

        Raises:
            InputError: for a message that cannot be used, in one sentence.
        """
        self.check_stamp(message)
        camera = self.camera_of(message)
        image = self.picture(message)
        self._check_size((image.shape[1], image.shape[0]), camera)
        return image, camera

    def check(self, message: ImageMessage) -> Camera:
        """Return the camera of an image whose pixels are not looked at.

        Raises:
            InputError: for a stamp of 0, a calibration that is missing or of another frame, or
                another size than the calibration's.
        """
        self.check_stamp(message)
        camera = self.camera_of(message)
        self._check_size(self._size(message), camera)
        return camera

    def check_stamp(self, message: ImageMessage) -> None:
        """Raise an InputError for a stamp of 0."""
        if stamp_ns(message.header.stamp) == 0:
            raise InputError(
                'stamp',
                f'The image on {self.topics[0]} has no stamp (0), so nobody knows when it was '
                'taken.',
            )

    def picture(self, message: ImageMessage) -> np.ndarray:
        """Return the picture, (H, W, 3) RGB uint8.

        Raises:
            InputError: where it cannot be decoded.
        """
        try:
            return rgb_from_message(message)
        except DataError as error:
            raise InputError('image', f'{self.topics[0]}: {error}') from error

    def _size(self, message: ImageMessage) -> tuple[int, int]:
        """Return width and height of an image without decoding it."""
        if isinstance(message, Image):
            return message.width, message.height
        try:
            with PillowImage.open(BytesIO(message.data)) as header:
                return header.size
        except UnidentifiedImageError as error:
            raise InputError(
                'image', f'{self.topics[0]}: the compressed image does not open.'
            ) from error

    def _check_size(self, size: tuple[int, int], camera: Camera) -> None:
        if size != (camera.width, camera.height):
            raise InputError(
                'size',
                f'The image on {self.topics[0]} is {size[0]}x{size[1]} but {self.topics[1]} is '
                f'for {camera.width}x{camera.height}.',
            )

    def camera_of(self, message: ImageMessage) -> Camera:
        """Return the camera that took an image.

        Raises:
            InputError: where there is no calibration, a wrong one, or one of another frame.
        """
        image_topic, topic = self.topics
        info = self._info
        if info is None:
            raise InputError(
                'no camera_info',
                f'Images come on {image_topic} but no camera_info on {topic} '
                f'({qos_text(self._infos.qos_profile)}); {self._publishers_text(topic)}.',
            )
        frame = message.header.frame_id
        if info.header.frame_id != frame:
            raise InputError(
                'frame_id',
                f'The frame_id of {topic} is "{info.header.frame_id}" but that of {image_topic} '
                f'is "{frame}"; they must be the same optical frame.',
            )
        if not frame:
            raise InputError(
                'frame_id', f'The frame_id of {image_topic} is empty, expected the optical frame.'
            )
        if self._camera is None or self._camera[0] is not info:
            try:
                camera = camera_from_info(info, rectified=self._rectified)
            except CameraError as error:
                raise InputError('camera_info', f'{topic}: {error}') from error
            self._camera = (info, camera)
        return self._camera[1]

    def silence_text(self, silence_s: float) -> str:
        """Return why no image may have come for so long, without a full stop."""
        topic = self.topics[0]
        return (
            f'No image for {silence_s:.1f} s on {topic} ({qos_text(self._images.qos_profile)}); '
            f'{self._publishers_text(topic)}'
        )

    def _publishers_text(self, topic: str) -> str:
        publishers = self._node.get_publishers_info_by_topic(topic)
        if not publishers:
            return 'nobody publishes it'
        each = ', '.join(
            f'{p.node_name}: {p.topic_type}, {qos_text(p.qos_profile)}' for p in publishers
        )
        return f'published by {each}'


def subscribe_images(
    node: Node,
    base_topic: str,
    on_image: Callable[[ImageMessage], None],
    transport: str,
    depth: int,
):
    """Subscribe to an image topic by its transport and return the subscription."""
    compressed = transport == 'compressed'
    qos = copy_of(qos_profile_sensor_data)
    qos.depth = depth
    return node.create_subscription(
        CompressedImage if compressed else Image,
        f'{base_topic}/compressed' if compressed else base_topic,
        on_image,
        qos,
        qos_overriding_options=QoSOverridingOptions.with_default_policies(),
    )


def info_topic(node: Node, image_topic: str, name: str = 'camera_info') -> str:
    """Return where camera_info comes from: as remapped, or beside the image.

    Args:
        node: that subscribes.
        image_topic: resolved name of the image topic.
        name: of the camera_info topic, before it is remapped.
    """
    unmapped = node.resolve_topic_name(name, only_expand=True)
    resolved = node.resolve_topic_name(name)
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
