"""The topics that a camera driver publishes."""

from collections.abc import Sequence

import cv2
from geometry_msgs.msg import TransformStamped
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from posefield.geometry.camera import Camera
from posefield.nodes.images import message_from_rgb
from posefield.nodes.transforms import TF_STATIC_QOS

DEPTH = 10
JPEG_QUALITY = 95
# What sensor_msgs/CameraInfo calls a lens without distortion.
NO_DISTORTION = ('plumb_bob', (0.0,) * 5)


class CameraPublisher:
    """Publishes images and camera_info of one camera, reliably."""

    def __init__(self, node: Node, name: str, transport: str = 'raw'):
        """Advertise.

        Args:
            node: that publishes.
            name: of the camera, which its topics are below.
            transport: `raw` for image_raw, `compressed` for image_raw/compressed (JPEG).
        """
        self._is_compressed = transport == 'compressed'
        self._images = (
            node.create_publisher(CompressedImage, f'{name}/image_raw/compressed', DEPTH)
            if self._is_compressed
            else node.create_publisher(Image, f'{name}/image_raw', DEPTH)
        )
        self._infos = node.create_publisher(CameraInfo, f'{name}/camera_info', DEPTH)

    @property
    def subscribers(self) -> int:
        """How many listen to the images."""
        return self._images.get_subscription_count()

    def publish_info(self, camera: Camera, header: Header) -> None:
        """Publish the calibration alone."""
        self._infos.publish(info_from_camera(camera, header))

    def publish(self, image: np.ndarray, camera: Camera, header: Header) -> None:
        """Publish a picture, (H, W, 3) uint8 RGB, and the camera that took it."""
        self.publish_info(camera, header)
        if self._is_compressed:
            self._images.publish(compressed_from_rgb(image, header))
        else:
            self._images.publish(message_from_rgb(image, header))

    def wait_until_received(self, timeout) -> None:
        """Wait until every subscriber has got everything, or the time (rclpy Duration) is over."""
        self._images.wait_for_all_acked(timeout)


class StaticTransforms:
    """Publishes transforms that never change, also to late subscribers."""

    def __init__(self, node: Node, transforms: Sequence[TransformStamped]):
        self._publisher = node.create_publisher(TFMessage, '/tf_static', TF_STATIC_QOS)
        self._publisher.publish(TFMessage(transforms=list(transforms)))


def info_from_camera(camera: Camera, header: Header) -> CameraInfo:
    """Return the calibration of a camera whose images are not rectified."""
    info = CameraInfo(header=header, width=camera.width, height=camera.height)
    model, coefficients = (
        (camera.model, camera.distortion) if camera.is_distorted else NO_DISTORTION
    )
    info.distortion_model = model
    info.d = [float(value) for value in coefficients]
    info.k = [float(value) for value in camera.K_33.ravel()]
    info.r = [float(value) for value in np.eye(3).ravel()]
    info.p = [float(value) for value in np.hstack([camera.K_33, np.zeros((3, 1))]).ravel()]
    return info


def compressed_from_rgb(image: np.ndarray, header: Header) -> CompressedImage:
    """Return a picture (H, W, 3) uint8 RGB as JPEG."""
    content = cv2.imencode(
        '.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )[1]
    return CompressedImage(
        header=header, format='rgb8; jpeg compressed bgr8', data=content.tobytes()
    )
