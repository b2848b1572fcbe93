"""The sparse rung: a camera pose from keypoints matched to map points."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation
import torch

from posefield.features.sift import Keypoints, root_normalised
from posefield.geometry.camera import Camera

# Median of the sum of two squared standard normal numbers.
MEDIAN_CHI_SQUARED = 1.386
# Range of the variance of the residuals that is believed, relative to what is expected.
MIN_NOISE, MAX_NOISE = 1e-3, 4.0


@dataclass(frozen=True)
class SparsePoseConfig:
    """How keypoints give a pose.

    Attributes:
        max_ratio: Lowe's ratio of the best to the second best map point.
        max_error_px: inlier threshold of the robust search.
        min_inliers: fewer give no pose.
        pixel_sigma: noise of a keypoint, to begin with; each image's own residuals correct it.
    """

    max_ratio: float = 0.9
    max_error_px: float = 6.0
    min_inliers: int = 12
    pixel_sigma: float = 1.0


@dataclass(frozen=True)
class PointMatches:
    """Query pixels paired with map points.

    Attributes:
        pixels_K2: in the query.
        points_K3: map frame.
        point_sigmas_K: uncertainty of the points, map units.
    """

    pixels_K2: np.ndarray
    points_K3: np.ndarray
    point_sigmas_K: np.ndarray


@dataclass(frozen=True)
class SparsePose:
    """A pose from matches.

    Attributes:
        T_cam_map: (4, 4).
        information_66: inverse covariance of the camera-frame twist (v, w) for the residuals
            that were found.
        matches: all that were tried.
        inliers: how many agree with the pose.
    """

    T_cam_map: np.ndarray
    information_66: np.ndarray
    matches: PointMatches
    inliers: int


@dataclass(frozen=True)
class SparseIndex:
    """Map points and one mean root-SIFT descriptor each, as a map keeps them.

    Attributes:
        points_N3: in the frame that poses are wanted in.
        sigmas_N: uncertainty of the points, same units.
        descriptors_N128: float32 of unit length.
    """

    points_N3: np.ndarray
    sigmas_N: np.ndarray
    descriptors_N128: torch.Tensor

    def __len__(self) -> int:
        return len(self.points_N3)

    def match(self, keypoints: Keypoints, max_ratio: float) -> PointMatches:
        """Return the matches that pass the ratio test, each map point at most once.

        They are ordered from the surest to the least sure.
        """
        if len(keypoints) < 2 or len(self) < 2:
            return _no_matches()
        similarity = root_normalised(keypoints.descriptors_N128) @ self.descriptors_N128.T
        best, nearest = similarity.topk(2, dim=1)
        distance = (2.0 - 2.0 * best).clamp(min=1e-12).sqrt()
        ratios = (distance[:, 0] / distance[:, 1]).numpy()
        ids = nearest[:, 0].numpy()
        order = np.argsort(ratios, kind='stable')
        order = order[ratios[order] < max_ratio]
        _, first = np.unique(ids[order], return_index=True)
        rows = order[np.sort(first)]
        return PointMatches(
            keypoints.pixels_N2[rows].astype(np.float64),
            self.points_N3[ids[rows]],
            self.sigmas_N[ids[rows]],
        )


def mean_descriptors(
    descriptors_M128: np.ndarray, point_of_M: np.ndarray, num_points: int
) -> torch.Tensor:
    """Return the mean root-SIFT descriptor (N, 128), unit length, of each point."""
    sums = torch.zeros(num_points, 128)
    sums.index_add_(0, torch.as_tensor(point_of_M), root_normalised(descriptors_M128))
    return torch.nn.functional.normalize(sums, dim=1)


def _no_matches() -> PointMatches:
    return PointMatches(np.zeros((0, 2)), np.zeros((0, 3)), np.zeros(0))


def solve_sparse_pose(
    matches: PointMatches, camera: Camera, config: SparsePoseConfig, seed: int = 0
) -> SparsePose | None:
    """Return the pose that most matches agree with, refined, or None.

    Robust search by USAC MAGSAC over P3P, then Cauchy-weighted Gauss-Newton on the
    reprojection error with each point's own uncertainty.

    Args:
        matches: pixels in the images of `camera`.
        camera: a pinhole.
    """
    if len(matches.pixels_K2) < config.min_inliers:
        return None
    parameters = cv2.UsacParams()
    parameters.score = cv2.SCORE_METHOD_MAGSAC
    parameters.sampler = cv2.SAMPLING_PROSAC
    parameters.loMethod = cv2.LOCAL_OPTIM_SIGMA
    parameters.threshold = config.max_error_px
    parameters.confidence = 0.9999
    parameters.maxIterations = 5000
    parameters.randomGeneratorState = seed
    parameters.isParallel = False
    try:
        found, _, rotvec, translation, _ = cv2.solvePnPRansac(
            matches.points_K3, matches.pixels_K2, camera.K_33, np.zeros(4), params=parameters
        )
    except cv2.error:  # too few distinct points for the minimal solver
        return None
    if not found or not np.isfinite(rotvec).all():
        return None
    T_cam_map = np.eye(4)
    T_cam_map[:3, :3] = Rotation.from_rotvec(rotvec[:, 0]).as_matrix()
    T_cam_map[:3, 3] = translation[:, 0]
    return refine_sparse_pose(T_cam_map, matches, camera, config)


def refine_sparse_pose(
    T_cam_map: np.ndarray,
    matches: PointMatches,
    camera: Camera,
    config: SparsePoseConfig,
    steps: int = 12,
) -> SparsePose | None:
    """Return the robust least-squares pose near a start, or None without enough inliers."""
    for _ in range(steps):
        residuals, J, weights, _, _ = _linearised(T_cam_map, matches, camera, config)
        H = np.einsum('kai,k,kaj->ij', J, weights, J)
        g = np.einsum('kai,k,ka->i', J, weights, residuals)
        twist = -np.linalg.solve(H + 1e-9 * np.diag(np.diag(H)) + 1e-12 * np.eye(6), g)
        T_cam_map = _moved(T_cam_map, twist)
        if np.abs(twist).max() < 1e-9:
            break
    residuals, J, weights, variances, errors = _linearised(T_cam_map, matches, camera, config)
    inliers = int((errors < config.max_error_px).sum())
    if inliers < config.min_inliers:
        return None
    information = _information(residuals, J, weights, variances)
    return SparsePose(T_cam_map, information, matches, inliers)


def _information(residuals_K2, J_K26, weights_K, variances_K) -> np.ndarray:
    """Return the inverse covariance (6, 6) of the Cauchy estimate, by the sandwich formula.

    The residuals' own size counts, for what they are: a blurred query has worse keypoints than
    pixel_sigma says.
    """
    # Over all directions, the mean slope of a residual's pull is its weight squared.
    slopes = weights_K**2 * variances_K
    pulls = 0.5 * (weights_K**2 * (residuals_K2**2).sum(axis=1)).sum()
    used = int((weights_K > 0).sum())
    inflation = pulls / max(slopes.sum(), 1e-12) * used / max(used - 3, 1)
    return np.einsum('kai,k,kaj->ij', J_K26, slopes, J_K26) / max(inflation, 1e-6)


def count_inliers(
    T_cam_map: np.ndarray, matches: PointMatches, camera: Camera, config: SparsePoseConfig
) -> int:
    """Return how many matches agree with a pose from elsewhere."""
    if not len(matches.pixels_K2):
        return 0
    *_, errors = _linearised(T_cam_map, matches, camera, config)
    return int((errors < config.max_error_px).sum())


def _moved(T_cam_map: np.ndarray, twist_6: np.ndarray) -> np.ndarray:
    moved = np.eye(4)
    R = Rotation.from_rotvec(twist_6[3:]).as_matrix()
    moved[:3, :3] = R @ T_cam_map[:3, :3]
    moved[:3, 3] = R @ T_cam_map[:3, 3] + twist_6[:3]
    return moved


def _linearised(T_cam_map, matches, camera, config):
    """Return residuals (K, 2), Jacobians (K, 2, 6), weights (1/px^2), variances, errors (px)."""
    X = matches.points_K3 @ T_cam_map[:3, :3].T + T_cam_map[:3, 3]
    in_front = X[:, 2] > 1e-6
    z = np.where(in_front, X[:, 2], 1.0)
    x, y = X[:, 0] / z, X[:, 1] / z
    residuals = (
        np.stack([camera.fx * x + camera.cx, camera.fy * y + camera.cy], axis=1)
        - matches.pixels_K2
    )
    J = projection_jacobian(x, y, z, camera.fx, camera.fy)
    errors = np.where(in_front, np.linalg.norm(residuals, axis=1), np.inf)
    focal = 0.5 * (camera.fx + camera.fy)
    variance = config.pixel_sigma**2 + (focal * matches.point_sigmas_K / z) ** 2
    squares = (residuals**2).sum(axis=1)
    near = errors < config.max_error_px
    if near.sum() >= config.min_inliers:
        # The kernel is as wide as this image's own noise: else a few wrong matches have their
        # say wherever keypoints are better than expected.
        ratio = float(np.median(squares[near] / variance[near])) / MEDIAN_CHI_SQUARED
        variance = variance * min(max(ratio, MIN_NOISE), MAX_NOISE)
    weights = in_front / (variance * (1.0 + squares / (4.0 * variance)))
    return residuals, J, weights * (errors < 3.0 * config.max_error_px), variance, errors


def projection_jacobian(x, y, z, fx: float, fy: float) -> np.ndarray:
    """Return d(pixel)/d(twist) (K, 2, 6) for X <- Exp(w) X + v; x, y are normalised."""
    zero = np.zeros_like(x)
    du = [fx / z, zero, -fx * x / z, -fx * x * y, fx * (1.0 + x * x), -fx * y]
    dv = [zero, fy / z, -fy * y / z, -fy * (1.0 + y * y), fy * x * y, fy * x]
    return np.stack([np.stack(du, axis=-1), np.stack(dv, axis=-1)], axis=-2)
