"""Errors of found joints against true ones; docs/metrics.md explains each.

Nothing is aligned or rescaled.  Lengths are divided by the scene radius of the ground truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

# What a true joint without a match costs, and how near a found joint must be to be that joint;
# in scene radii.
MISSING = 0.25
# A joint that moves less than this is not asked for: degrees, or scene radii where it slides.
MOVED_DEG = 20.0
MOVED_LENGTH = 0.1
# The protocol of the Watch It Move supplement, A.10: every tenth frame is fitted.
A10_EVERY = 10
ROTATING = ('revolute', 'continuous')


@dataclass(frozen=True)
class JointTrack:
    """Where a joint was over the frames.

    Attributes:
        name: of the joint.
        kind: `revolute`, `continuous` or `prismatic`.
        parent, child: names of the links it holds together.
        points_F3: a point on its axis in every frame, world; of a found joint, its centre.
        directions_F3: unit vectors along its axis, world.
        positions_F: in radians, or in units of length where it slides.
    """

    name: str
    kind: str
    parent: str
    child: str
    points_F3: np.ndarray
    directions_F3: np.ndarray
    positions_F: np.ndarray

    @property
    def rotates(self) -> bool:
        return self.kind in ROTATING

    @property
    def travel(self) -> float:
        """Largest position minus smallest."""
        return float(np.ptp(self.positions_F))

    def has_moved(self, scene_radius: float) -> bool:
        """Whether it moved far enough to be asked for."""
        if self.rotates:
            return self.travel >= np.deg2rad(MOVED_DEG)
        return self.travel >= MOVED_LENGTH * scene_radius


@dataclass(frozen=True)
class JointScore:
    """What became of a true joint that moved.

    Attributes:
        name, kind: of the true joint.
        travel: how far it moved: degrees, or scene radii where it slides.
        distance: from the centre of the joint matched by distance alone to the true axis, mean
            over the frames, in scene radii; `MISSING` without one; None where it slides.
        distance_static: the same from the best point that stands still.
        found, found_kind: the found joint that is this joint, judged by distance, axis and kind;
            None where none is within `MISSING`.
        found_distance: from its centre to the true axis.
        axis_error_deg: angle between its axis and the true one, mean over the frames.
    """

    name: str
    kind: str
    travel: float
    distance: float | None
    distance_static: float | None
    found: str | None = None
    found_kind: str | None = None
    found_distance: float | None = None
    axis_error_deg: float | None = None

    @property
    def type_is_right(self) -> bool:
        """Whether a joint was found here, and it turns or slides as the true one does."""
        return self.found_kind is not None and (
            (self.found_kind in ROTATING) == (self.kind in ROTATING)
        )


def line_distances(
    points_F3: np.ndarray, line_points_F3: np.ndarray, directions_F3: np.ndarray
) -> np.ndarray:
    """Return how far points are from lines, (..., F).

    Args:
        points_F3: (..., F, 3).
        line_points_F3: (..., F, 3), one point on every line.
        directions_F3: (..., F, 3) unit vectors.
    """
    offsets = points_F3 - line_points_F3
    along = (offsets * directions_F3).sum(axis=-1, keepdims=True)
    return np.linalg.norm(offsets - along * directions_F3, axis=-1)


def axis_angles_deg(first_F3: np.ndarray, second_F3: np.ndarray) -> np.ndarray:
    """Return the angles between axes without a sign, (..., F), 0 to 90 degrees."""
    sines = np.linalg.norm(np.cross(first_F3, second_F3), axis=-1)
    cosines = np.abs((first_F3 * second_F3).sum(axis=-1))
    return np.rad2deg(np.arctan2(sines, cosines))


def static_point(points_F3: np.ndarray, directions_F3: np.ndarray) -> np.ndarray:
    """Return the point (3,) with the least squared distance to all lines."""
    across_F33 = np.eye(3) - directions_F3[:, :, None] * directions_F3[:, None, :]
    towards_3 = (across_F33 @ points_F3[:, :, None]).sum(axis=0)[:, 0]
    return np.linalg.lstsq(across_F33.sum(axis=0), towards_3, rcond=1e-9)[0]


def score_joints(
    found: Sequence[JointTrack], true: Sequence[JointTrack], scene_radius: float
) -> list[JointScore]:
    """Return what became of every true joint that moved, over the same frames."""
    moved = [joint for joint in true if joint.has_moved(scene_radius)]
    distances_JK = np.array(
        [
            [_distance(one, joint.points_F3, joint.directions_F3) for one in found]
            for joint in moved
        ]
    ).reshape(len(moved), len(found))
    distances_JK /= scene_radius
    nearest = _nearest(moved, distances_JK)
    same = _same_joints(moved, found, distances_JK)
    return [
        _score(joint, scene_radius, nearest.get(row), found, same.get(row), distances_JK[row])
        for row, joint in enumerate(moved)
    ]


def _distance(found: JointTrack, points_F3: np.ndarray, directions_F3: np.ndarray) -> float:
    return float(line_distances(found.points_F3, points_F3, directions_F3).mean())


def _nearest(moved: Sequence[JointTrack], distances_JK: np.ndarray) -> dict[int, float]:
    """Return the distances of the one-to-one matching of turning joints by distance alone."""
    turning = [row for row, joint in enumerate(moved) if joint.rotates]
    rows, columns = linear_sum_assignment(distances_JK[turning])
    return {
        turning[row]: float(distances_JK[turning[row], column])
        for row, column in zip(rows, columns, strict=True)
    }


def _same_joints(
    moved: Sequence[JointTrack], found: Sequence[JointTrack], distances_JK: np.ndarray
) -> dict[int, int]:
    """Return which found joint is which true one.

    Axes that meet in a point, as in a wrist, are told apart by their directions: 90 degrees cost
    as much as a missing joint, and so does turning instead of sliding.  Where along its
    direction a sliding joint has its axis means nothing.
    """
    costs_JK = np.zeros_like(distances_JK)
    for row, joint in enumerate(moved):
        for column, one in enumerate(found):
            angle = axis_angles_deg(one.directions_F3, joint.directions_F3).mean()
            other_kind = one.rotates != joint.rotates
            distance = distances_JK[row, column] if joint.rotates else 0.0
            costs_JK[row, column] = distance + MISSING * (angle / 90.0 + other_kind)
            if distance > MISSING:
                costs_JK[row, column] = 10.0 * MISSING + distance
    rows, columns = linear_sum_assignment(costs_JK)
    return {
        int(row): int(column)
        for row, column in zip(rows, columns, strict=True)
        if costs_JK[row, column] < 10.0 * MISSING
    }


def _score(
    joint: JointTrack,
    scene_radius: float,
    nearest: float | None,
    found: Sequence[JointTrack],
    same: int | None,
    distances_K: np.ndarray,
) -> JointScore:
    distance = distance_static = None
    travel = joint.travel / scene_radius
    if joint.rotates:
        travel = float(np.rad2deg(joint.travel))
        distance = MISSING if nearest is None else nearest
        still_3 = static_point(joint.points_F3, joint.directions_F3)
        still = line_distances(still_3, joint.points_F3, joint.directions_F3)
        distance_static = float(still.mean()) / scene_radius
    score = JointScore(joint.name, joint.kind, travel, distance, distance_static)
    if same is None:
        return score
    one = found[same]
    angles = axis_angles_deg(one.directions_F3, joint.directions_F3)
    return JointScore(
        joint.name,
        joint.kind,
        travel,
        distance,
        distance_static,
        one.name,
        one.kind,
        float(distances_K[same]) if joint.rotates else None,
        float(angles.mean()),
    )


def summarise_joints(scores: Sequence[JointScore]) -> dict:
    """Return joint_error, axis_error_deg and the like; None where there is nothing to measure."""
    angles = [score.axis_error_deg for score in scores if score.axis_error_deg is not None]
    return {
        'joint_error': _mean([score.distance for score in scores]),
        'joint_error_static': _mean([score.distance_static for score in scores]),
        'axis_error_deg': _mean(angles),
        'max_axis_error_deg': max(angles, default=None),
        'joint_type_accuracy': _mean([float(score.type_is_right) for score in scores]),
        'joints_moved': len(scores),
        'joints_identified': sum(score.found is not None for score in scores),
    }


def a10_errors(
    points_FK3: np.ndarray, targets_FJ3: np.ndarray, scene_radius: float, *, every: int = A10_EVERY
) -> dict[str, float | None]:
    """Return the joint error by linear regression (supplement A.10), in scene radii.

    One matrix X (J, K), shared by x, y and z and without a bias, is fitted to every tenth frame
    by least squares of least norm, and tested on the others.  Few fitted frames let it
    interpolate, which flatters.

    Args:
        points_FK3: the 7 points of every part in every frame.
        targets_FJ3: the true joints.
        scene_radius: in the units of the points.
        every: distance between frames that are fitted.

    Returns:
        `a10_joint_error`, and `a10_joint_error_static` of targets that stand still at their mean
        over the fitted frames; None where no frame is left to test on.
    """
    fitted = np.arange(len(points_FK3)) % every == 0
    if fitted.all() or not targets_FJ3.shape[1]:
        return {'a10_joint_error': None, 'a10_joint_error_static': None}
    known = points_FK3[fitted].transpose(0, 2, 1).reshape(-1, points_FK3.shape[1])
    wanted = targets_FJ3[fitted].transpose(0, 2, 1).reshape(-1, targets_FJ3.shape[1])
    X_KJ = np.linalg.lstsq(known, wanted, rcond=None)[0]
    predicted = np.einsum('fkc,kj->fjc', points_FK3[~fitted], X_KJ)
    still = targets_FJ3[fitted].mean(axis=0)
    truth = targets_FJ3[~fitted]
    return {
        'a10_joint_error': float(np.linalg.norm(predicted - truth, axis=-1).mean()) / scene_radius,
        'a10_joint_error_static': float(np.linalg.norm(still - truth, axis=-1).mean())
        / scene_radius,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
