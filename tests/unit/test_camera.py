"""The camera model, by its properties."""

import math

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from posefield.errors import CameraError
from posefield.geometry.camera import Camera

small = st.floats(-0.08, 0.08)
tiny = st.floats(-0.005, 0.005)
DISTORTIONS = st.one_of(
    st.just(('pinhole', ())),
    st.tuples(st.just('plumb_bob'), st.tuples(small, small, tiny, tiny)),
    st.tuples(st.just('plumb_bob'), st.tuples(small, small, tiny, tiny, small)),
    st.tuples(
        st.just('rational_polynomial'),
        st.tuples(small, small, tiny, tiny, small, small, small, small),
    ),
    st.tuples(
        st.just('rational_polynomial'),
        st.tuples(small, small, tiny, tiny, small, small, small, small, tiny, tiny, tiny, tiny),
    ),
    st.tuples(st.just('equidistant'), st.tuples(small, tiny, tiny, tiny)),
)


@st.composite
def cameras(draw) -> Camera:
    width, height = draw(st.integers(20, 2000)), draw(st.integers(20, 2000))
    focal = max(width, height) * draw(st.floats(1.0, 3.0))
    model, distortion = draw(DISTORTIONS)
    return Camera(
        width,
        height,
        focal,
        focal * draw(st.floats(0.9, 1.1)),
        width * draw(st.floats(0.4, 0.6)),
        height * draw(st.floats(0.4, 0.6)),
        model,
        distortion,
    )


def pixels_of(camera: Camera) -> np.ndarray:
    x = np.linspace(0, camera.width - 1, 7)
    y = np.linspace(0, camera.height - 1, 7)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


@given(cameras(), st.floats(0.1, 50.0))
def test_unprojected_pixels_project_to_themselves_at_any_depth(camera, depth):
    pixels = pixels_of(camera)
    points = camera.unproject(pixels)
    np.testing.assert_array_equal(points[:, 2], 1.0)
    projected, visible = camera.project(points * depth)
    np.testing.assert_allclose(projected, pixels, atol=1e-3)
    assert visible.all()


@given(cameras(), st.integers(8, 3000), st.integers(8, 3000))
def test_resizing_moves_pixels_by_the_one_convention(camera, width, height):
    scale = np.array([width / camera.width, height / camera.height])
    resized = camera.resized(width, height)
    pixels = pixels_of(camera)
    expected = (pixels + 0.5) * scale - 0.5
    np.testing.assert_allclose(resized.unproject(expected), camera.unproject(pixels), atol=1e-6)
    back = resized.resized(camera.width, camera.height)
    for name in ('fx', 'fy', 'cx', 'cy'):
        assert math.isclose(getattr(back, name), getattr(camera, name), rel_tol=1e-9)


@given(cameras())
def test_cropping_shifts_pixels(camera):
    window = camera.cropped(5, 3, 10, 8)
    assert (window.width, window.height) == (10, 8)
    pixels = pixels_of(camera)
    np.testing.assert_allclose(
        window.unproject(pixels - [5, 3]), camera.unproject(pixels), atol=1e-9
    )


def test_a_ray_goes_where_the_axes_say():
    camera = Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
    pixels, visible = camera.project(
        np.array([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0], [0.0, 0.5, 2.0], [0.0, 0.0, -2.0]])
    )
    np.testing.assert_allclose(pixels[:3], [[319.5, 239.5], [569.5, 239.5], [319.5, 364.5]])
    assert visible.tolist() == [True, True, True, False]


def test_the_image_ends_half_a_pixel_outside_the_outer_centres():
    camera = Camera(10, 10, 10.0, 10.0, 0.0, 0.0)
    points = camera.unproject([[-0.49, 0.0], [-0.51, 0.0], [9.49, 9.49], [9.51, 9.49]])
    assert camera.project(points)[1].tolist() == [True, False, True, False]


def test_distortion_is_that_of_opencv():
    distortion = (0.2, -0.1, 0.01, -0.02, 0.03)
    camera = Camera(640, 480, 500.0, 510.0, 320.0, 240.0, 'plumb_bob', distortion)
    point = np.array([[0.3, -0.2, 1.5]])
    x, y = point[0, :2] / point[0, 2]
    k1, k2, p1, p2, k3 = distortion
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    np.testing.assert_allclose(
        camera.project(point)[0], [[500 * xd + 320, 510 * yd + 240]], atol=1e-9
    )


def test_an_equidistant_lens_measures_angles():
    camera = Camera(640, 480, 300.0, 300.0, 320.0, 240.0, 'equidistant', (0.0,) * 4)
    angle = math.radians(40.0)
    pixels, _ = camera.project([[math.sin(angle), 0.0, math.cos(angle)]])
    np.testing.assert_allclose(pixels, [[320.0 + 300.0 * angle, 240.0]], atol=1e-6)
    assert camera.is_distorted


@pytest.mark.parametrize('model', ['pinhole', 'plumb_bob', 'equidistant'])
def test_no_points_give_no_pixels(model):
    distortion = {'pinhole': (), 'plumb_bob': (0.1, 0, 0, 0), 'equidistant': (0.1, 0, 0, 0)}
    camera = Camera(640, 480, 500.0, 500.0, 320.0, 240.0, model, distortion[model])
    pixels, visible = camera.project(np.zeros((0, 3)))
    assert pixels.shape == (0, 2) and visible.shape == (0,)
    assert camera.unproject(np.zeros((0, 2))).shape == (0, 3)


def test_a_short_side_keeps_the_shape():
    camera = Camera(1080, 1920, 1375.0, 1374.0, 554.0, 965.0).with_short_side(60)
    assert (camera.width, camera.height) == (60, 107)
    assert Camera(1000, 2, 10.0, 10.0, 5.0, 1.0).with_short_side(1).height == 1


def test_the_intrinsic_matrix_is_for_opencv():
    camera = Camera(640, 480, 500.0, 510.0, 320.0, 240.0)
    expected = cv2.projectPoints(
        np.array([[0.1, 0.2, 1.0]]), np.zeros(3), np.zeros(3), camera.K_33, None
    )[0][0]
    np.testing.assert_allclose(camera.project([[0.1, 0.2, 1.0]])[0], expected)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((0, 480, 500.0, 500.0, 320.0, 240.0), 'positive size, found 0x480'),
        ((640, 480, 0.0, 500.0, 320.0, 240.0), 'fx=0.0'),
        ((640, 480, 500.0, -1.0, 320.0, 240.0), 'fy=-1.0'),
        ((640, 480, math.nan, 500.0, 320.0, 240.0), 'finite'),
        ((640, 480, 500.0, 500.0, math.inf, 240.0), 'finite'),
        ((640, 480, 500.0, 500.0, 320.0, 240.0, 'fisheye'), "model 'fisheye'"),
        ((640, 480, 500.0, 500.0, 320.0, 240.0, 'plumb_bob', (0.1,)), 'takes 4 or 5'),
        ((640, 480, 500.0, 500.0, 320.0, 240.0, 'pinhole', (0.1,)), 'takes 0'),
        ((640, 480, 500.0, 500.0, 320.0, 240.0, 'plumb_bob', (math.nan,) * 4), 'finite'),
    ],
)
def test_what_is_no_camera_is_refused(arguments, message):
    with pytest.raises(CameraError, match=message):
        Camera(*arguments)
