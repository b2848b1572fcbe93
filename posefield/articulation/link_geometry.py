"""What a link looks like: its ellipsoids and, where one was learned, its surface."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from posefield.articulation.kinematics import Skeleton
from posefield.errors import ArticulationError
from posefield.geometry.poses import as_rigid, invert

# Signed distances (N,), or RGB colours (N, 3) in [0, 1], of points (N, 3) in the link's frame.
PointFunction = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Ellipsoid:
    """The ellipsoid of one part.

    Attributes:
        radii_3: semi-axes along its own axes, unit of length of the link.
        T_link_part: (4, 4), its axes and centre in the link's frame.
        colour_3: RGB in [0, 1].
    """

    radii_3: np.ndarray
    T_link_part: np.ndarray
    colour_3: np.ndarray

    def __post_init__(self):
        radii = np.asarray(self.radii_3, dtype=np.float64)
        if radii.shape != (3,) or not (np.isfinite(radii).all() and (radii > 0).all()):
            raise ArticulationError(
                f'The radii of an ellipsoid must be 3 positive numbers, found {radii.tolist()}.'
            )
        object.__setattr__(self, 'radii_3', radii)
        object.__setattr__(self, 'T_link_part', as_rigid(self.T_link_part, 'T_link_part'))
        object.__setattr__(self, 'colour_3', np.asarray(self.colour_3, dtype=np.float64))

    @property
    def half_extent_3(self) -> np.ndarray:
        """Half sides of its bounding box along the link's axes."""
        return np.linalg.norm(self.T_link_part[:3, :3] * self.radii_3, axis=1)

    def distances(self, points_N3: np.ndarray) -> np.ndarray:
        """Return (N,) first-order signed distances: the exact zero set, about the right slope."""
        R, t = self.T_link_part[:3, :3], self.T_link_part[:3, 3]
        unit_N3 = (points_N3 - t) @ R / self.radii_3
        norms_N = np.linalg.norm(unit_N3, axis=1)
        slopes_N = np.linalg.norm(unit_N3 / self.radii_3, axis=1)
        deepest = -self.radii_3.min()
        distances_N = np.full(len(points_N3), deepest)
        np.divide(norms_N * (norms_N - 1.0), slopes_N, out=distances_N, where=slopes_N > 0)
        return np.maximum(distances_N, deepest)


@dataclass(frozen=True)
class LinkSurface:
    """A learned surface around a link's ellipsoids, in the link's frame.

    Attributes:
        distances: signed distance of points (N, 3), negative inside.
        colours: colour of points (N, 3).
        margin: how far the surface may lie outside of the ellipsoids.
    """

    distances: PointFunction
    colours: PointFunction
    margin: float


@dataclass(frozen=True)
class LinkGeometry:
    """The geometry of one link, in the link's frame; a massless link has no ellipsoids."""

    ellipsoids: tuple[Ellipsoid, ...]
    surface: LinkSurface | None = None

    def bounds_23(self) -> np.ndarray:
        """Return the corners of a box around everything that belongs to the link."""
        centres = np.array([item.T_link_part[:3, 3] for item in self.ellipsoids])
        halves = np.array([item.half_extent_3 for item in self.ellipsoids])
        margin = self.surface.margin if self.surface else 0.0
        return np.stack([(centres - halves).min(0) - margin, (centres + halves).max(0) + margin])

    def ellipsoid_surface(self) -> LinkSurface:
        """Return the union of the ellipsoids as a surface, coloured by the nearest."""

        def distances_EN(points_N3: np.ndarray) -> np.ndarray:
            return np.stack([item.distances(points_N3) for item in self.ellipsoids])

        palette_E3 = np.array([item.colour_3 for item in self.ellipsoids])
        return LinkSurface(
            lambda points_N3: distances_EN(points_N3).min(0),
            lambda points_N3: palette_E3[distances_EN(points_N3).argmin(0)],
            0.0,
        )

    def scaled(self, factor: float) -> 'LinkGeometry':
        """Return the geometry with all lengths times a factor."""
        ellipsoids = tuple(_scaled_ellipsoid(item, factor) for item in self.ellipsoids)
        if self.surface is None:
            return LinkGeometry(ellipsoids)
        before = self.surface
        after = LinkSurface(
            lambda points_N3: factor * before.distances(points_N3 / factor),
            lambda points_N3: before.colours(points_N3 / factor),
            factor * before.margin,
        )
        return LinkGeometry(ellipsoids, after)


def link_geometries(
    skeleton: Skeleton,
    radii_P3: np.ndarray,
    T_link_part_P44: np.ndarray,
    colours_P3: np.ndarray,
    surface: Callable[[tuple[int, ...]], LinkSurface] | None = None,
) -> dict[str, LinkGeometry]:
    """Return the geometry of every link of a skeleton, by name.

    Args:
        skeleton: says which parts belong to which link.
        radii_P3: of the parts' ellipsoids, unit of length of the skeleton.
        T_link_part_P44: pose of every part in the frame of its link.
        colours_P3: RGB in [0, 1].
        surface: gives the surface of the parts of a link, in the frame of the first of them;
            without it the ellipsoids are the surface.

    Raises:
        ArticulationError: when a link has a part that there is not.
    """
    geometries = {}
    for link in skeleton.links:
        absent = [part for part in link.parts if not 0 <= part < len(radii_P3)]
        if absent:
            raise ArticulationError(
                f'Link {link.name!r} has part {absent[0]}, expected 0 to {len(radii_P3) - 1}.'
            )
        ellipsoids = tuple(
            Ellipsoid(radii_P3[part], T_link_part_P44[part], colours_P3[part])
            for part in link.parts
        )
        own = None
        if surface is not None and link.parts:
            own = _moved(surface(link.parts), T_link_part_P44[link.parts[0]])
        geometries[link.name] = LinkGeometry(ellipsoids, own)
    return geometries


def _scaled_ellipsoid(ellipsoid: Ellipsoid, factor: float) -> Ellipsoid:
    T = ellipsoid.T_link_part.copy()
    T[:3, 3] *= factor
    return replace(ellipsoid, radii_3=ellipsoid.radii_3 * factor, T_link_part=T)


def _moved(surface: LinkSurface, T_link_part: np.ndarray) -> LinkSurface:
    """Return a surface given in the frame of a part as one in the frame of its link."""
    T_part_link = invert(T_link_part)

    def to_part(points_N3: np.ndarray) -> np.ndarray:
        return points_N3 @ T_part_link[:3, :3].T + T_part_link[:3, 3]

    return LinkSurface(
        lambda points_N3: surface.distances(to_part(points_N3)),
        lambda points_N3: surface.colours(to_part(points_N3)),
        surface.margin,
    )
