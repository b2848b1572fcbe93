"""What a user has without posefield: SIFT points of posed photos and pycolmap's robust pose.

An independent implementation to measure against: OpenCV finds root-SIFT keypoints, tracks are
matched by brute force and checked by the known poses, pycolmap triangulates them and estimates
the pose of a query.  Nothing here is part of posefield.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pycolmap

KEYPOINTS = 3000
PAIR_RATIO, QUERY_RATIO = 0.8, 0.9
EPIPOLAR_PX = 2.0
MAX_ERROR_PX = 4.0
MIN_INLIERS = 6
NEIGHBOURS = 20


@dataclass(frozen=True)
class PosedPhoto:
    """A pinhole photo, (H, W, 3) uint8 RGB, with its (3, 3) intrinsics and (4, 4) pose."""

    image_u8: np.ndarray
    K_33: np.ndarray
    T_map_cam: np.ndarray


@dataclass(frozen=True)
class _Features:
    pixels_N2: np.ndarray
    descriptors_N128: np.ndarray


class SiftPeer:
    """A map of triangulated SIFT points."""

    def __init__(self, photos: Sequence[PosedPhoto]):
        self._photos = photos
        self._features = [_detect(photo.image_u8) for photo in photos]
        tracks = self._tracks()
        self.points_N3, self._descriptors_M128, self._point_of_M = self._triangulated(tracks)

    def localize(self, image_u8: np.ndarray, K_33: np.ndarray) -> np.ndarray | None:
        """Return T_map_cam (4, 4) of a pinhole image, or None where no pose is found."""
        features = _detect(image_u8)
        pixels, points = self._match(features)
        if len(pixels) < MIN_INLIERS:
            return None
        options = pycolmap.AbsolutePoseEstimationOptions()
        options.ransac.max_error = MAX_ERROR_PX
        options.ransac.random_seed = 0
        found = pycolmap.estimate_and_refine_absolute_pose(
            _colmap_pixels(pixels), points, _colmap_camera(image_u8, K_33), options
        )
        if found is None or found['num_inliers'] < MIN_INLIERS:
            return None
        T_cam_map = np.eye(4)
        T_cam_map[:3] = found['cam_from_world'].matrix()
        return np.linalg.inv(T_cam_map)

    def _match(self, features: _Features) -> tuple[np.ndarray, np.ndarray]:
        """Return query pixels and map points whose best other point is clearly worse."""
        if len(features.pixels_N2) < 2 or not len(self._descriptors_M128):
            return np.zeros((0, 2)), np.zeros((0, 3))
        similarity = features.descriptors_N128 @ self._descriptors_M128.T
        nearest = similarity.argmax(axis=1)
        rows = np.arange(len(nearest))
        best = similarity[rows, nearest]
        ids = self._point_of_M[nearest]
        similarity[self._point_of_M[None] == ids[:, None]] = -1.0
        second = similarity.max(axis=1)
        good = _distance(best) < QUERY_RATIO * _distance(second)
        return features.pixels_N2[good], self.points_N3[ids[good]]

    def _tracks(self) -> list[list[tuple[int, int]]]:
        """Return observations (photo, keypoint) that pairwise matches join."""
        parent: dict[tuple[int, int], tuple[int, int]] = {}

        def root(node: tuple[int, int]) -> tuple[int, int]:
            parent.setdefault(node, node)
            while parent[node] != node:
                parent[node] = parent[parent[node]]
                node = parent[node]
            return node

        for first, second in self._pairs():
            for i, j in self._pair_matches(first, second):
                parent[root((first, i))] = root((second, j))
        tracks: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for node in list(parent):
            tracks.setdefault(root(node), []).append(node)
        return [track for track in tracks.values() if len({photo for photo, _ in track}) >= 2]

    def _pairs(self) -> list[tuple[int, int]]:
        centres = np.stack([photo.T_map_cam[:3, 3] for photo in self._photos])
        axes = np.stack([photo.T_map_cam[:3, 2] for photo in self._photos])
        spread = max(float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).mean()), 1e-9)
        distance = np.linalg.norm(centres[:, None] - centres[None], axis=2) / spread
        cost = distance + 2.0 * (1.0 - axes @ axes.T)
        pairs = set()
        for photo, row in enumerate(cost):
            for other in np.argsort(row, kind='stable')[1 : NEIGHBOURS + 1].tolist():
                pairs.add((min(photo, other), max(photo, other)))
        return sorted(pairs)

    def _pair_matches(self, first: int, second: int) -> list[tuple[int, int]]:
        """Return mutual matches that agree with the known poses."""
        one, two = self._features[first], self._features[second]
        if min(len(one.pixels_N2), len(two.pixels_N2)) < 2:
            return []
        similarity = one.descriptors_N128 @ two.descriptors_N128.T
        two_best = np.sort(np.partition(similarity, -2, axis=1)[:, -2:], axis=1)
        nearest, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
        rows = np.arange(len(nearest))
        good = _distance(two_best[:, 1]) < PAIR_RATIO * _distance(two_best[:, 0])
        good &= back[nearest] == rows
        rows, columns = rows[good], nearest[good]
        errors = _epipolar_px(
            self._photos[first], self._photos[second], one.pixels_N2[rows], two.pixels_N2[columns]
        )
        near = errors < EPIPOLAR_PX
        return list(zip(rows[near].tolist(), columns[near].tolist(), strict=True))

    def _triangulated(self, tracks):
        points, descriptors, ids = [], [], []
        cameras = [_colmap_camera(photo.image_u8, photo.K_33) for photo in self._photos]
        poses = [pycolmap.Rigid3d(np.linalg.inv(photo.T_map_cam)[:3]) for photo in self._photos]
        options = pycolmap.EstimateTriangulationOptions()
        options.min_tri_angle = np.deg2rad(1.5)
        options.residual_type = pycolmap.TriangulationResidualType.REPROJECTION_ERROR
        options.ransac.max_error = EPIPOLAR_PX
        options.ransac.random_seed = 0
        for track in tracks:
            pixels = np.array([self._features[p].pixels_N2[k] for p, k in track])
            found = pycolmap.estimate_triangulation(
                _colmap_pixels(pixels),
                [poses[p] for p, _ in track],
                [cameras[p] for p, _ in track],
                options,
            )
            if found is None:
                continue
            for (photo, keypoint), is_inlier in zip(track, found['inliers'], strict=True):
                if is_inlier:
                    descriptors.append(self._features[photo].descriptors_N128[keypoint])
                    ids.append(len(points))
            points.append(found['xyz'])
        if not points:
            return np.zeros((0, 3)), np.zeros((0, 128), np.float32), np.zeros(0, int)
        return np.stack(points), np.stack(descriptors), np.array(ids)


def _detect(image_u8: np.ndarray) -> _Features:
    """Return root-SIFT keypoints; pixel (0, 0) is the middle of the first pixel.

    The contrast is stretched first: the thresholds of SIFT find nothing in dark images.
    """
    grey = cv2.cvtColor(image_u8, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(grey, [0.5, 99.5])
    grey = np.clip((grey - low) * (255.0 / max(high - low, 1.0)), 0, 255).astype(np.uint8)
    sift = cv2.SIFT_create(KEYPOINTS, enable_precise_upscale=True)
    keypoints, descriptors = sift.detectAndCompute(grey, None)
    if descriptors is None:
        return _Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    unit = descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-9)
    pixels = np.array([keypoint.pt for keypoint in keypoints], dtype=np.float64)
    return _Features(pixels, np.sqrt(unit).astype(np.float32))


def _distance(similarity: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(2.0 - 2.0 * similarity, 1e-12))


def _colmap_pixels(pixels_N2: np.ndarray) -> np.ndarray:
    """Return pixels as COLMAP counts them: the middle of the first pixel is (0.5, 0.5)."""
    return pixels_N2 + 0.5


def _colmap_camera(image_u8: np.ndarray, K_33: np.ndarray) -> pycolmap.Camera:
    height, width = image_u8.shape[:2]
    parameters = [K_33[0, 0], K_33[1, 1], K_33[0, 2] + 0.5, K_33[1, 2] + 0.5]
    return pycolmap.Camera(model='PINHOLE', width=width, height=height, params=parameters)


def _epipolar_px(one: PosedPhoto, two: PosedPhoto, pixels_one, pixels_two) -> np.ndarray:
    """Return the larger distance of each match from the epipolar line in either image."""
    T = np.linalg.inv(two.T_map_cam) @ one.T_map_cam
    t = T[:3, 3]
    cross = np.array([[0.0, -t[2], t[1]], [t[2], 0.0, -t[0]], [-t[1], t[0], 0.0]])
    F = np.linalg.inv(two.K_33).T @ cross @ T[:3, :3] @ np.linalg.inv(one.K_33)
    x = np.column_stack([pixels_one, np.ones(len(pixels_one))])
    y = np.column_stack([pixels_two, np.ones(len(pixels_two))])
    lines_two, lines_one = x @ F.T, y @ F
    value = np.abs((y * lines_two).sum(axis=1))
    norm_two = np.linalg.norm(lines_two[:, :2], axis=1)
    norm_one = np.linalg.norm(lines_one[:, :2], axis=1)
    return value / np.maximum(np.minimum(norm_one, norm_two), 1e-12)
