"""Images in messages to and from numpy."""

import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from posefield.errors import DataError
from posefield.nodes.images import message_from_rgb, rgb_from_message

RGB = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
GREY = RGB[..., :1]


def message(pixels, encoding, *, padding=0, is_bigendian=False):
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    return Image(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        step=rows.shape[1],
        is_bigendian=int(is_bigendian),
        data=rows.tobytes(),
    )


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize(
    ('encoding', 'pixels', 'expected'),
    [
        ('rgb8', RGB, RGB),
        ('bgr8', RGB[..., ::-1], RGB),
        ('8UC3', RGB[..., ::-1], RGB),
        ('rgba8', np.concatenate([RGB, GREY], 2), RGB),
        ('bgra8', np.concatenate([RGB[..., ::-1], GREY], 2), RGB),
        ('mono8', GREY, np.repeat(GREY, 3, 2)),
    ],
)
def test_plain_encodings_with_and_without_padding(encoding, pixels, expected, padding):
    np.testing.assert_array_equal(
        rgb_from_message(message(pixels, encoding, padding=padding)), expected
    )


@pytest.mark.parametrize('is_bigendian', [False, True])
@pytest.mark.parametrize('encoding', ['rgb16', 'mono16'])
def test_sixteen_bits_are_scaled_in_either_byte_order(encoding, is_bigendian):
    pixels = RGB if encoding == 'rgb16' else GREY
    wide = (pixels.astype(np.uint16) * 257).astype('>u2' if is_bigendian else '<u2')
    decoded = rgb_from_message(message(wide, encoding, is_bigendian=is_bigendian))
    np.testing.assert_array_equal(decoded, np.broadcast_to(pixels, RGB.shape))


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_patterns_give_their_colour(pattern):
    colour = dict(zip('rgb', (200, 100, 50), strict=True))
    tile = np.array([colour[c] for c in pattern], np.uint8).reshape(2, 2)
    decoded = rgb_from_message(message(np.tile(tile, (4, 4))[..., None], f'bayer_{pattern}8'))
    np.testing.assert_array_equal(decoded[2:-2, 2:-2], np.full((4, 4, 3), (200, 100, 50)))


def test_our_own_messages_survive_the_round_trip():
    sent = message_from_rgb(RGB, Header(frame_id='camera'))
    assert sent.header.frame_id == 'camera' and isinstance(sent.data, array.array)
    np.testing.assert_array_equal(rgb_from_message(sent), RGB)


def test_compressed_images():
    ok, data = cv2.imencode('.png', RGB[..., ::-1])
    assert ok
    np.testing.assert_array_equal(
        rgb_from_message(CompressedImage(format='png', data=data.tobytes())), RGB
    )


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'encoding': 'yuv777'}, "encoding 'yuv777', expected one of rgb8"),
        ({'width': 0}, '0x6'),
        ({'height': 0}, '4x0'),
        ({'step': 11}, '11 bytes, 4 pixels of its encoding need 12'),
        ({'data': b'123'}, 'has 3 bytes, 6 rows with a step of 12 need 72'),
    ],
)
def test_what_is_no_image_is_refused(changes, words):
    wrong = message(RGB, 'rgb8')
    for name, value in changes.items():
        setattr(wrong, name, value)
    with pytest.raises(DataError, match=words):
        rgb_from_message(wrong)


@pytest.mark.parametrize('data', [b'', b'not a picture'])
def test_what_is_no_compressed_image_is_refused(data):
    with pytest.raises(DataError, match=f'{len(data)} bytes of a compressed image'):
        rgb_from_message(CompressedImage(format='jpeg', data=data))
