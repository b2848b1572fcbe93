"""The one transform between the user's map frame and a field's normalised frame."""

from dataclasses import dataclass

import numpy as np

from posefield.errors import DataError

# A point this close to a camera, relative to the scene radius, is taken for noise.
MIN_NEAR = 0.02
# Rays end this many scene radii away; space beyond the unit box is contracted.
FAR = 30.0
# With fewer points than these a scene's extent is guessed from its cameras.
MIN_POINTS = 50
# More points than these say no more about its depth.
MAX_POINTS = 5000


@dataclass(frozen=True)
class SceneTransform:
    """field = (map - centre) * scale; rotations are the same in both frames.

    Attributes:
        centre: of the content, map frame.
        scale: field units per map unit.
        near, far: ray range in field units.
    """

    centre: tuple[float, float, float]
    scale: float
    near: float
    far: float

    def camera_to_field(self, T_map_cam: np.ndarray) -> np.ndarray:
        """Return T_field_cam (..., 4, 4): a rigid pose whose depths are in field units."""
        T = np.array(T_map_cam, dtype=np.float64)
        T[..., :3, 3] = (T[..., :3, 3] - np.asarray(self.centre)) * self.scale
        return T

    def camera_to_map(self, T_field_cam: np.ndarray) -> np.ndarray:
        """Return T_map_cam (..., 4, 4) in map units, the inverse of `camera_to_field`."""
        T = np.array(T_field_cam, dtype=np.float64)
        T[..., :3, 3] = T[..., :3, 3] / self.scale + np.asarray(self.centre)
        return T

    def points_to_field(self, points_N3: np.ndarray) -> np.ndarray:
        """Return map points in the field frame."""
        return (np.asarray(points_N3) - np.asarray(self.centre)) * self.scale

    @classmethod
    def from_content(
        cls,
        T_map_cam_N44: np.ndarray,
        points_N3: np.ndarray,
        *,
        near: float | None = None,
        far: float | None = None,
        scale: float | None = None,
    ) -> 'SceneTransform':
        """Return the transform that puts the cameras and most points into the unit box.

        Args:
            T_map_cam_N44: training cameras.
            points_N3: triangulated points; with fewer than 50 the box is guessed from the
                point that the cameras look at.
            near, far, scale: take the place of what is computed, where given.

        Raises:
            DataError: when all cameras stand in one place and there are too few points, so
                that no scale can be known.
        """
        centres = T_map_cam_N44[:, :3, 3]
        if len(points_N3) < MIN_POINTS:
            alone = np.ptp(centres, axis=0).max() <= 1e-9 * np.abs(centres).max()
            if alone and scale is None:
                raise DataError(
                    'All cameras stand in one place and hardly a point was triangulated: '
                    'the scale of the scene cannot be known.'
                )
            points_N3 = _guessed_content(T_map_cam_N44)
        low, high = np.percentile(points_N3, [4, 96], axis=0)
        low, high = np.minimum(low, centres.min(axis=0)), np.maximum(high, centres.max(axis=0))
        centre = (low + high) / 2.0
        if scale is None:
            scale = 0.95 / (float((high - low).max()) / 2.0)
        if near is None:
            distances = np.linalg.norm(points_N3[:, None] - centres[None], axis=-1)
            nearest = float(np.percentile(distances.min(axis=1), 1))
            near = max(MIN_NEAR, 0.5 * nearest * scale)
        return cls(tuple(centre.tolist()), scale, near, FAR if far is None else far)

    def bounded_far(self, T_map_cam_N44: np.ndarray, points_N3: np.ndarray) -> float:
        """Return how far rays need to go in a field that does not contract space, field units.

        Args:
            T_map_cam_N44: training cameras.
            points_N3: triangulated points; with fewer than 50 they are guessed.
        """
        if len(points_N3) < MIN_POINTS:
            points_N3 = _guessed_content(T_map_cam_N44)
        points = self.points_to_field(points_N3[:: 1 + len(points_N3) // MAX_POINTS])
        cameras = self.camera_to_field(T_map_cam_N44)
        depths, distances = [], []
        for camera in cameras:
            offsets = points - camera[:3, 3]
            distance, depth = np.linalg.norm(offsets, axis=1), offsets @ camera[:3, 2]
            # Roughly what a camera can see: up to 45 degrees from its axis.
            depths.append(depth[depth > np.sqrt(0.5) * distance])
            distances.append(distance)
        seen = np.concatenate(depths)
        return 1.1 * float(np.percentile(seen if len(seen) else np.concatenate(distances), 99.5))


def looked_at_point(T_map_cam_N44: np.ndarray) -> np.ndarray:
    """Return the point (3,) closest to all optical axes, in front of most cameras."""
    centres, axes = T_map_cam_N44[:, :3, 3], T_map_cam_N44[:, :3, 2]
    projectors = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    A = projectors.sum(axis=0)
    b = np.einsum('nij,nj->i', projectors, centres)
    # A weak pull to one spread ahead of the mean camera keeps parallel axes solvable.
    spread = np.linalg.norm(centres - centres.mean(axis=0), axis=1).max()
    ahead = centres.mean(axis=0) + axes.mean(axis=0) * max(spread, 1e-9)
    pull = 1e-3 * len(centres)
    return np.linalg.solve(A + pull * np.eye(3), b + pull * ahead)


def scene_scale(T_map_cam_N44: np.ndarray) -> float:
    """Return the mean distance from the cameras to the point they look at, map units."""
    target = looked_at_point(T_map_cam_N44)
    return float(np.linalg.norm(T_map_cam_N44[:, :3, 3] - target, axis=1).mean())


def _guessed_content(T_map_cam_N44: np.ndarray) -> np.ndarray:
    target, scale = looked_at_point(T_map_cam_N44), scene_scale(T_map_cam_N44)
    corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3), axis=-1).reshape(-1, 3)
    return target + corners * scale
