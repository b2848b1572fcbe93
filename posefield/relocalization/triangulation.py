"""Points from keypoints seen by cameras whose poses are known."""

from dataclasses import dataclass

import numpy as np

from posefield.geometry.camera import Camera
from posefield.geometry.poses import invert


@dataclass(frozen=True)
class Observations:
    """Keypoint observations of map points, one row each.

    Attributes:
        frames_M: index of the frame.
        points_M: index of the point.
        pixels_M2: where the frame saw the point.
    """

    frames_M: np.ndarray
    points_M: np.ndarray
    pixels_M2: np.ndarray

    def kept(self, mask_M: np.ndarray) -> 'Observations':
        """Return the observations where the mask is true."""
        return Observations(self.frames_M[mask_M], self.points_M[mask_M], self.pixels_M2[mask_M])


@dataclass(frozen=True)
class View:
    """A pinhole camera and where it stood."""

    camera: Camera
    T_map_cam: np.ndarray


@dataclass(frozen=True)
class Triangulation:
    """Map points with their uncertainty.

    Attributes:
        points_N3: positions, map frame.
        covariances_N33: of the positions, map units squared, for the given pixel noise.
        errors_M: reprojection error of each observation in pixels; inf behind the camera.
    """

    points_N3: np.ndarray
    covariances_N33: np.ndarray
    errors_M: np.ndarray


class _Geometry:
    """Arrays of all views, gathered per observation."""

    def __init__(self, views: list[View], observations: Observations):
        T_cam_map = np.stack([invert(view.T_map_cam) for view in views])
        intrinsics = np.array(
            [[v.camera.fx, v.camera.fy, v.camera.cx, v.camera.cy] for v in views]
        )
        self.R = T_cam_map[observations.frames_M, :3, :3]
        self.t = T_cam_map[observations.frames_M, :3, 3]
        self.focal = intrinsics[observations.frames_M, :2]
        self.centre = intrinsics[observations.frames_M, 2:]

    def residuals(self, points_M3: np.ndarray, pixels_M2: np.ndarray):
        """Return (residuals_M2, Jacobians_M23, in_front_M) at the points."""
        X = np.einsum('mij,mj->mi', self.R, points_M3) + self.t
        in_front = X[:, 2] > 1e-6
        z = np.where(in_front, X[:, 2], 1.0)
        normalised = X[:, :2] / z[:, None]
        residuals = normalised * self.focal + self.centre - pixels_M2
        scale = self.focal / z[:, None]
        jacobians = scale[:, :, None] * (self.R[:, :2] - normalised[:, :, None] * self.R[:, 2:3])
        return residuals, jacobians, in_front


def triangulate(
    views: list[View],
    observations: Observations,
    num_points: int,
    pixel_sigma: float = 1.0,
    steps: int = 8,
) -> Triangulation:
    """Return the points that minimise a Cauchy-robust reprojection error, all at once.

    Starts from the point closest to all rays and takes Gauss-Newton steps with a little
    damping.  Points seen only from one place come out with a huge covariance, not an error.
    """
    geometry = _Geometry(views, observations)
    index = observations.points_M
    points = _closest_to_rays(geometry, observations, num_points)
    for _ in range(steps):
        residuals, jacobians, in_front = geometry.residuals(points[index], observations.pixels_M2)
        weights = in_front / (1.0 + (residuals**2).sum(axis=1) / (2.0 * pixel_sigma) ** 2)
        H, g = _normal_equations(jacobians, residuals, weights, index, num_points)
        points = points - np.linalg.solve(_damped(H, 1e-6), g[..., None])[..., 0]
    residuals, jacobians, in_front = geometry.residuals(points[index], observations.pixels_M2)
    errors = np.where(in_front, np.linalg.norm(residuals, axis=1), np.inf)
    weights = in_front / (1.0 + (residuals**2).sum(axis=1) / (2.0 * pixel_sigma) ** 2)
    H, _ = _normal_equations(jacobians, residuals, weights, index, num_points)
    covariances = pixel_sigma**2 * np.linalg.inv(_damped(H, 1e-9))
    return Triangulation(points, covariances, errors)


def _closest_to_rays(
    geometry: _Geometry, observations: Observations, num_points: int
) -> np.ndarray:
    normalised = (observations.pixels_M2 - geometry.centre) / geometry.focal
    rays = np.concatenate([normalised, np.ones((len(normalised), 1))], axis=1)
    directions = np.einsum('mji,mj->mi', geometry.R, rays)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = -np.einsum('mji,mj->mi', geometry.R, geometry.t)
    projectors = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    A = np.zeros((num_points, 3, 3))
    b = np.zeros((num_points, 3))
    np.add.at(A, observations.points_M, projectors)
    np.add.at(b, observations.points_M, np.einsum('mij,mj->mi', projectors, origins))
    return np.linalg.solve(_damped(A, 1e-9), b[..., None])[..., 0]


def _normal_equations(jacobians, residuals, weights, index, num_points):
    H = np.zeros((num_points, 3, 3))
    g = np.zeros((num_points, 3))
    weighted = jacobians * weights[:, None, None]
    np.add.at(H, index, np.einsum('mki,mkj->mij', weighted, jacobians))
    np.add.at(g, index, np.einsum('mki,mk->mi', weighted, residuals))
    return H, g


def _damped(H_N33: np.ndarray, relative: float) -> np.ndarray:
    trace = np.trace(H_N33, axis1=1, axis2=2)
    return H_N33 + (relative * trace + 1e-12)[:, None, None] * np.eye(3)
