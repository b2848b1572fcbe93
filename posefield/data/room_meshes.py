"""Textured meshes of the simulated room, written as Wavefront OBJ text."""

from dataclasses import dataclass
import math
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """Vertices that no two faces share.

    Attributes:
        points_N3: metres.
        uv_N2: texture coordinates in [0, 1], v up.
        normals_N3: unit, outwards.
        triangles_M3: vertex indices, counter-clockwise from outside.
    """

    points_N3: np.ndarray
    uv_N2: np.ndarray
    normals_N3: np.ndarray
    triangles_M3: np.ndarray

    def write_obj(self, path: Path) -> None:
        """Write the mesh."""
        lines = [f'v {x:.6f} {y:.6f} {z:.6f}' for x, y, z in self.points_N3]
        lines += [f'vt {u:.6f} {v:.6f}' for u, v in self.uv_N2]
        lines += [f'vn {x:.6f} {y:.6f} {z:.6f}' for x, y, z in self.normals_N3]
        lines += ['f ' + ' '.join(f'{i}/{i}/{i}' for i in face) for face in self.triangles_M3 + 1]
        path.write_text('\n'.join(lines) + '\n')


def grid(
    origin: np.ndarray,
    edge_u: np.ndarray,
    edge_v: np.ndarray,
    uv_size: tuple[float, float] = (1.0, 1.0),
    cells: int = 1,
) -> Mesh:
    """Return a parallelogram seen from the side of edge_u x edge_v, cut into cells x cells."""
    steps = np.linspace(0.0, 1.0, cells + 1)
    v, u = np.meshgrid(steps, steps, indexing='ij')
    u, v = u.ravel(), v.ravel()
    points = origin + u[:, None] * edge_u + v[:, None] * edge_v
    normal = np.cross(edge_u, edge_v)
    corner = np.arange(cells * (cells + 1)).reshape(cells, cells + 1)[:, :-1].ravel()
    right, up = corner + 1, corner + cells + 1
    triangles = np.concatenate(
        [np.stack([corner, right, up + 1], 1), np.stack([corner, up + 1, up], 1)]
    )
    return Mesh(
        points,
        np.stack([u, v], axis=1) * uv_size,
        np.broadcast_to(normal / np.linalg.norm(normal), points.shape),
        triangles,
    )


def join(*meshes: Mesh) -> Mesh:
    """Return one mesh of several."""
    starts = np.cumsum([0, *(len(mesh.points_N3) for mesh in meshes[:-1])])
    return Mesh(
        np.concatenate([mesh.points_N3 for mesh in meshes]),
        np.concatenate([mesh.uv_N2 for mesh in meshes]),
        np.concatenate([mesh.normals_N3 for mesh in meshes]),
        np.concatenate(
            [mesh.triangles_M3 + start for mesh, start in zip(meshes, starts, strict=True)]
        ),
    )


def box(size_xyz: tuple[float, float, float]) -> Mesh:
    """Return a box that stands on z = 0; all faces show the texture at one scale."""
    sx, sy, sz = size_xyz
    x, y, z = np.diag(size_xyz)
    low = np.array([-sx / 2, -sy / 2, 0.0])
    longest = max(size_xyz)
    faces = (
        (low, x, z, (sx, sz)),
        (low + x, y, z, (sy, sz)),
        (low + x + y, -x, z, (sx, sz)),
        (low + y, -y, z, (sy, sz)),
        (low + z, x, y, (sx, sy)),
        (low + y, x, -y, (sx, sy)),
    )
    return join(
        *(grid(o, u, v, (size[0] / longest, size[1] / longest)) for o, u, v, size in faces)
    )


def cylinder(radius: float, height: float, top_radius: float | None = None) -> Mesh:
    """Return a closed cylinder or cone stump that stands on z = 0."""
    return _lathe([(0.0, 0.0), (radius, 0.0), (top_radius or radius, height), (0.0, height)])


def ball(radius: float, height: float) -> Mesh:
    """Return an ellipsoid of this horizontal radius and height that stands on z = 0."""
    angles = np.linspace(-math.pi / 2, math.pi / 2, 13)
    return _lathe(
        [(radius * math.cos(a), height / 2 * (1.0 + math.sin(a))) for a in angles], smooth=True
    )


def _lathe(profile: list[tuple[float, float]], smooth: bool = False, sides: int = 24) -> Mesh:
    """Return a profile of (radius, z), bottom to top, turned about z."""
    turns = np.linspace(0.0, 2.0 * math.pi, sides + 1)
    ring = np.stack([np.cos(turns), np.sin(turns), np.zeros_like(turns)], axis=1)
    up = np.array([0.0, 0.0, 1.0])
    lengths = [math.dist(a, b) for a, b in zip(profile, profile[1:], strict=False)]
    heights = np.cumsum([0.0, *lengths]) / sum(lengths)
    middle = np.mean([z for _, z in profile])
    bands = []
    for i, ((r0, z0), (r1, z1)) in enumerate(zip(profile, profile[1:], strict=False)):
        points = np.concatenate([r0 * ring + z0 * up, r1 * ring + z1 * up])
        flat = np.tile((z1 - z0) * ring + (r0 - r1) * up, (2, 1))
        normals = points - middle * up if smooth else flat
        u = np.tile(turns / (2.0 * math.pi), 2)
        v = np.repeat(heights[i : i + 2], sides + 1)
        low = np.arange(sides)
        high = low + sides + 1
        triangles = np.concatenate(
            [np.stack([low, low + 1, high + 1], 1), np.stack([low, high + 1, high], 1)]
        )
        normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        bands.append(Mesh(points, np.stack([u, v], axis=1), normals, triangles))
    return join(*bands)
