"""Meshes of surfaces: closed, of the right size, small enough, and coloured."""

import io
import math

import numpy as np
from PIL import Image
import pytest
import trimesh

from posefield.articulation import meshes
from posefield.articulation.link_geometry import (
    Ellipsoid,
    LinkGeometry,
    LinkSurface,
    link_geometries,
)
from posefield.articulation.meshes import (
    colour_texture,
    coloured_obj,
    decimated,
    link_mesh,
    marching_cubes,
    plain_obj,
    unit_sphere_mesh,
    without_specks,
)
from posefield.errors import ArticulationError
from support.articulated import COLOURS_P3, RADII_P3, arm, arm_geometries, pose

BOX_23 = np.array([[-0.6, -0.6, -0.6], [0.6, 0.7, 0.8]])
GREY = np.full(3, 0.5)


def sphere(points_N3: np.ndarray) -> np.ndarray:
    """Signed distance of a sphere of radius 0.5 around (0, 0.1, 0.2)."""
    return np.linalg.norm(points_N3 - [0.0, 0.1, 0.2], axis=1) - 0.5


def loaded(files: dict[str, bytes], folder) -> trimesh.Trimesh:
    """Return the mesh that another program reads from the files."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return trimesh.load(folder / next(iter(files)), force='mesh')


def test_marching_cubes_meets_the_sphere():
    mesh = trimesh.Trimesh(*marching_cubes(sphere, BOX_23, 40))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.02)
    np.testing.assert_allclose(sphere(mesh.vertices), 0.0, atol=1e-3)


def test_surface_that_leaves_the_box_is_closed_at_its_sides():
    half = BOX_23.copy()
    half[1, 0] = 0.0
    mesh = trimesh.Trimesh(*marching_cubes(sphere, half, 60))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(2 / 3 * math.pi * 0.5**3, rel=0.08)
    assert mesh.bounds[1, 0] < 0.05


def test_only_points_near_the_surface_are_asked_and_the_surface_is_the_same(monkeypatch):
    asked = []

    def counted(points_N3):
        asked.append(len(points_N3))
        return np.minimum(sphere(points_N3), np.linalg.norm(points_N3 - 0.55, axis=1) - 0.021)

    vertices_V3, faces_F3 = marching_cubes(counted, BOX_23, 60)
    few = sum(asked)
    asked.clear()
    monkeypatch.setattr(meshes, 'REACH', math.inf)
    all_vertices_V3, all_faces_F3 = marching_cubes(counted, BOX_23, 60)
    assert few < 0.4 * sum(asked)
    np.testing.assert_array_equal(faces_F3, all_faces_F3)
    np.testing.assert_allclose(vertices_V3, all_vertices_V3)


def test_nothing_inside_has_no_surface():
    assert marching_cubes(lambda points: np.ones(len(points)), BOX_23, 10) is None


def test_distances_that_are_not_finite_are_refused():
    with pytest.raises(ArticulationError, match='must be finite'):
        marching_cubes(lambda points: np.full(len(points), np.nan), BOX_23, 10)


def test_decimation_keeps_bound_volume_and_closure():
    mesh = trimesh.Trimesh(*marching_cubes(sphere, BOX_23, 50))
    small = decimated(mesh, 500)
    assert len(small.faces) <= 500 < len(mesh.faces)
    assert small.is_watertight
    assert small.volume == pytest.approx(mesh.volume, rel=0.02)
    assert decimated(small, 500) is small


def test_specks_and_cavities_are_left_out():
    def with_extras(points_N3):
        speck = np.linalg.norm(points_N3 - [0.55, -0.55, -0.55], axis=1) - 0.02
        cavity = 0.02 - np.linalg.norm(points_N3 - [0.0, 0.1, 0.2], axis=1)
        return np.minimum(np.maximum(sphere(points_N3), cavity), speck)

    mesh = trimesh.Trimesh(*marching_cubes(with_extras, BOX_23, 90))
    assert mesh.body_count == 3
    kept = without_specks(mesh)
    assert kept.body_count == 1
    assert kept.volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.02)


def test_ellipsoid_alone_is_its_own_surface():
    T = pose([0.4, 1.0, -2.0], [0.3, 0.2, 0.1])
    ellipsoid = Ellipsoid(np.array([0.3, 0.1, 0.05]), T, np.array([1.0, 0.5, 0.0]))
    mesh = link_mesh('arm', LinkGeometry((ellipsoid,)), 64, 10**6)
    volume = 4 / 3 * math.pi * 0.3 * 0.1 * 0.05
    assert mesh.to_trimesh().volume == pytest.approx(volume, rel=0.02)
    unit = (mesh.vertices_V3 - T[:3, 3]) @ T[:3, :3] / ellipsoid.radii_3
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, atol=0.02)
    np.testing.assert_allclose(mesh.colours_V3, np.tile([1.0, 0.5, 0.0], (len(unit), 1)))


def test_union_is_one_closed_surface_with_the_colours_of_its_parts():
    mesh = link_mesh('base', arm_geometries()['base'], 64, 3000)
    assert mesh.to_trimesh().is_watertight
    assert mesh.to_trimesh().body_count == 1
    assert len(mesh.faces_F3) <= 3000
    top_V3 = mesh.colours_V3[mesh.vertices_V3[:, 2] > 0.2]
    np.testing.assert_allclose(top_V3, np.broadcast_to(COLOURS_P3[1], top_V3.shape))


def test_ellipsoid_distance_is_exact_on_spheres_and_finite_at_centres():
    ball = Ellipsoid(np.full(3, 0.2), pose([0, 0, 0], [1.0, 0.0, 0.0]), GREY)
    points = np.array([[1.5, 0.0, 0.0], [1.0, 0.1, 0.0], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(ball.distances(points), [0.3, -0.1, -0.2])


def test_bounds_hold_turned_ellipsoids():
    ellipsoid = Ellipsoid(np.array([0.5, 0.1, 0.1]), pose([0, 0, np.pi / 2], [1, 0, 0]), GREY)
    bounds = LinkGeometry((ellipsoid,)).bounds_23()
    np.testing.assert_allclose(bounds, [[0.9, -0.5, -0.1], [1.1, 0.5, 0.1]])


def test_learned_surface_is_meshed_in_the_frame_and_scale_of_its_link():
    """Here it is 0.03 outside of the ellipsoid; red where the part's x > 0, else blue."""
    T_link_part_P44 = np.stack([pose([0.1 * i, 1.0, 0.0], [0.1 * i, 0, 0.2]) for i in range(5)])
    red_or_blue = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])

    def learned(parts):
        larger = Ellipsoid(RADII_P3[parts[0]] + 0.03, np.eye(4), GREY)
        return LinkSurface(
            larger.distances, lambda points: red_or_blue[(points[:, 0] > 0).astype(int)], 0.03
        )

    geometries = link_geometries(arm(), RADII_P3, T_link_part_P44, COLOURS_P3, learned)
    assert geometries['tip'].surface is None
    mesh = link_mesh('arm', geometries['arm_1'].scaled(10.0), 64, 10**6)
    T = T_link_part_P44[3]
    in_part = (mesh.vertices_V3 / 10.0 - T[:3, 3]) @ T[:3, :3]
    unit = in_part / (RADII_P3[3] + 0.03)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, atol=0.02)
    np.testing.assert_array_equal(mesh.colours_V3[:, 0], (in_part[:, 0] > 0).astype(float))


def test_link_without_learned_surface_shows_its_ellipsoids(caplog):
    ellipsoid = Ellipsoid(np.full(3, 0.2), np.eye(4), np.array([0.0, 1.0, 0.0]))
    nothing = LinkSurface(lambda p: np.ones(len(p)), lambda p: np.ones((len(p), 3)), 0.1)
    mesh = link_mesh('arm', LinkGeometry((ellipsoid,), nothing), 40, 2000)
    assert mesh.to_trimesh().volume == pytest.approx(4 / 3 * math.pi * 0.2**3, rel=0.03)
    assert 'Link arm has no surface' in caplog.text


def test_thin_part_of_a_large_link_is_not_lost():
    """It is thinner than a cell of the grid that would do for the link."""
    body = Ellipsoid(np.full(3, 0.5), np.eye(4), GREY)
    handle = Ellipsoid(np.array([0.2, 0.018, 0.018]), pose([0, 0, 0], [0.6, 0.007, 0.007]), GREY)
    mesh = link_mesh('arm', LinkGeometry((body, handle)), 24, 10**6)
    assert mesh.to_trimesh().body_count == 1
    assert mesh.vertices_V3[:, 0].max() > 0.75


def test_ellipsoids_flatter_than_the_grid_are_meshed_all_the_same():
    """An error here would throw away what was learned, for parts that hardly show."""
    radii = np.array([0.5, 0.4, 1e-6])
    flat = [Ellipsoid(radii, pose([0, 0, 0], [0, 0, z]), GREY) for z in (0.0, 0.3)]
    mesh = link_mesh('arm', LinkGeometry(tuple(flat)), 8, 3000)
    upper = mesh.vertices_V3[:, 2] > 0.15
    unit = (mesh.vertices_V3 - np.outer(upper, [0, 0, 0.3])) / radii
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, atol=1e-6)
    assert upper.any() and not upper.all()
    assert mesh.to_trimesh().is_watertight


def test_part_that_there_is_not_is_refused():
    with pytest.raises(ArticulationError, match="'gripper' has part 4, expected 0 to 3"):
        link_geometries(arm(), RADII_P3[:4], np.stack([np.eye(4)] * 4), COLOURS_P3)


def test_collision_sphere_contains_the_unit_sphere():
    mesh = unit_sphere_mesh()
    assert mesh.is_watertight
    heights = np.einsum('fi,fi->f', mesh.face_normals, mesh.triangles_center)
    assert heights.min() == pytest.approx(1.0)
    assert np.linalg.norm(mesh.vertices, axis=1).max() < 1.05


def test_texture_shows_the_colours_of_the_vertices():
    """Two mixed colours span a plane, which the texture holds exactly but for rounding."""
    generator = np.random.default_rng(1)
    shares = generator.uniform(0.0, 0.5, size=(500, 2))
    colours_V3 = shares @ np.array([[1.0, 0.4, 0.0], [0.2, 0.9, 1.0]])
    image, uv_V2 = colour_texture(colours_V3)
    height, width = image.shape[:2]
    columns = np.floor(uv_V2[:, 0] * width).astype(int)
    rows = np.floor((1.0 - uv_V2[:, 1]) * height).astype(int)
    np.testing.assert_allclose(image[rows, columns] / 255.0, colours_V3, atol=0.01)


@pytest.mark.parametrize('colour', [(0.0, 0.0, 0.0), (0.3, 0.6, 0.9)])
def test_texture_of_one_colour_is_that_colour(colour):
    image, uv_V2 = colour_texture(np.tile(colour, (10, 1)))
    np.testing.assert_allclose(image / 255.0, np.broadcast_to(colour, image.shape), atol=0.003)
    assert ((uv_V2 > 0) & (uv_V2 < 1)).all()


def test_obj_file_is_read_back_closed_and_coloured(tmp_path):
    mesh = link_mesh('base', arm_geometries()['base'], 48, 2000)
    files = coloured_obj(mesh, 'base')
    back = loaded(files, tmp_path)
    assert back.is_watertight
    assert back.volume == pytest.approx(mesh.to_trimesh().volume, rel=1e-3)
    textured = back.visual.to_color().vertex_colors[:, :3] / 255.0
    nearest = np.linalg.norm(textured[:, None] - COLOURS_P3[None, :2], axis=2)
    assert nearest.min(1).max() < 0.02
    assert (np.bincount(nearest.argmin(1)) > 100).all()
    rows = [line.split() for line in files['base.obj'].decode().splitlines()]
    written_V6 = np.array([row[1:] for row in rows if row[0] == 'v'], dtype=float)
    np.testing.assert_allclose(written_V6[:, :3], mesh.vertices_V3, atol=1e-5)
    np.testing.assert_allclose(written_V6[:, 3:], mesh.colours_V3, atol=1e-5)
    assert Image.open(io.BytesIO(files['base.png'])).mode == 'RGB'


def test_plain_obj_file_is_read_back(tmp_path):
    back = loaded({'sphere.obj': plain_obj(unit_sphere_mesh())}, tmp_path)
    assert back.is_watertight
    assert back.volume == pytest.approx(4 / 3 * math.pi, rel=0.03)
