"""The small view that regressor and retrieval look at."""

import numpy as np
import pytest

from posefield.geometry.camera import Camera
from posefield.relocalization.photos import SizedImage
from posefield.relocalization.reference_view import reference_camera, to_reference_view
from support.textured_room import TexturedRoom, look_at, pinhole

ROOM = TexturedRoom(seed=3, finest=0.6)
T_MAP_CAM = look_at(np.array([-0.5, -0.5, 0.0]), np.array([1.0, 0.7, -0.1]))
REFERENCE = pinhole(44, 32, 36.0)


def sized(camera: Camera) -> SizedImage:
    return SizedImage(ROOM.view(camera, T_MAP_CAM)[0], camera)


@pytest.mark.parametrize(
    'camera',
    [
        pinhole(440, 320, 360.0),
        pinhole(320, 240, 200.0),
        Camera(300, 200, 200.0, 190.0, 160.0, 90.0),
        pinhole(44, 32, 36.0),
    ],
)
def test_whatever_camera_took_the_image_the_view_is_the_same(camera):
    view = to_reference_view(sized(camera), REFERENCE)
    assert view.shape == (32, 44, 3)
    assert view.dtype == np.float32
    ideal = ROOM.view(REFERENCE, T_MAP_CAM)[0]
    # Blur and the parts that the camera did not see leave a small difference.
    inner = np.abs(view - ideal)[6:-6, 8:-8]
    assert inner.mean() < 0.02
    shifted = np.abs(np.roll(view, 2, axis=1) - ideal)[6:-6, 8:-8]
    assert shifted.mean() > 2.0 * inner.mean()


def test_a_narrow_image_is_continued_by_its_edge():
    camera = pinhole(100, 100, 300.0)
    view = to_reference_view(sized(camera), REFERENCE)
    assert np.isfinite(view).all()
    np.testing.assert_allclose(view[:, 0], view[:, 5], atol=1e-3)


def test_the_reference_camera_is_the_middle_one_of_the_photos():
    wide = Camera(160, 80, 90.0, 90.0, 79.5, 39.5)
    middle = Camera(120, 90, 100.0, 100.0, 59.5, 44.5, 'plumb_bob', (0.1, 0.0, 0.0, 0.0))
    tall = Camera(80, 160, 90.0, 90.0, 39.5, 79.5)
    found = reference_camera([wide, middle, tall], 30)
    assert (found.width, found.height) == (40, 30)
    assert found.fx == pytest.approx(100.0 / 3.0)
    assert not found.is_distorted
