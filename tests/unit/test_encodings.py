"""Pixels of ROS images, without ROS."""

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from posefield.data.encodings import ENCODINGS, decode_compressed, decode_image
from posefield.errors import DataError

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
GREY = np.repeat(RGB[..., :1], 3, axis=2)
OPAQUE = np.full((6, 8, 1), 255, np.uint8)
PLAIN = {
    'rgb8': (RGB, RGB),
    'bgr8': (RGB[..., ::-1], RGB),
    '8UC3': (RGB[..., ::-1], RGB),
    'rgba8': (np.dstack([RGB, OPAQUE]), RGB),
    'bgra8': (np.dstack([RGB[..., ::-1], OPAQUE]), RGB),
    '8UC4': (np.dstack([RGB[..., ::-1], OPAQUE]), RGB),
    'mono8': (RGB[..., 0], GREY),
    '8UC1': (RGB[..., 0], GREY),
}
WIDE = {
    'rgb16': (RGB, RGB),
    'bgr16': (RGB[..., ::-1], RGB),
    '16UC3': (RGB[..., ::-1], RGB),
    'rgba16': (np.dstack([RGB, OPAQUE]), RGB),
    'mono16': (RGB[..., 0], GREY),
    '16UC1': (RGB[..., 0], GREY),
}


def packed(pixels: np.ndarray, padding: int = 0) -> tuple[bytes, int]:
    """Return the bytes of an image whose rows end with padding, and its step."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return padded.tobytes(), padded.shape[1]


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('encoding', PLAIN)
def test_plain_encodings(encoding, padding):
    pixels, expected = PLAIN[encoding]
    data, step = packed(pixels, padding)
    image = decode_image(data, encoding, 6, 8, step)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize('is_bigendian', [False, True])
@pytest.mark.parametrize('encoding', WIDE)
def test_sixteen_bits_are_scaled_to_eight(encoding, is_bigendian):
    pixels, expected = WIDE[encoding]
    wide = (pixels.astype(np.uint16) * 257).astype('>u2' if is_bigendian else '<u2')
    data, step = packed(wide, 4)
    np.testing.assert_array_equal(decode_image(data, encoding, 6, 8, step, is_bigendian), expected)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 6), st.booleans(), st.data())
def test_padding_is_never_seen(height, width, padding, last_row_is_padded, data):
    seed = data.draw(st.integers(0, 1000))
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    raw, step = packed(pixels, padding)
    if not last_row_is_padded and padding:
        raw = raw[:-padding]
    np.testing.assert_array_equal(decode_image(raw, 'rgb8', height, width, step), pixels)


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('bits', [8, 16])
def test_bayer_patterns_give_their_colour(pattern, bits):
    colour = {'r': 200, 'g': 100, 'b': 30}
    tile = np.array([colour[letter] for letter in pattern], np.uint16).reshape(2, 2)
    mosaic = np.tile(tile, (6, 8))
    mosaic = (mosaic * 257).astype('<u2') if bits == 16 else mosaic.astype(np.uint8)
    data, step = packed(mosaic)
    image = decode_image(data, f'bayer_{pattern}{bits}', 12, 16, step)
    np.testing.assert_array_equal(image[2:-2, 2:-2], np.full((8, 12, 3), (200, 100, 30)))


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [('uyvy', 'uyvy'), ('yuv422', 'uyvy'), ('yuyv', 'yuyv'), ('yuv422_yuy2', 'yuyv')],
)
def test_packed_yuv_gives_its_colour(encoding, order):
    # Limited range: luma 16..235; Cr of 240 with Cb of 110 is a red.
    values = {'y': iter((81, 81)), 'u': iter((90,)), 'v': iter((240,))}
    pair = np.array([next(values[letter]) for letter in order], np.uint8)
    data, step = packed(np.tile(pair, (4, 3)))
    image = decode_image(data, encoding, 4, 6, step)
    np.testing.assert_allclose(image, np.full((4, 6, 3), (255, 0, 0)), atol=3)


def test_every_encoding_that_is_listed_can_be_decoded():
    for encoding in ENCODINGS:
        step = 8 * 8 * 2
        assert decode_image(bytes(8 * step), encoding, 8, 8, step).shape == (8, 8, 3)


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_compressed_images(suffix):
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(suffix, smooth[..., ::-1])[1].tobytes()
    image = decode_compressed(data)
    assert np.abs(image.astype(int) - smooth).mean() < (0.5 if suffix == '.png' else 8)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'encoding': 'plaid8'}, "Unknown image encoding 'plaid8'"),
        ({'encoding': ''}, "Unknown image encoding ''"),
        ({'height': 0}, '8x0'),
        ({'width': 0}, '0x6'),
        ({'step': 23}, 'step of the image is 23 bytes, 8 pixels of its encoding need 24'),
        ({'step': 0}, 'step of the image is 0'),
        ({'step': 25}, '144 bytes, 6 rows with a step of 25 need 149'),
        ({'data': b''}, 'has 0 bytes'),
    ],
)
def test_what_is_no_image_is_refused(changes, message):
    arguments = {
        'data': RGB.tobytes(), 'encoding': 'rgb8', 'height': 6, 'width': 8, 'step': 24, **changes,
    }  # fmt: skip
    with pytest.raises(DataError, match=message):
        decode_image(**arguments)


@pytest.mark.parametrize('data', [b'', b'not a picture', b'\xff\xd8\xff'])
def test_what_is_no_compressed_image_is_refused(data):
    with pytest.raises(DataError, match='neither JPEG nor PNG'):
        decode_compressed(data)
