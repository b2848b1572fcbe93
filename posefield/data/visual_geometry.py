"""The outline of what is drawn of a robot: points whose convex hull holds every link."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.transform import Rotation
import trimesh

from posefield.data.simulated_robot import VisualShape
from posefield.data.tiny_renderer import import_pybullet
from posefield.errors import DataError

SIDES = 48


def outline_points(shapes: Sequence[VisualShape], links: int) -> tuple[np.ndarray, ...]:
    """Return the corners (N, 3) of the convex hull of every link, in its frame.

    A link of which nothing is drawn has none.

    Args:
        shapes: what is drawn.
        links: how many there are.

    Raises:
        DataError: when a mesh cannot be read or a shape is endless, or nothing is drawn at all.
    """
    points: list[list[np.ndarray]] = [[] for _ in range(links)]
    for shape in shapes:
        R = Rotation.from_quat(shape.quat_xyzw).as_matrix()
        points[shape.link].append(_points(shape) @ R.T + shape.position_3)
    if not any(points):
        raise DataError('Nothing is to be seen of the robot: its URDF has no <visual>.')
    return tuple(_hull(np.concatenate(own)) if own else np.empty((0, 3)) for own in points)


def _points(shape: VisualShape) -> np.ndarray:
    bullet = import_pybullet()
    size = shape.size
    if shape.geometry == bullet.GEOM_MESH:
        return _mesh_vertices(Path(shape.mesh_file)) * size
    if shape.geometry == bullet.GEOM_BOX:
        return np.stack(np.meshgrid(*([[-0.5, 0.5]] * 3)), axis=-1).reshape(-1, 3) * size
    if shape.geometry == bullet.GEOM_SPHERE:
        return _ball(size[0])
    if shape.geometry == bullet.GEOM_CYLINDER:
        length, radius, _ = size
        ends = np.array([[0.0, 0.0, -length / 2], [0.0, 0.0, length / 2]])
        ring = _ball(radius)
        flat = ring[np.isclose(ring[:, 2], 0.0)]
        return (flat[:, None] + ends).reshape(-1, 3)
    if shape.geometry == bullet.GEOM_CAPSULE:
        length, radius, _ = size
        ends = np.array([[0.0, 0.0, -length / 2], [0.0, 0.0, length / 2]])
        return (_ball(radius)[:, None] + ends).reshape(-1, 3)
    raise DataError('The robot has a plane among its visuals, expected shapes of some size.')


def _ball(radius: float) -> np.ndarray:
    """Return points of a sphere, among them a ring at height 0."""
    across, up = np.meshgrid(
        np.linspace(0.0, 2.0 * np.pi, SIDES, endpoint=False),
        np.linspace(-np.pi / 2, np.pi / 2, SIDES // 2 + 1),
    )
    unit = np.stack([np.cos(up) * np.cos(across), np.cos(up) * np.sin(across), np.sin(up)], -1)
    return radius * unit.reshape(-1, 3)


def _mesh_vertices(path: Path) -> np.ndarray:
    try:
        mesh = trimesh.load(path, force='mesh', process=False)
    except (OSError, ValueError, ImportError, KeyError, IndexError) as error:
        raise DataError(f'The mesh {path} cannot be read: {error}.') from error
    if not len(mesh.vertices):
        raise DataError(f'The mesh {path} has no vertices.')
    return np.asarray(mesh.vertices, dtype=np.float64)


def _hull(points_N3: np.ndarray) -> np.ndarray:
    """Return the points at corners of the convex hull, or all where they are in one plane."""
    try:
        return points_N3[ConvexHull(points_N3).vertices]
    except QhullError:
        return points_N3
