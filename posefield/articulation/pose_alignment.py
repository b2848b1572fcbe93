"""Aligning a posed surface with images by a few Gauss-Newton steps over its joints and root.

Every point of the surface that a camera sees tells two things: its colour should be that of the
image, and where it is near the outline of what is drawn, the outline of the image's mask should be
as far away.  Both are functions of the image that are looked up where the point is projected to;
their slopes, times how the joints move the point, are rows of the normal equations.

Names: N points, D unknowns: the joints, then moves and turns of the root where it is free.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from posefield.articulation.kinematics import Skeleton
from posefield.articulation.tracked_surface import PosedPoints, SurfacePoints
from posefield.articulation.tracked_views import (
    COLOURS,
    DISTANCE,
    ObservedView,
    signed_distance,
)
from posefield.data.rig_camera import OBJECT, UNRELIABLE

# Nothing nearer to a camera than this share of the thing's size is drawn.
NEAREST = 1e-3
# Points this near to the outline of what is drawn, in pixels, have its distance compared.
BAND_PX = 3.0
# Colours are compared where mask and drawing agree that the outline is so far away, in pixels.
INSIDE_PX = 1.5
# What counts as one standard deviation of a colour.
COLOUR_SIGMA = 0.12
# Points of which a camera sees both sides by less than this cosine are not compared in colour.
LEAST_FACING = 0.2
# Points of each kind that a view compares, at most; they are in random order.
MOST_POINTS = 500
# How strongly the pose is held where it was: share of the largest pull of any joint.
HOLD = 1e-3
# How far from what is expected, in radians or sizes of the thing, a joint goes for one
# pixel of the outline.
EXPECTED = 3.0
# The largest step of a joint in radians, and of the root in shares of the thing's size.
LONGEST_STEP = 0.35


@dataclass(frozen=True)
class Pose:
    """Joint positions (D,) of a skeleton and the pose (4, 4) of its root in the world."""

    joint_positions: np.ndarray
    T_world_root: np.ndarray


@dataclass(frozen=True)
class Agreement:
    """How well a pose explains images.

    Attributes:
        overlap: of drawn and seen silhouettes, intersection over union.
        colour_error: mean absolute difference of the colours where both are.
    """

    overlap: float
    colour_error: float

    @property
    def score(self) -> float:
        """Return 1 for perfect agreement down to 0."""
        return self.overlap * max(0.0, 1.0 - self.colour_error)


@dataclass(frozen=True)
class _Seen:
    """The points that a camera sees.

    Attributes:
        index_N: which of the surface's points.
        pixels_N2, in_camera_N3: their places in the image and in the camera's frame.
        facing_N: cosine between normal and line of sight.
        drawn_HW: the silhouette.
        inset_N: distance to the outline of the silhouette in pixels, negative inside.
    """

    index_N: np.ndarray
    pixels_N2: np.ndarray
    in_camera_N3: np.ndarray
    facing_N: np.ndarray
    drawn_HW: np.ndarray
    inset_N: np.ndarray


class Aligner:
    """Draws a surface's points in poses and compares them with views.

    Args:
        skeleton: links and joints, world units.
        surface: points on the links.
        size: of the whole thing, world units.
        root_is_free: whether the root's pose is unknown, too.
    """

    def __init__(
        self, skeleton: Skeleton, surface: SurfacePoints, size: float, root_is_free: bool
    ):
        self._skeleton, self._surface, self._size = skeleton, surface, size
        self._free = root_is_free
        joints = [skeleton.joint(name) for name in skeleton.movable]
        self._children = [skeleton.link_index(joint.child) for joint in joints]
        self._axes_D3 = np.array([joint.axis_3 for joint in joints]).reshape(-1, 3)
        self._slides_D = np.array([joint.kind == 'prismatic' for joint in joints], dtype=bool)
        carried_LD = np.zeros((len(skeleton.links), len(joints)), dtype=np.float32)
        for column, joint in enumerate(joints):
            rows = [skeleton.link_index(name) for name in skeleton.subtree(joint.child)]
            carried_LD[rows, column] = 1.0
        if root_is_free:
            carried_LD = np.concatenate([carried_LD, np.ones((len(carried_LD), 6))], axis=1)
        self._carried_LD = carried_LD.astype(np.float32)

    def thinned(self, count: int) -> 'Aligner':
        """Return the aligner with about `count` of the points."""
        surface = self._surface.thinned(count)
        return Aligner(self._skeleton, surface, self._size, self._free)

    def link_poses(self, pose: Pose) -> np.ndarray:
        """Return T_world_link (L, 4, 4)."""
        return self._skeleton.forward(pose.joint_positions, pose.T_world_root)

    def agreement(self, pose: Pose, views: Sequence[ObservedView]) -> Agreement:
        """Return how well a pose explains views."""
        posed = self._surface.posed(self.link_poses(pose))
        both = either = 0
        error = compared = 0.0
        for view in views:
            seen = self._see(posed, view)
            known = view.mask_HW != UNRELIABLE
            is_object = view.mask_HW == OBJECT
            both += int((seen.drawn_HW & is_object).sum())
            either += int(((seen.drawn_HW | is_object) & known).sum())
            sampled = view.sample(seen.pixels_N2)
            within = (sampled[:, 0] < -INSIDE_PX) & (seen.inset_N < -INSIDE_PX)
            found = sampled[within][:, [channel.start for channel in COLOURS]]
            wrong = np.abs(posed.colours_N3[seen.index_N[within]] - found)
            error, compared = error + float(wrong.sum()), compared + wrong.size
        return Agreement(both / max(either, 1), error / max(compared, 1.0))

    def step(
        self,
        pose: Pose,
        views: Sequence[ObservedView],
        expected: Pose | None = None,
        *,
        reach_px: float,
        colour_weight: float,
    ) -> Pose:
        """Return the pose after one step.

        Args:
            pose: where to begin.
            views: to align with.
            expected: what joints that images tell little about are held at.
            reach_px: outlines further away than a few times this count little.
            colour_weight: of a colour's error against that of an outline.
        """
        T_world_link_L44 = self.link_poses(pose)
        posed = self._surface.posed(T_world_link_L44)
        screws_D6 = self._screws(pose, T_world_link_L44)
        unknowns = len(screws_D6)
        normal_DD, pull_D = np.zeros((unknowns, unknowns)), np.zeros(unknowns)
        for view in views:
            seen = self._see(posed, view)
            index_N, slopes_N3, errors_N, weights_N = self._residuals(
                view, posed, seen, reach_px, colour_weight
            )
            jacobian = self._jacobian(posed, index_N, slopes_N3, screws_D6)
            weighted = jacobian * weights_N[:, None]
            normal_DD += weighted.T @ jacobian
            pull_D -= weighted.T @ errors_N
        if expected is not None:
            joints = np.arange(len(self._slides_D))
            stiffness_D = (
                len(views) / np.where(self._slides_D, EXPECTED * self._size, EXPECTED) ** 2
            )
            normal_DD[joints, joints] += stiffness_D
            away_D = expected.joint_positions - pose.joint_positions
            pull_D[joints] += stiffness_D * away_D
        held = HOLD * max(float(np.diag(normal_DD).max(initial=0.0)), 1e-9)
        step_D = np.linalg.solve(normal_DD + held * np.eye(unknowns), pull_D)
        return self._moved(pose, step_D)

    def _see(self, posed: PosedPoints, view: ObservedView) -> _Seen:
        camera, T = view.camera, view.T_cam_world.astype(np.float32)
        points = posed.points_N3 @ T[:3, :3].T + T[:3, 3]
        towards = -(points * (posed.normals_N3 @ T[:3, :3].T)).sum(axis=1)
        depths = points[:, 2]
        front = np.flatnonzero((towards > 0.0) & (depths > NEAREST * self._size))
        points, depths = points[front], depths[front]
        pixels = points[:, :2] / depths[:, None]
        pixels = pixels * np.float32([camera.fx, camera.fy]) + np.float32([camera.cx, camera.cy])
        column, row = np.rint(pixels).astype(np.intp).T
        inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        front, points, pixels = front[inside], points[inside], pixels[inside]
        depths, cell = depths[inside], row[inside] * camera.width + column[inside]
        nearest = np.full((camera.height, camera.width), np.inf, np.float32)
        np.minimum.at(nearest.reshape(-1), cell, depths)
        drawn = np.isfinite(nearest).astype(np.uint8)
        drawn = cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        # What shines through between points in front is hidden, too.
        nearest = cv2.erode(nearest, np.ones((3, 3), np.uint8))
        tolerance = 3.0 * self._surface.spacing + 3.0 * depths / camera.fx
        visible = depths <= nearest.reshape(-1)[cell] + tolerance
        inset_HW = signed_distance(drawn > 0)
        facing = towards[front] / np.linalg.norm(points, axis=1)
        return _Seen(
            front[visible],
            pixels[visible],
            points[visible],
            facing[visible],
            drawn > 0,
            inset_HW.reshape(-1)[cell[visible]],
        )

    def _residuals(
        self,
        view: ObservedView,
        posed: PosedPoints,
        seen: _Seen,
        reach_px: float,
        colour_weight: float,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return what differs between a view and the points that it sees.

        Returns:
            indices (N,) of points, slopes (N, 3) of the errors when they move in the world, errors
            (N,) in standard deviations, and weights (N,).
        """
        rim = np.flatnonzero(seen.inset_N > -BAND_PX)[:MOST_POINTS]
        sampled = view.sample(seen.pixels_N2[rim])
        errors = [sampled[:, DISTANCE.start] - seen.inset_N[rim]]
        weights = [1.0 / (1.0 + np.square(errors[0] / reach_px)) ** 2 / max(len(rim), 1)]
        slopes = [self._slopes(view, seen.in_camera_N3[rim], sampled[:, DISTANCE][:, 1:])]
        rows = [rim]
        inner = np.flatnonzero((seen.inset_N < -INSIDE_PX) & (seen.facing_N > LEAST_FACING))
        inner = inner[:MOST_POINTS]
        sampled = view.sample(seen.pixels_N2[inner])
        inside = sampled[:, DISTANCE.start] < -INSIDE_PX
        inner, sampled = inner[inside], sampled[inside]
        colours = posed.colours_N3[seen.index_N[inner]]
        for channel, place in enumerate(COLOURS):
            error = (sampled[:, place.start] - colours[:, channel]) / COLOUR_SIGMA
            errors.append(error)
            trust = 1.0 / (1.0 + np.square(error / 2.0)) ** 2
            weights.append(colour_weight * trust / max(len(inner), 1))
            along = sampled[:, place][:, 1:] / COLOUR_SIGMA
            slopes.append(self._slopes(view, seen.in_camera_N3[inner], along))
            rows.append(inner)
        index_N = seen.index_N[np.concatenate(rows)]
        return (
            index_N,
            np.concatenate(slopes),
            np.concatenate(errors),
            np.concatenate(weights),
        )

    @staticmethod
    def _slopes(view: ObservedView, points_N3: np.ndarray, along_N2: np.ndarray) -> np.ndarray:
        """Return how values change when points move in the world (N, 3).

        Args:
            view: where the values are.
            points_N3: in the camera.
            along_N2: change of the values along x and y of the image.
        """
        scaled = along_N2 * np.float32([view.camera.fx, view.camera.fy]) / points_N3[:, 2:]
        depth = -(scaled * points_N3[:, :2]).sum(axis=1, keepdims=True) / points_N3[:, 2:]
        R_cam_world = view.T_cam_world[:3, :3].astype(np.float32)
        return np.concatenate([scaled, depth], axis=1) @ R_cam_world

    def _jacobian(
        self,
        posed: PosedPoints,
        index_N: np.ndarray,
        slopes_N3: np.ndarray,
        screws_D6: np.ndarray,
    ) -> np.ndarray:
        """Return how values at points change with the unknowns (N, D)."""
        points = posed.points_N3[index_N]
        wrenches = np.concatenate([slopes_N3, _crossed(points, slopes_N3)], axis=1)
        carried = self._carried_LD[self._surface.links_N[index_N]]
        return (wrenches @ screws_D6.T.astype(np.float32)) * carried

    def _screws(self, pose: Pose, T_world_link_L44: np.ndarray) -> np.ndarray:
        """Return how each unknown moves the world's points: (v, w) with dx = v + w x x, (D, 6)."""
        T_D44 = T_world_link_L44[self._children]
        axes = np.matmul(T_D44[:, :3, :3], self._axes_D3[..., None])[..., 0]
        turning = ~self._slides_D[:, None]
        moves = np.where(turning, np.cross(T_D44[:, :3, 3], axes), axes)
        screws = np.concatenate([moves, np.where(turning, axes, 0.0)], axis=1)
        if not self._free:
            return screws
        origin = pose.T_world_root[:3, 3]
        moving = np.concatenate([self._size * np.eye(3), np.zeros((3, 3))], axis=1)
        turn = np.concatenate([np.cross(origin, np.eye(3)), np.eye(3)], axis=1)
        return np.concatenate([screws, moving, turn])

    def _moved(self, pose: Pose, step_D: np.ndarray) -> Pose:
        """Return the pose after a step, which is kept from being too long."""
        longest = np.abs(step_D[: len(self._slides_D)])
        longest = np.where(self._slides_D, longest / self._size, longest)
        largest = max(
            float(longest.max(initial=0.0)),
            float(np.abs(step_D[len(self._slides_D) :]).max(initial=0.0)),
        )
        step_D = step_D * min(1.0, LONGEST_STEP / max(largest, 1e-12))
        joints = pose.joint_positions + step_D[: len(self._slides_D)]
        if not self._free:
            return Pose(joints, pose.T_world_root)
        T = pose.T_world_root.copy()
        T[:3, :3] = Rotation.from_rotvec(step_D[-3:]).as_matrix() @ T[:3, :3]
        T[:3, 3] += self._size * step_D[-6:-3]
        return Pose(joints, T)


def _crossed(first_N3: np.ndarray, second_N3: np.ndarray) -> np.ndarray:
    """Return the cross products (N, 3); several times as fast as `numpy.cross`."""
    x, y, z = first_N3.T
    u, v, w = second_N3.T
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)
