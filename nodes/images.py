"""Images in messages to and from numpy."""

import importlib.util

import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from posefield.data.encodings import ENCODINGS, decode_compressed, decode_image
from posefield.errors import DataError


def rgb_from_message(message: Image | CompressedImage) -> np.ndarray:
    """Return the picture of a message, (H, W, 3) RGB uint8.

    Raises:
        DataError: for an unknown encoding, a size of zero, a wrong step, or too few bytes.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed(message.data)
    if message.encoding not in ENCODINGS and importlib.util.find_spec('cv_bridge'):
        return _rgb_by_cv_bridge(message)
    return decode_image(
        message.data,
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
    )


def _rgb_by_cv_bridge(message: Image) -> np.ndarray:
    """Return the picture of an encoding beyond the plain ones."""
    from cv_bridge import CvBridge, CvBridgeError

    try:
        return CvBridge().imgmsg_to_cv2(message, 'rgb8')
    except CvBridgeError as error:
        raise DataError(f'cv_bridge cannot read encoding {message.encoding!r}: {error}') from error


def message_from_rgb(image: np.ndarray, header: Header) -> Image:
    """Return an (H, W, 3) uint8 RGB picture as a message; bytes, which rclpy takes at once."""
    height, width, channels = image.shape
    return Image(
        header=header,
        height=height,
        width=width,
        encoding='rgb8',
        is_bigendian=0,
        step=width * channels,
        data=np.ascontiguousarray(image).tobytes(),
    )
