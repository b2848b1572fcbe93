"""The surface of an articulated model as coloured points on its links, for tracking."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from posefield.articulation.meshes import link_mesh
from posefield.articulation.shading import spherical_harmonics
from posefield.errors import ArticulationError

if TYPE_CHECKING:
    from posefield.articulation.articulated_model import ArticulatedModel

# Marching cubes along the longest side of a link, and faces of its mesh at most.
CELLS, MAX_FACES = 32, 8000
LEAST_GAIN = 0.05


@dataclass(frozen=True)
class SurfacePoints:
    """N points spread evenly over the surface, each in the frame of its link, world units.

    Attributes:
        points_N3, normals_N3: places, and unit normals that point outwards.
        albedos_N3: colours before the light.
        links_N: index of the link of every point.
        light_93: irradiance by normal as spherical harmonics; None where colours have no light.
        spacing: side of the square that a point stands for.
    """

    points_N3: np.ndarray
    normals_N3: np.ndarray
    albedos_N3: np.ndarray
    links_N: np.ndarray
    light_93: np.ndarray | None
    spacing: float

    def __len__(self) -> int:
        return len(self.points_N3)

    def posed(self, T_world_link_L44: np.ndarray) -> 'PosedPoints':
        """Return the points where links stand, in the light that stands still."""
        R_N33 = T_world_link_L44[self.links_N, :3, :3].astype(np.float32)
        t_N3 = T_world_link_L44[self.links_N, :3, 3].astype(np.float32)
        points = np.matmul(R_N33, self.points_N3[..., None])[..., 0] + t_N3
        normals = np.matmul(R_N33, self.normals_N3[..., None])[..., 0]
        return PosedPoints(points, normals, self._lit(normals))

    def _lit(self, normals_N3: np.ndarray) -> np.ndarray:
        if self.light_93 is None:
            return self.albedos_N3
        gains = spherical_harmonics(torch.from_numpy(normals_N3)).numpy() @ self.light_93
        return np.clip(self.albedos_N3 * np.maximum(gains, LEAST_GAIN), 0.0, 1.0)

    def thinned(self, count: int) -> 'SurfacePoints':
        """Return about `count` of the points, spread as they are."""
        every = max(1, len(self) // count)
        return SurfacePoints(
            self.points_N3[::every],
            self.normals_N3[::every],
            self.albedos_N3[::every],
            self.links_N[::every],
            self.light_93,
            self.spacing * every**0.5,
        )


@dataclass(frozen=True)
class PosedPoints:
    """Points in the world, float32: places, unit normals and colours (N, 3)."""

    points_N3: np.ndarray
    normals_N3: np.ndarray
    colours_N3: np.ndarray


def surface_points(model: 'ArticulatedModel', count: int) -> SurfacePoints:
    """Spread points over the surface of a model; takes seconds.

    Args:
        model: of at least one link with a surface.
        count: of the points.

    Raises:
        ArticulationError: where no link has a surface.
    """
    geometries = model.geometries()
    meshes = {
        index: link_mesh(link.name, geometries[link.name], CELLS, MAX_FACES)
        for index, link in enumerate(model.structure.links)
        if link.parts
    }
    areas = {index: mesh.to_trimesh().area_faces for index, mesh in meshes.items()}
    total = sum(float(area.sum()) for area in areas.values())
    if not total > 0.0:
        raise ArticulationError('The model has no link with a surface, so it cannot be tracked.')
    generator = np.random.default_rng(0)
    points, normals, colours, links = [], [], [], []
    for index, mesh in meshes.items():
        share = max(1, round(count * float(areas[index].sum()) / total))
        faces, weights = _spread(areas[index], share, generator)
        corners = mesh.faces_F3[faces]
        points.append((weights[..., None] * mesh.vertices_V3[corners]).sum(axis=1))
        smooth = np.asarray(mesh.to_trimesh().vertex_normals)[corners]
        normals.append((weights[..., None] * smooth).sum(axis=1))
        colours.append((weights[..., None] * mesh.colours_V3[corners]).sum(axis=1))
        links.append(np.full(len(faces), index))
    order = generator.permutation(sum(len(one) for one in points))
    all_normals = np.concatenate(normals)[order]
    lengths = np.linalg.norm(all_normals, axis=1, keepdims=True)
    light_93, mean_gain_3 = _light(model)
    return SurfacePoints(
        np.concatenate(points)[order].astype(np.float32),
        (all_normals / np.maximum(lengths, 1e-9)).astype(np.float32),
        (np.concatenate(colours)[order] / mean_gain_3).astype(np.float32),
        np.concatenate(links)[order],
        light_93,
        float(np.sqrt(total / len(order))),
    )


def _spread(
    areas_F: np.ndarray, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return faces (N,) and weights (N, 3) of their corners, evenly by area."""
    ends = areas_F.cumsum()
    places = (np.arange(count) + generator.uniform(size=count)) / count * ends[-1]
    faces = np.searchsorted(ends, places).clip(max=len(areas_F) - 1)
    u, v = np.sqrt(generator.uniform(size=count)), generator.uniform(size=count)
    return faces, np.stack([1.0 - u, u * (1.0 - v), u * v], axis=1)


def _light(model: 'ArticulatedModel') -> tuple[np.ndarray | None, np.ndarray]:
    """Return the light (9, 3), and the gain (3,) that is in the colours of meshes already."""
    shading = model.surface.shading
    if shading is None:
        return None, np.ones(3)
    light = shading.light_93.detach().cpu().numpy().astype(np.float32)
    return light, shading.mean_gain_3.detach().cpu().numpy()
