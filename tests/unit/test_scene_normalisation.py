"""World to scene and back."""

import numpy as np
import pytest

from posefield.data.scene_normalisation import SceneNormalisation
from posefield.errors import DataError
from posefield.geometry.poses import from_quat_xyzw, invert


def random_poses(count: int) -> np.ndarray:
    generator = np.random.default_rng(1)
    return np.stack(
        [from_quat_xyzw(generator.normal(size=4), generator.normal(size=3)) for _ in range(count)]
    )


def test_there_and_back():
    normalisation = SceneNormalisation(np.array([1.0, -2.0, 0.5]), 3.0)
    points = np.random.default_rng(0).normal(size=(4, 5, 3))
    poses = random_poses(6)
    np.testing.assert_allclose(
        normalisation.point_to_world(normalisation.point_to_scene(points)), points
    )
    np.testing.assert_allclose(
        normalisation.pose_to_world(normalisation.pose_to_scene(poses)), poses
    )
    assert normalisation.length_to_world(normalisation.length_to_scene(0.7)) == pytest.approx(0.7)
    np.testing.assert_array_equal(normalisation.point_to_scene([1.0, -2.0, 0.5]), np.zeros(3))


def test_a_camera_sees_the_scene_as_it_sees_the_world():
    """Camera coordinates of a point only change by the scale."""
    normalisation = SceneNormalisation(np.array([1.0, -2.0, 0.5]), 3.0)
    T_world_cam = random_poses(1)[0]
    point = np.array([0.3, 0.2, -0.4, 1.0])
    in_world = invert(T_world_cam) @ point
    scene_point = np.append(normalisation.point_to_scene(point[:3]), 1.0)
    in_scene = invert(normalisation.pose_to_scene(T_world_cam)) @ scene_point
    np.testing.assert_allclose(in_scene[:3], 3.0 * in_world[:3])


def test_stored_and_read():
    normalisation = SceneNormalisation(np.array([1.0, -2.0, 0.5]), 3.0)
    read = SceneNormalisation.from_dict(normalisation.to_dict())
    np.testing.assert_array_equal(read.centre_3, normalisation.centre_3)
    assert read.scale == normalisation.scale


@pytest.mark.parametrize('entry', [{}, {'centre': [0, 0], 'scale': 1.0}, {'centre': [0, 0, 0]}])
def test_entries_that_are_none(entry):
    with pytest.raises(DataError, match='scene'):
        SceneNormalisation.from_dict(entry)


@pytest.mark.parametrize('scale', [0.0, -1.0, np.nan, np.inf])
def test_impossible_scales(scale):
    with pytest.raises(DataError, match='scale'):
        SceneNormalisation(np.zeros(3), scale)
