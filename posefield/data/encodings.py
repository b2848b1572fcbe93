"""Pixels of ROS images (sensor_msgs) to RGB, without ROS."""

import cv2
import numpy as np

from posefield.errors import DataError

# Channels in memory, and how OpenCV turns them into RGB (None: they are).
COLOURS = {
    'rgb': (3, None),
    'bgr': (3, cv2.COLOR_BGR2RGB),
    'rgba': (4, cv2.COLOR_RGBA2RGB),
    'bgra': (4, cv2.COLOR_BGRA2RGB),
    'mono': (1, cv2.COLOR_GRAY2RGB),
    # OpenCV names a Bayer pattern by its second row, ROS by its first.
    'bayer_rggb': (1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr': (1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg': (1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg': (1, cv2.COLOR_BayerGB2RGB),
}
PACKED_YUV = {
    'uyvy': cv2.COLOR_YUV2RGB_UYVY,
    'yuv422': cv2.COLOR_YUV2RGB_UYVY,
    'yuyv': cv2.COLOR_YUV2RGB_YUY2,
    'yuv422_yuy2': cv2.COLOR_YUV2RGB_YUY2,
}
ALIASES = {'8UC1': 'mono8', '8UC3': 'bgr8', '8UC4': 'bgra8', '16UC1': 'mono16', '16UC3': 'bgr16'}
ENCODINGS = (
    *(f'{colour}{bits}' for colour in COLOURS for bits in (8, 16)),
    *PACKED_YUV,
    *ALIASES,
)


def decode_image(
    data: bytes, encoding: str, height: int, width: int, step: int, is_bigendian: bool = False
) -> np.ndarray:
    """Return the picture of a sensor_msgs/Image, (H, W, 3) RGB uint8.

    Args:
        data: the pixels, anything with the buffer protocol.
        encoding: as in sensor_msgs/image_encodings; 16 bits are scaled to 8.
        height, width: pixels.
        step: bytes of a row, with padding.
        is_bigendian: byte order of 16-bit pixels.

    Raises:
        DataError: for an unknown encoding, a size of zero, a wrong step, or too few bytes.
    """
    if encoding not in ENCODINGS:
        raise DataError(
            f'Unknown image encoding {encoding!r}, expected one of {", ".join(ENCODINGS)}.'
        )
    if height < 1 or width < 1:
        raise DataError(f'An image must have a positive size, found {width}x{height}.')
    encoding = ALIASES.get(encoding, encoding)
    if encoding in PACKED_YUV:
        pixels = _rows(data, np.dtype(np.uint8), 2, height, width, step)
        return cv2.cvtColor(pixels, PACKED_YUV[encoding])
    colour, is_wide = encoding.rstrip('0123456789'), encoding.endswith('16')
    dtype = np.dtype(np.uint8)
    if is_wide:
        dtype = np.dtype('>u2' if is_bigendian else '<u2')
    channels, conversion = COLOURS[colour]
    pixels = _rows(data, dtype, channels, height, width, step)
    if is_wide:
        pixels = np.round(pixels / 257.0).astype(np.uint8)
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion)


def _rows(
    data: bytes, dtype: np.dtype, channels: int, height: int, width: int, step: int
) -> np.ndarray:
    """Return (H, W, channels) pixels without the padding of the rows."""
    row = width * channels * dtype.itemsize
    if step < row:
        raise DataError(
            f'The step of the image is {step} bytes, {width} pixels of its encoding need {row}.'
        )
    raw = np.frombuffer(data, np.uint8)
    needed = step * (height - 1) + row
    if raw.size < needed:
        raise DataError(
            f'The image has {raw.size} bytes, {height} rows with a step of {step} need {needed}.'
        )
    padded = np.zeros(step * height, np.uint8) if raw.size < step * height else raw
    if padded is not raw:
        padded[: raw.size] = raw
    rows = padded[: step * height].reshape(height, step)[:, :row]
    return np.ascontiguousarray(rows).view(dtype).reshape(height, width, channels)


def decode_compressed(data: bytes) -> np.ndarray:
    """Return the picture of a sensor_msgs/CompressedImage (JPEG or PNG), (H, W, 3) RGB uint8.

    Raises:
        DataError: when the bytes are no such picture.
    """
    raw = np.frombuffer(data, np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    picture = cv2.imdecode(raw, flags) if raw.size else None
    if picture is None:
        raise DataError(f'{raw.size} bytes of a compressed image are neither JPEG nor PNG.')
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
