"""Pictures of meshes with coloured vertices, on the CPU."""

from dataclasses import dataclass

import numpy as np

from posefield.geometry.camera import Camera

# Distance between the points that stand for a triangle, pixels, and how many along a side at most.
SPACING = 0.7
MOST_ALONG = 128
# A point fills its pixel, so a pixel is drawn as this many times as many, of which the middle one
# is kept: an odd number.
FINER = 3
# Nearer to the camera than this nothing is drawn, as a share of the depth of what is drawn.
NEAR_SHARE = 1e-3


@dataclass(frozen=True)
class MeshRender:
    """What a camera sees of a mesh; it has no parts.

    Attributes:
        colours_HW3: RGB over the background.
        opacities_HW: 0 or 1.
        depths_HW: along the optical axis; infinite where nothing is.
        parts_HW: -1 everywhere.
    """

    colours_HW3: np.ndarray
    opacities_HW: np.ndarray
    depths_HW: np.ndarray
    parts_HW: np.ndarray


def paint_mesh(
    camera: Camera,
    T_world_cam: np.ndarray,
    vertices_V3: np.ndarray,
    faces_M3: np.ndarray,
    colours_V3: np.ndarray,
    background: float,
) -> MeshRender:
    """Draw a mesh by points on its triangles, less than a pixel apart, the nearest on top.

    Args:
        camera: a pinhole.
        T_world_cam: (4, 4).
        vertices_V3: in the world.
        faces_M3: indices of vertices.
        colours_V3: RGB of the vertices.
        background: level of all colours where nothing is.
    """
    fine = camera.resized(FINER * camera.width, FINER * camera.height)
    inverse = np.linalg.inv(T_world_cam)
    seen_V3 = vertices_V3 @ inverse[:3, :3].T + inverse[:3, 3]
    near = NEAR_SHARE * max(float(np.abs(seen_V3[:, 2]).max()), 1e-12)
    faces = faces_M3[(seen_V3[faces_M3, 2] > near).all(axis=1)]
    pixels_V2 = fine.project(seen_V3)[0]
    points, colours = _points_of(seen_V3, colours_V3, pixels_V2, faces)
    size = (fine.height, fine.width)
    image = np.full((*size, 3), background, dtype=np.float64)
    depths = np.full(size, np.inf)
    pixels, inside = fine.project(points)
    x, y = np.round(pixels[inside]).astype(np.int64).T
    x, y = np.clip(x, 0, fine.width - 1), np.clip(y, 0, fine.height - 1)
    # Of points in one pixel the last that is written stays: the nearest.
    order = np.argsort(-points[inside, 2], kind='stable')
    image[y[order], x[order]] = colours[inside][order]
    depths[y[order], x[order]] = points[inside, 2][order]
    middle = (slice(FINER // 2, None, FINER),) * 2
    image, depths = image[middle], depths[middle]
    opacities = np.isfinite(depths).astype(np.float64)
    return MeshRender(image, opacities, depths, np.full(depths.shape, -1))


def _points_of(
    seen_V3: np.ndarray, colours_V3: np.ndarray, pixels_V2: np.ndarray, faces_M3: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return points on all triangles and their colours, (N, 3) each."""
    corners = pixels_V2[faces_M3]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    steps_M = np.clip(np.ceil(sides / SPACING), 1, MOST_ALONG).astype(int)
    points, colours = [np.zeros((0, 3))], [np.zeros((0, 3))]
    for steps in np.unique(steps_M):
        weights_K3 = _barycentric(int(steps))
        chosen = faces_M3[steps_M == steps]
        points.append(np.einsum('kc,mcd->mkd', weights_K3, seen_V3[chosen]).reshape(-1, 3))
        colours.append(np.einsum('kc,mcd->mkd', weights_K3, colours_V3[chosen]).reshape(-1, 3))
    return np.concatenate(points), np.concatenate(colours)


def _barycentric(steps: int) -> np.ndarray:
    """Return the weights (K, 3) of points that divide every side of a triangle into steps."""
    i, j = np.mgrid[: steps + 1, : steps + 1]
    inside = i + j <= steps
    first, second = i[inside] / steps, j[inside] / steps
    return np.stack([first, second, 1.0 - first - second], axis=1)
