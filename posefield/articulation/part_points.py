"""Points on the surface of a learned model, each on one part, to be shown as a cloud."""

from dataclasses import dataclass
import math

import numpy as np

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.link_geometry import Ellipsoid, LinkGeometry

# How often points step towards the surface by its distance, which is only about right.
STEPS = 4


@dataclass(frozen=True, eq=False)
class PartPoints:
    """Points that move with the parts.

    Attributes:
        points_N3: in the frame of the link of their part, world units.
        colours_N3: RGB in [0, 1].
        parts_N: index of the part that each lies on.
        links_N: index of the link of that part.
    """

    points_N3: np.ndarray
    colours_N3: np.ndarray
    parts_N: np.ndarray
    links_N: np.ndarray

    def placed(self, T_world_link_L44: np.ndarray) -> np.ndarray:
        """Return the points (N, 3) in the world, links being at these poses."""
        T_N44 = T_world_link_L44[self.links_N]
        return np.einsum('nij,nj->ni', T_N44[:, :3, :3], self.points_N3) + T_N44[:, :3, 3]


def part_points(model: ArticulatedModel, per_part: int) -> PartPoints:
    """Spread points over the parts of a model.

    Points of a part that lie inside another part of its link are left out, so that there are at
    most `per_part` of each.

    Args:
        model: whose surface.
        per_part: points on each part.
    """
    geometries = model.geometries()
    points, colours, parts, links = [], [], [], []
    for index, link in enumerate(model.structure.links):
        geometry = geometries[link.name]
        for place, part in enumerate(link.parts):
            found = _surface_points(geometry, place, per_part)
            points.append(found)
            colours.append(_colours(geometry, found))
            parts.append(np.full(len(found), part))
            links.append(np.full(len(found), index))
    return PartPoints(
        np.concatenate(points),
        np.concatenate(colours),
        np.concatenate(parts),
        np.concatenate(links),
    )


def unit_sphere_points(count: int) -> np.ndarray:
    """Return points (count, 3) spread evenly over the unit sphere (a Fibonacci spiral)."""
    steps = np.arange(count) + 0.5
    heights = 1.0 - 2.0 * steps / count
    turns = math.pi * (1.0 + math.sqrt(5.0)) * steps
    rings = np.sqrt(1.0 - heights**2)
    return np.stack([rings * np.cos(turns), rings * np.sin(turns), heights], axis=1)


def _surface_points(geometry: LinkGeometry, place: int, count: int) -> np.ndarray:
    """Return points (N, 3) near one ellipsoid on the surface of its link, in the link's frame."""
    ellipsoid = geometry.ellipsoids[place]
    unit_N3 = unit_sphere_points(count)
    R, t = ellipsoid.T_link_part[:3, :3], ellipsoid.T_link_part[:3, 3]
    points_N3 = (unit_N3 * ellipsoid.radii_3) @ R.T + t
    normals_N3 = (unit_N3 / ellipsoid.radii_3) @ R.T
    normals_N3 /= np.linalg.norm(normals_N3, axis=1, keepdims=True)
    others = [other for index, other in enumerate(geometry.ellipsoids) if index != place]
    outside_N = _outside_of(others, points_N3)
    points_N3, normals_N3 = points_N3[outside_N], normals_N3[outside_N]
    surface = geometry.surface
    if surface is None or not len(points_N3):
        return points_N3
    for _ in range(STEPS):
        steps_N = np.clip(surface.distances(points_N3), -surface.margin, surface.margin)
        points_N3 = points_N3 - steps_N[:, None] * normals_N3
    return points_N3


def _outside_of(ellipsoids: list[Ellipsoid], points_N3: np.ndarray) -> np.ndarray:
    outside_N = np.ones(len(points_N3), dtype=bool)
    for ellipsoid in ellipsoids:
        outside_N &= ellipsoid.distances(points_N3) >= 0
    return outside_N


def _colours(geometry: LinkGeometry, points_N3: np.ndarray) -> np.ndarray:
    surface = geometry.surface or geometry.ellipsoid_surface()
    if not len(points_N3):
        return np.zeros((0, 3))
    return np.asarray(surface.colours(points_N3), dtype=np.float64).clip(0.0, 1.0)
