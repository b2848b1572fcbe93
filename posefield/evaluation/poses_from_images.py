"""Poses of a found skeleton in frames that it never saw, from their images.

Where no truth says how a thing moved, its joint positions and the pose of its root are fitted to
the masks and colours of the training cameras, frame after frame, with each part as one ellipsoid
of one colour (part_fitting stage 1).  The cameras that were held out stay unseen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from scipy.special import expit, softmax

from posefield.data.multiview import Multiview
from posefield.data.rig_camera import OBJECT, UNRELIABLE
from posefield.evaluation.evaluate_articulation import DrivenParts, EvaluatedModel, HeldOutPoses
from posefield.geometry.images import resize

SIDE = 40
# Softness of an ellipsoid's rim, as a share of its radius, from coarse to fine.
SOFTNESS = (0.25, 0.1)
# How fast colours behind others fade, as a share of the thing's size.
FADE = 0.05
COLOUR_WEIGHT = 0.5
# Weight of staying near the pose before: radians, and shares of the thing's size.
STAY_WEIGHT = 0.3
EVALUATIONS = 12
STEP = 1e-4
POSES_AT_ONCE = 8


# Positions of the movable joints, and T_world_root.
SkeletonPose = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Observed:
    """What a camera saw of a frame, along R rays.

    Attributes:
        origin_3, directions_R3: of the rays, world; the directions have depth 1.
        mask_R, colours_R3: share of the object, and colours over the background.
        known_R: 0 where the mask is unreliable, else 1.
    """

    origin_3: np.ndarray
    directions_R3: np.ndarray
    mask_R: np.ndarray
    colours_R3: np.ndarray
    known_R: np.ndarray


def observe(multiview: Multiview, frame: int) -> list[Observed]:
    """Return what every training camera saw, made small."""
    seen = []
    for view in multiview.training_views:
        rig = multiview.cameras[view]
        camera = rig.camera.with_short_side(min(SIDE, rig.camera.width, rig.camera.height))
        image, mask = multiview.read_masked(view, frame)
        size = (camera.width, camera.height)
        y, x = np.mgrid[: camera.height, : camera.width]
        rays = camera.unproject(np.stack([x.ravel(), y.ravel()], axis=1))
        unknown = resize((mask == UNRELIABLE).astype(np.float32), *size).ravel() > 0
        seen.append(
            Observed(
                rig.T_world_cam[:3, 3],
                rays @ rig.T_world_cam[:3, :3].T,
                resize((mask == OBJECT).astype(np.float32), *size).ravel(),
                resize(image.astype(np.float32), *size).reshape(-1, 3),
                1.0 - unknown,
            )
        )
    return seen


@dataclass(frozen=True)
class Ellipsoids:
    """How parts look from afar.

    Attributes:
        radii_P3: semi-axes, world units.
        colours_P3: RGB in [0, 1].
        background: level of all colours behind.
        size: of the whole thing, world units.
    """

    radii_P3: np.ndarray
    colours_P3: np.ndarray
    background: float
    size: float

    def see(
        self, seen: Observed, T_world_part_MP44: np.ndarray, softness: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return silhouettes (M, R) and colours (M, R, 3) of M poses, in closed form."""
        R_MP33, t_MP3 = T_world_part_MP44[..., :3, :3], T_world_part_MP44[..., :3, 3]
        o = ((seen.origin_3 - t_MP3)[..., None, :] @ R_MP33) / self.radii_P3[:, None]
        d = (seen.directions_R3 @ R_MP33) / self.radii_P3[:, None]
        squares = np.square(d).sum(axis=-1)
        along = -(o * d).sum(axis=-1) / squares
        gaps = np.maximum(np.square(o).sum(axis=-1) - along**2 * squares, 0.0)
        alphas = expit((1.0 - np.sqrt(gaps)) / softness) * (along > 0)
        depths = along - np.sqrt(np.maximum(1.0 - gaps, 0.0) / squares)
        silhouettes = 1.0 - np.prod(1.0 - alphas, axis=1)
        weights = softmax(np.log(alphas + 1e-12) - depths / (FADE * self.size), axis=1)
        cover = silhouettes[..., None]
        return silhouettes, cover * (weights.swapaxes(1, 2) @ self.colours_P3) + (
            1.0 - cover
        ) * self.background


class _Misfit:
    """How far what ellipsoids show is from what the cameras saw, near a pose.

    x is: moves of the root in sizes of the thing, turns of the root in radians about the middle
    of the thing, then changes of the joint positions.
    """

    def __init__(
        self,
        model: EvaluatedModel,
        look: Ellipsoids,
        seen: Sequence[Observed],
        start: SkeletonPose,
        softness: float,
    ):
        self._model, self._look, self._seen = model, look, seen
        self._start, self._softness = start, softness
        self._centre_3 = model.repose(*start)[:, :3, 3].mean(axis=0)

    def posed(self, x_N: np.ndarray) -> SkeletonPose:
        """Return the pose that x stands for."""
        positions_D, T_start = self._start
        R = Rotation.from_rotvec(x_N[3:6]).as_matrix()
        T = np.eye(4)
        T[:3, :3] = R @ T_start[:3, :3]
        T[:3, 3] = R @ (T_start[:3, 3] - self._centre_3) + self._centre_3
        T[:3, 3] += self._look.size * x_N[:3]
        return positions_D + x_N[6:], T

    def __call__(self, x_N: np.ndarray) -> np.ndarray:
        """Return the residuals of one x."""
        return self._residuals(x_N[None])[0]

    def jacobian(self, x_N: np.ndarray) -> np.ndarray:
        """Return how the residuals change with x, by differences."""
        ends = self._residuals(np.concatenate([x_N[None], x_N + STEP * np.eye(len(x_N))]))
        return ((ends[1:] - ends[0]) / STEP).T

    def _residuals(self, x_MN: np.ndarray) -> np.ndarray:
        T_MP44 = np.stack([self._model.repose(*self.posed(x_N)) for x_N in x_MN])
        columns = [STAY_WEIGHT * x_MN]
        for seen in self._seen:
            parts = [
                self._compare(seen, T_MP44[begin : begin + POSES_AT_ONCE])
                for begin in range(0, len(x_MN), POSES_AT_ONCE)
            ]
            columns.append(np.concatenate(parts))
        return np.concatenate(columns, axis=1)

    def _compare(self, seen: Observed, T_MP44: np.ndarray) -> np.ndarray:
        silhouettes, colours = self._look.see(seen, T_MP44, self._softness)
        covers = seen.known_R * (silhouettes - seen.mask_R)
        shades = COLOUR_WEIGHT * seen.known_R[:, None] * (colours - seen.colours_R3)
        return np.concatenate([covers, shades.reshape(len(T_MP44), -1)], axis=1)


class ImagePoses:
    """Follows a thing through frames by the images of the training cameras."""

    def __init__(self, model: EvaluatedModel, colours_P3: np.ndarray, multiview: Multiview):
        """Take the model, the mean colours of its parts, and the recording."""
        self._model, self._multiview = model, multiview
        centres = np.stack([model.part_poses(frame)[:, :3, 3] for frame in model.frames])
        size = max(
            float(np.ptp(centres.reshape(-1, 3), axis=0).max()), float(model.radii_P3.max())
        )
        self._look = Ellipsoids(model.radii_P3, colours_P3, multiview.background_level, size)
        self._known: dict[int, SkeletonPose] = {
            frame: (np.asarray(model.joint_positions(frame), np.float64), model.root_pose(frame))
            for frame in model.frames
        }

    def drive(self, frame: int) -> DrivenParts:
        """Return the parts in a frame, going there step by step from the nearest known one."""
        nearest = min(self._known, key=lambda other: (abs(other - frame), other))
        step = 1 if frame > nearest else -1
        while nearest != frame:
            self._known[nearest + step] = self._fit(nearest + step, self._known[nearest])
            nearest += step
        return DrivenParts(self._model.repose(*self._known[frame]))

    def _fit(self, frame: int, pose: SkeletonPose) -> SkeletonPose:
        """Return the pose that explains the images of a frame best, near a pose."""
        seen = observe(self._multiview, frame)
        for softness in SOFTNESS:
            misfit = _Misfit(self._model, self._look, seen, pose, softness)
            x_N = np.zeros(6 + len(pose[0]))
            solved = least_squares(misfit, x_N, misfit.jacobian, method='lm', max_nfev=EVALUATIONS)
            pose = misfit.posed(solved.x)
        return pose


def poses_from_images(
    model: EvaluatedModel, colours_P3: np.ndarray, multiview: Multiview
) -> HeldOutPoses:
    """Return held-out poses that the training cameras' images of these frames tell."""
    return HeldOutPoses('images', ImagePoses(model, colours_P3, multiview).drive)
