"""The sparse half of a map: keypoints of the training photos triangulated with known poses."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from posefield.features.sift import Keypoints, match_mutual, root_normalised
from posefield.fields.scene_transform import SceneTransform, scene_scale
from posefield.geometry.poses import invert, skew
from posefield.relocalization.sparse_pose import SparseIndex, mean_descriptors
from posefield.relocalization.triangulation import Observations, Triangulation, View, triangulate

MIN_POINTS_FOR_DISTANCE = 50


@dataclass(frozen=True)
class SparseMapConfig:
    """How keypoints become map points.

    Attributes:
        neighbours: photos that each photo is matched with.
        max_ratio: Lowe's ratio for matching photos.
        max_epipolar_px: largest symmetric distance to the epipolar line.
        max_reprojection_px: observations further off are dropped.
        min_angle_deg: smallest angle between two rays of a point.
        max_relative_sigma: largest depth uncertainty of a point, relative to its distance.
    """

    neighbours: int = 12
    max_ratio: float = 0.85
    max_epipolar_px: float = 3.0
    max_reprojection_px: float = 2.5
    min_angle_deg: float = 1.0
    max_relative_sigma: float = 0.05


@dataclass(frozen=True)
class SparseMap:
    """Map points and the descriptors that find them again.

    Attributes:
        points_N3: positions in the map frame.
        sigmas_N: standard deviation along the worst direction, map units.
        descriptors_M128: uint8, one row per observation.
        point_of_M: map point of each descriptor.
        frame_of_M: keyframe index of each descriptor.
        pixels_M2: where the keyframe saw it, pixels of the sparse working size.
    """

    points_N3: np.ndarray
    sigmas_N: np.ndarray
    descriptors_M128: np.ndarray
    point_of_M: np.ndarray
    frame_of_M: np.ndarray
    pixels_M2: np.ndarray

    def without_frames(self, frames: frozenset[int], views: list[View]) -> 'SparseMap':
        """Return the map as if some frames had never been, for validation.

        Their observations are dropped, and the points they saw are triangulated from the others.
        """
        observations = Observations(
            self.frame_of_M, self.point_of_M, self.pixels_M2.astype(np.float64)
        )
        others = ~np.isin(self.frame_of_M, sorted(frames))
        touched = np.zeros(len(self.points_N3), dtype=bool)
        touched[self.point_of_M[~others]] = True
        rows = np.nonzero(others)[0]
        observations, rows = _renumbered(observations.kept(others), rows)
        if not len(rows):
            return _empty_map()
        old = np.zeros(int(observations.points_M.max()) + 1, dtype=np.int64)
        old[observations.points_M] = self.point_of_M[rows]
        points, sigmas = self.points_N3[old], self.sigmas_N[old]
        again = np.nonzero(touched[old])[0]
        if len(again):
            number = np.full(len(old), -1)
            number[again] = np.arange(len(again))
            part = observations.kept(number[observations.points_M] >= 0)
            part = Observations(part.frames_M, number[part.points_M], part.pixels_M2)
            result = triangulate(views, part, len(again))
            points, sigmas = points.copy(), sigmas.copy()
            points[again], sigmas[again] = result.points_N3, _worst_sigmas(result)
        return SparseMap(
            points,
            sigmas,
            self.descriptors_M128[rows],
            observations.points_M,
            observations.frames_M,
            self.pixels_M2[rows],
        )


def neighbouring_views(views: list[View], count: int) -> list[tuple[int, int]]:
    """Return pairs (i < j) of views likely to see the same things.

    Half of each view's neighbours are the closest in position and direction, half are spread
    over all views that look at the same region, for wide baselines.
    """
    centres = np.stack([view.T_map_cam[:3, 3] for view in views])
    axes = np.stack([view.T_map_cam[:3, 2] for view in views])
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    scale = np.median(distances) + 1e-12
    angles_deg = np.rad2deg(np.arccos(np.clip(axes @ axes.T, -1.0, 1.0)))
    cost = distances / scale + angles_deg / 30.0
    np.fill_diagonal(cost, np.inf)
    cost[angles_deg > 70.0] = np.inf
    pairs = set()
    for i, row in enumerate(cost):
        order = [j for j in np.argsort(row) if np.isfinite(row[j])]
        near, far = order[: (count + 1) // 2], order[(count + 1) // 2 :]
        stride = max(1, len(far) // max(1, count // 2))
        for j in near + far[::stride][: count // 2]:
            pairs.add((min(i, int(j)), max(i, int(j))))
    return sorted(pairs)


def epipolar_distances_px(
    first: View, second: View, pixels_first_N2: np.ndarray, pixels_second_N2: np.ndarray
) -> np.ndarray:
    """Return each match's larger distance to its epipolar line in the two images."""
    T_second_first = invert(second.T_map_cam) @ first.T_map_cam
    essential = skew(T_second_first[:3, 3]) @ T_second_first[:3, :3]
    fundamental = (
        np.linalg.inv(second.camera.K_33).T @ essential @ np.linalg.inv(first.camera.K_33)
    )
    ones = np.ones((len(pixels_first_N2), 1))
    x1 = np.concatenate([pixels_first_N2, ones], axis=1)
    x2 = np.concatenate([pixels_second_N2, ones], axis=1)
    lines_second, lines_first = x1 @ fundamental.T, x2 @ fundamental
    algebraic = np.abs((x2 * lines_second).sum(axis=1))
    norms = np.minimum(
        np.linalg.norm(lines_second[:, :2], axis=1), np.linalg.norm(lines_first[:, :2], axis=1)
    )
    return algebraic / np.maximum(norms, 1e-12)


def build_sparse_map(
    views: list[View],
    keypoints: list[Keypoints],
    config: SparseMapConfig,
    check_stop: Callable[[], None] = lambda: None,
    report: Callable[[float], None] = lambda fraction: None,
) -> SparseMap:
    """Match neighbouring photos, join matches to tracks and triangulate them.

    Args:
        views: pinhole cameras at the size the keypoints were found in, with poses.
        keypoints: of each view.
    """
    offsets = np.concatenate([[0], np.cumsum([len(k) for k in keypoints])]).astype(np.int64)
    edges = _verified_matches(views, keypoints, offsets, config, check_stop, report)
    observations, rows = _tracks(edges, keypoints, offsets)
    for _ in range(2):
        if not len(observations.frames_M):
            break
        observations, rows, result = _triangulated(views, observations, rows, config)
    if not len(observations.frames_M):
        return _empty_map()
    descriptors = np.concatenate([k.descriptors_N128 for k in keypoints])
    return SparseMap(
        points_N3=result.points_N3,
        sigmas_N=_worst_sigmas(result),
        descriptors_M128=descriptors[rows],
        point_of_M=observations.points_M,
        frame_of_M=observations.frames_M,
        pixels_M2=observations.pixels_M2.astype(np.float32),
    )


def viewing_distance(sparse: SparseMap, views: list[View], T_map_cam_N44: np.ndarray) -> float:
    """Return the median distance at which photos see map points, map units.

    With few points it is the distance to what the cameras look at, which says little where they
    look outwards from one place.
    """
    if len(sparse.points_N3) < MIN_POINTS_FOR_DISTANCE:
        return scene_scale(T_map_cam_N44)
    centres = np.stack([view.T_map_cam[:3, 3] for view in views])
    rays = sparse.points_N3[sparse.point_of_M] - centres[sparse.frame_of_M]
    return float(np.median(np.linalg.norm(rays, axis=1)))


def sparse_index(sparse: SparseMap, transform: SceneTransform) -> SparseIndex:
    """Return the points and mean descriptors of a sparse map, in the field frame."""
    return SparseIndex(
        transform.points_to_field(sparse.points_N3).reshape(-1, 3),
        sparse.sigmas_N * transform.scale,
        mean_descriptors(sparse.descriptors_M128, sparse.point_of_M, len(sparse.points_N3)),
    )


def _worst_sigmas(result: Triangulation) -> np.ndarray:
    return np.sqrt(np.maximum(np.linalg.eigvalsh(result.covariances_N33)[:, 2], 0.0))


def _empty_map() -> SparseMap:
    whole = np.zeros(0, np.int64)
    return SparseMap(
        np.zeros((0, 3)),
        np.zeros(0),
        np.zeros((0, 128), np.uint8),
        whole,
        whole,
        np.zeros((0, 2), np.float32),
    )


def _verified_matches(views, keypoints, offsets, config, check_stop, report) -> np.ndarray:
    """Return edges (E, 2) between global keypoint rows that agree with the known poses."""
    descriptors = [root_normalised(k.descriptors_N128) for k in keypoints]
    edges = [np.zeros((0, 2), dtype=np.int64)]
    pairs = neighbouring_views(views, config.neighbours)
    for number, (i, j) in enumerate(pairs):
        check_stop()
        report((number + 1) / len(pairs))
        matches = match_mutual(descriptors[i], descriptors[j], config.max_ratio)
        distances = epipolar_distances_px(
            views[i],
            views[j],
            keypoints[i].pixels_N2[matches[:, 0]],
            keypoints[j].pixels_N2[matches[:, 1]],
        )
        matches = matches[distances < config.max_epipolar_px]
        edges.append(matches + [offsets[i], offsets[j]])
    return np.concatenate(edges)


def _tracks(edges, keypoints, offsets) -> tuple[Observations, np.ndarray]:
    """Join edges to tracks; a photo counts once per track."""
    total = int(offsets[-1])
    graph = coo_matrix((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), (total, total))
    _, labels = connected_components(graph, directed=False)
    rows = np.unique(edges)
    frames = np.searchsorted(offsets, rows, side='right') - 1
    _, first = np.unique(np.stack([labels[rows], frames], axis=1), axis=0, return_index=True)
    rows, frames = rows[np.sort(first)], frames[np.sort(first)]
    pixels = np.concatenate([k.pixels_N2 for k in keypoints]).astype(np.float64)
    return _renumbered(Observations(frames, labels[rows], pixels[rows]), rows)


def _renumbered(observations: Observations, rows: np.ndarray):
    """Drop points with fewer than two observations and number the rest from 0."""
    _, inverse, counts = np.unique(observations.points_M, return_inverse=True, return_counts=True)
    keep = counts[inverse] >= 2
    observations, rows = observations.kept(keep), rows[keep]
    _, points = np.unique(observations.points_M, return_inverse=True)
    return Observations(observations.frames_M, points, observations.pixels_M2), rows


def _triangulated(views, observations, rows, config):
    """Triangulate, drop bad observations and points, and triangulate what is left."""
    count = int(observations.points_M.max()) + 1
    result = triangulate(views, observations, count)
    good = result.errors_M < config.max_reprojection_px
    centres = np.stack([view.T_map_cam[:3, 3] for view in views])[observations.frames_M]
    rays = result.points_N3[observations.points_M] - centres
    distances = np.linalg.norm(rays, axis=1)
    sigma = _worst_sigmas(result)
    nearest = np.full(count, np.inf)
    np.minimum.at(nearest, observations.points_M, distances)
    wide = _ray_angles_deg(rays, observations.points_M, count) > config.min_angle_deg
    sharp = sigma < config.max_relative_sigma * nearest
    keep = good & (wide & sharp)[observations.points_M]
    observations, rows = _renumbered(observations.kept(keep), rows[keep])
    if not len(observations.frames_M):
        return observations, rows, result
    result = triangulate(views, observations, int(observations.points_M.max()) + 1)
    return observations, rows, result


def _ray_angles_deg(rays_M3, points_M, count) -> np.ndarray:
    """Return each point's angle between its mean ray and the ray furthest from it, doubled."""
    unit = rays_M3 / np.maximum(np.linalg.norm(rays_M3, axis=1, keepdims=True), 1e-12)
    mean = np.zeros((count, 3))
    np.add.at(mean, points_M, unit)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    cosine = (unit * mean[points_M]).sum(axis=1)
    smallest = np.ones(count)
    np.minimum.at(smallest, points_M, cosine)
    return 2.0 * np.rad2deg(np.arccos(np.clip(smallest, -1.0, 1.0)))
