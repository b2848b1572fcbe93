"""Where parts start: ellipsoids that fill the visual hull of one frame."""

from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2

from posefield.articulation.fitting_data import FittingPixels
from posefield.data.rig_camera import OBJECT, UNRELIABLE
from posefield.errors import DataError

# The scene is the unit ball; what is carved is a little more.
HALF_WIDTH = 1.1
KMEANS_TRIES = 3
KMEANS_ROUNDS = 30


@dataclass(frozen=True)
class Seeds:
    """P ellipsoids in the scene frame.

    Attributes:
        R_P33, t_P3: poses.
        radii_P3: semi-axes.
        colours_P3: RGB in [0, 1].
    """

    R_P33: np.ndarray
    t_P3: np.ndarray
    radii_P3: np.ndarray
    colours_P3: np.ndarray


def carve(pixels: FittingPixels, frame: int, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (N, 3) that all masks of a frame contain, and their mean colours (N, 3).

    Pixels that are unreliable do not carve.
    """
    line = (np.arange(resolution) + 0.5) / resolution * 2 * HALF_WIDTH - HALF_WIDTH
    points = np.stack(np.meshgrid(line, line, line, indexing='ij'), axis=-1).reshape(-1, 3)
    colours = np.zeros_like(points)
    for view in range(pixels.views):
        seen, where = _look(pixels, view, points)
        masks = pixels.masks_VFHW[view, frame].reshape(-1)
        kept = seen & np.isin(masks[where], (OBJECT, UNRELIABLE))
        shades = pixels.image_of(view, frame)[where]
        points, colours = points[kept], (colours + shades)[kept]
    return points, colours / pixels.views


def hull_volumes(pixels: FittingPixels, resolution: int = 32) -> np.ndarray:
    """Return the volume of every frame's hull (F,); small ones have few phantom parts."""
    counts = [len(carve(pixels, frame, resolution)[0]) for frame in range(pixels.frames)]
    return np.array(counts) * (2 * HALF_WIDTH / resolution) ** 3


def seed_parts(
    pixels: FittingPixels,
    frame: int,
    parts: int,
    generator: np.random.Generator,
    *,
    resolution: int = 72,
    colour_weight: float = 0.3,
    least_radius: float = 0.012,
) -> Seeds:
    """Fill the hull of a frame with ellipsoids, by k-means over places and colours.

    Args:
        pixels: the images.
        frame: which one.
        parts: how many ellipsoids.
        generator: of the first means.
        resolution: voxels along the scene.
        colour_weight: scene units that a difference of 1 in a colour counts for.
        least_radius: of an ellipsoid.

    Raises:
        DataError: when the masks of the frame do not meet in space.
    """
    points, colours = carve(pixels, frame, resolution)
    if len(points) < parts:
        raise DataError(
            f'The masks of frame {frame} meet in {len(points)} of {resolution}^3 voxels, expected '
            f'at least {parts}: is the object out of view, or are the cameras not calibrated?'
        )
    features = np.concatenate([points, colour_weight * colours], axis=1)
    labels = _cluster(features, parts, generator)
    rotations, centres, radii, shades = [], [], [], []
    for part in range(parts):
        mine = labels == part
        if mine.sum() < 4:
            mine = generator.integers(len(points), size=8)
        variances, axes = np.linalg.eigh(np.cov(points[mine].T) + 1e-5 * np.eye(3))
        axes[:, 0] *= np.linalg.det(axes)
        rotations.append(axes)
        centres.append(points[mine].mean(axis=0))
        # A solid ellipsoid has variance r^2 / 5; a little less leaves room between parts.
        radii.append(np.maximum(0.85 * np.sqrt(5 * variances), least_radius))
        shades.append(colours[mine].mean(axis=0))
    return Seeds(*(np.array(values) for values in (rotations, centres, radii, shades)))


def _look(
    pixels: FittingPixels, view: int, points_N3: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether points are in an image, and the index of their pixel (0 where not)."""
    height, width = pixels.masks_VFHW.shape[2:]
    T = pixels.T_scene_cam_V44[view].cpu().double().numpy()
    in_camera = (points_N3 - T[:3, 3]) @ T[:3, :3]
    depths = np.maximum(in_camera[:, 2:], 1e-6)
    corner = pixels.rays_VN2[view, 0].cpu().double().numpy()
    opposite = pixels.rays_VN2[view, -1].cpu().double().numpy()
    steps = (opposite - corner) / [width - 1, height - 1]
    places = np.round((in_camera[:, :2] / depths - corner) / steps).astype(int)
    inside = (in_camera[:, 2] > 0) & (places >= 0).all(axis=1) & (places < [width, height]).all(1)
    return inside, np.where(inside, places[:, 1] * width + places[:, 0], 0)


def _cluster(features_ND: np.ndarray, parts: int, generator: np.random.Generator) -> np.ndarray:
    best, best_cost = None, np.inf
    for _ in range(KMEANS_TRIES):
        seed = int(generator.integers(2**31))
        means, labels = kmeans2(
            features_ND, parts, minit='++', seed=seed, iter=KMEANS_ROUNDS, missing='warn'
        )
        cost = ((features_ND - means[labels]) ** 2).sum()
        if best is None or cost < best_cost:
            best, best_cost = labels, cost
    return best
