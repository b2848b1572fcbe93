"""Points for clouds lie on the parts that they are said to be on."""

import numpy as np

from posefield.articulation.part_points import part_points, unit_sphere_points
from support.ball_model import ball_model
from support.two_balls import RADII_P3

PER_PART = 200


def test_points_on_the_sphere_are_spread_evenly():
    points = unit_sphere_points(500)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0)
    np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=0.01)
    np.testing.assert_allclose(points.T @ points / 500, np.eye(3) / 3, atol=0.01)


def test_points_lie_on_the_surface_of_their_part_and_follow_its_link():
    model = ball_model()
    cloud = part_points(model, PER_PART)
    assert np.bincount(cloud.parts_N).tolist() == [PER_PART, PER_PART]
    positions = np.array([0.5])
    T_world_root = model.root_pose(0)
    T_link = model.structure.forward(positions, T_world_root)
    T_part = model.repose(positions, T_world_root)
    placed = cloud.placed(T_link)
    for part, radii_3 in enumerate(RADII_P3 / model.normalisation.scale):
        own = cloud.parts_N == part
        assert set(cloud.links_N[own]) == {part}
        local = (placed[own] - T_part[part, :3, 3]) @ T_part[part, :3, :3] / radii_3
        np.testing.assert_allclose(np.linalg.norm(local, axis=1), 1.0, atol=0.05)
    assert 0.0 <= cloud.colours_N3.min() and cloud.colours_N3.max() <= 1.0


def test_points_are_on_the_learned_surface():
    model = ball_model()
    cloud = part_points(model, PER_PART)
    geometries = model.geometries()
    for index, link in enumerate(model.structure.links):
        own = cloud.points_N3[cloud.links_N == index]
        distances = geometries[link.name].surface.distances(own)
        assert np.abs(distances).max() < 2e-3
