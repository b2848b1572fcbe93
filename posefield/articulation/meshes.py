"""Coloured triangle meshes of surfaces: marching cubes, decimation, OBJ files.

An OBJ file carries its colours twice: at its vertices, for mesh tools, and as a texture, since
RViz, PyBullet and Gazebo show no others.  Each vertex has one place in the texture, which maps a
plane through the colours of the mesh; so vertices stay shared and colours blend as they should.
"""

from dataclasses import dataclass
import io
import logging

import numpy as np
from PIL import Image
from skimage import measure
import trimesh

from posefield.articulation.link_geometry import Ellipsoid, LinkGeometry, PointFunction
from posefield.errors import ArticulationError

logger = logging.getLogger(__name__)

POINTS_AT_ONCE = 65536
# Pieces of a surface with less than this share of the area of the largest are specks.
SPECK = 0.002
TEXTURE_SIZE = 128
# Cells from the surface within which points are asked for their distance.  It takes 1 to have both
# ends of every edge that crosses it, and sqrt(3) for the error of interpolating every other point.
REACH = 3.0


@dataclass(frozen=True)
class ColouredMesh:
    """Triangles, counter-clockwise seen from outside.

    Attributes:
        vertices_V3: unit of length and frame of the link.
        faces_F3: indices of vertices.
        colours_V3: RGB in [0, 1].
    """

    vertices_V3: np.ndarray
    faces_F3: np.ndarray
    colours_V3: np.ndarray

    def to_trimesh(self) -> trimesh.Trimesh:
        """Return the triangles, without colours, to compute with."""
        return trimesh.Trimesh(self.vertices_V3, self.faces_F3, process=False)


def marching_cubes(
    distances: PointFunction, bounds_23: np.ndarray, cells: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return vertices (V, 3) and faces (F, 3) of the closed surface at distance 0.

    The outside of the box counts as outside of the surface, which is closed there if it is cut.
    Every other point along each axis is asked for its distance, the others only near the surface.

    Args:
        distances: signed distance of points (N, 3) in the frame of the box; its slope should not
            exceed 1 by much.
        bounds_23: lowest and highest corner of the box.
        cells: along its longest side; the others get cells of the same size.

    Returns:
        None where no point of the grid is inside.
    """
    extent_3 = bounds_23[1] - bounds_23[0]
    cell = extent_3.max() / cells
    counts_3 = 2 * np.ceil(extent_3 / (2 * cell)).astype(int) + 1
    # The grid lies in the middle of the box; a layer of outside points comes around it.
    origin_3 = bounds_23.mean(0) - cell * (counts_3 - 1) / 2
    steps = np.meshgrid(*(np.arange(count) for count in counts_3), indexing='ij')
    points_XYZ3 = origin_3 + cell * np.stack(steps, axis=-1)
    values_XYZ = _refined(_values(distances, points_XYZ3[::2, ::2, ::2]))
    near_XYZ = np.abs(values_XYZ) < REACH * cell
    near_XYZ[::2, ::2, ::2] = False
    values_XYZ[near_XYZ] = _values(distances, points_XYZ3[near_XYZ])
    if not np.isfinite(values_XYZ).all():
        raise ArticulationError('A signed distance must be finite, found NaN or infinity.')
    if not (values_XYZ < 0).any():
        return None
    vertices_V3, faces_F3, _, _ = measure.marching_cubes(
        np.pad(values_XYZ, 1, constant_values=cell),
        0.0,
        spacing=(cell,) * 3,
        gradient_direction='descent',
    )
    return vertices_V3 + origin_3 - cell, faces_F3


def _values(function: PointFunction, points: np.ndarray) -> np.ndarray:
    """Return the values (...) of points (..., 3), of which there may be none."""
    if points.size == 0:
        return np.zeros(points.shape[:-1])
    return in_chunks(function, points.reshape(-1, 3)).reshape(points.shape[:-1])


def _refined(values: np.ndarray) -> np.ndarray:
    """Return a grid with a point more between every two along each axis, interpolated."""
    for axis in range(values.ndim):
        along = np.moveaxis(values, axis, 0)
        finer = np.empty((2 * len(along) - 1, *along.shape[1:]))
        finer[::2] = along
        finer[1::2] = (along[:-1] + along[1:]) / 2
        values = np.moveaxis(finer, 0, axis)
    return values


def in_chunks(function: PointFunction, points_N3: np.ndarray) -> np.ndarray:
    """Return a function of many points, computed for some at once."""
    starts = range(0, len(points_N3), POINTS_AT_ONCE)
    return np.concatenate([function(points_N3[i : i + POINTS_AT_ONCE]) for i in starts])


def link_mesh(name: str, geometry: LinkGeometry, cells: int, max_faces: int) -> ColouredMesh:
    """Return the visible surface of a link that has parts.

    Args:
        name: of the link, for messages.
        geometry: where the grid meets no surface, each of its ellipsoids is meshed.
        cells: of marching cubes, along the longest side of the link; up to twice as many where a
            part is thinner than these.
        max_faces: the mesh is decimated to at most this many.
    """
    bounds_23 = geometry.bounds_23()
    thinnest = min(item.radii_3.min() for item in geometry.ellipsoids)
    cells = int(np.clip(np.ptp(bounds_23, axis=0).max() / thinnest, cells, 2 * cells))
    surface = geometry.surface or geometry.ellipsoid_surface()
    triangles = marching_cubes(surface.distances, bounds_23, cells)
    if triangles is None:
        logger.warning('Link %s has no surface; its ellipsoids are meshed instead.', name)
        surface = geometry.ellipsoid_surface()
        mesh = trimesh.util.concatenate([ellipsoid_mesh(item) for item in geometry.ellipsoids])
    else:
        mesh = without_specks(trimesh.Trimesh(*triangles))
    mesh = decimated(mesh, max_faces)
    colours_V3 = np.clip(in_chunks(surface.colours, mesh.vertices), 0.0, 1.0)
    return ColouredMesh(np.asarray(mesh.vertices), np.asarray(mesh.faces), colours_V3)


def ellipsoid_mesh(ellipsoid: Ellipsoid) -> trimesh.Trimesh:
    """Return the surface of an ellipsoid, in the frame of its link."""
    mesh = trimesh.creation.icosphere(subdivisions=3)
    mesh.apply_scale(ellipsoid.radii_3)
    mesh.apply_transform(ellipsoid.T_link_part)
    return mesh


def without_specks(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Return the pieces of a mesh that are not small beside the largest; cavities are."""
    pieces = trimesh.graph.connected_components(
        mesh.face_adjacency, nodes=np.arange(len(mesh.faces))
    )
    areas = np.array([mesh.area_faces[piece].sum() for piece in pieces])
    kept = [pieces[i] for i in np.flatnonzero(areas >= SPECK * areas.max())]
    return mesh.submesh(kept, append=True, repair=False)


def decimated(mesh: trimesh.Trimesh, max_faces: int) -> trimesh.Trimesh:
    """Return a mesh of at most this many faces, by collapsing edges with the least error."""
    if len(mesh.faces) <= max_faces:
        return mesh
    return mesh.simplify_quadric_decimation(face_count=max_faces)


def unit_sphere_mesh(subdivisions: int = 2) -> trimesh.Trimesh:
    """Return a polyhedron around the unit sphere, whose faces touch it.

    Scaled by the radii of an ellipsoid it contains the ellipsoid.
    """
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    distances_F = np.einsum('fi,fi->f', sphere.face_normals, sphere.triangles_center)
    return trimesh.Trimesh(sphere.vertices / distances_F.min(), sphere.faces)


def colour_texture(colours_V3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a texture and where in it each colour is found.

    The texture maps the plane that fits the colours best.

    Args:
        colours_V3: RGB in [0, 1].

    Returns:
        image (TEXTURE_SIZE, TEXTURE_SIZE, 3) uint8, and uv_V2 in (0, 1), from its lower left.
    """
    mean_3 = colours_V3.mean(0)
    directions_23 = np.linalg.svd(colours_V3 - mean_3, full_matrices=False)[2][:2]
    plane_V2 = (colours_V3 - mean_3) @ directions_23.T
    low_2, high_2 = plane_V2.min(0), plane_V2.max(0)
    span_2 = np.maximum(high_2 - low_2, 1e-6)
    # The extreme colours lie at the centres of the outermost pixels.
    uv_V2 = ((plane_V2 - low_2) / span_2 * (TEXTURE_SIZE - 1) + 0.5) / TEXTURE_SIZE
    steps = np.linspace(0.0, 1.0, TEXTURE_SIZE)
    u, v = np.meshgrid(steps, steps[::-1])
    plane_HW2 = low_2 + np.stack([u, v], axis=-1) * span_2
    image = np.clip(mean_3 + plane_HW2 @ directions_23, 0.0, 1.0)
    return np.round(255.0 * image).astype(np.uint8), uv_V2


def plain_obj(mesh: trimesh.Trimesh) -> bytes:
    """Return an OBJ file without colours."""
    lines = ['v ' + ' '.join(f'{x:.6g}' for x in row) for row in mesh.vertices]
    lines += ['f ' + ' '.join(str(i) for i in face) for face in mesh.faces + 1]
    return ('\n'.join(lines) + '\n').encode()


def coloured_obj(mesh: ColouredMesh, name: str) -> dict[str, bytes]:
    """Return the files `<name>.obj`, `.mtl` and `.png` of a mesh, by file name."""
    image, uv_V2 = colour_texture(mesh.colours_V3)
    normals_V3 = mesh.to_trimesh().vertex_normals
    coloured_V6 = np.hstack([mesh.vertices_V3, mesh.colours_V3])
    lines = [f'mtllib {name}.mtl', f'o {name}']
    lines += ['v ' + ' '.join(f'{x:.6g}' for x in row) for row in coloured_V6]
    lines += ['vt ' + ' '.join(f'{x:.6f}' for x in row) for row in uv_V2]
    lines += ['vn ' + ' '.join(f'{x:.4f}' for x in row) for row in normals_V3]
    lines += [f'usemtl {name}']
    lines += ['f ' + ' '.join(f'{i}/{i}/{i}' for i in face) for face in mesh.faces_F3 + 1]
    material = f'newmtl {name}\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nmap_Kd {name}.png\n'
    picture = io.BytesIO()
    Image.fromarray(image).save(picture, format='PNG')
    return {
        f'{name}.obj': ('\n'.join(lines) + '\n').encode(),
        f'{name}.mtl': material.encode(),
        f'{name}.png': picture.getvalue(),
    }
