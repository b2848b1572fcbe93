"""Images in messages to and from numpy."""

import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from posefield.data.encodings import decode_compressed, decode_image


def rgb_from_message(message: Image | CompressedImage) -> np.ndarray:
    """Return the picture of a message, (H, W, 3) RGB.

    Raises:
        DataError: for an unknown encoding, a size of zero, a wrong step, or too few bytes.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed(message.data, message.format)
    return decode_image(message)


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
