"""How well the joints of a model that is tracked follow the true ones; docs/metrics.md explains.

A found joint turns the other way or has its zero elsewhere than the true one: the direction and
the offset are taken from the frames that were learned, and nothing from those that are tracked.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from posefield.data.articulation_truth import ArticulationTruth
from posefield.evaluation.articulation_metrics import ROTATING, score_joints
from posefield.evaluation.articulation_truth_scores import (
    FoundMotion,
    found_tracks,
    true_tracks,
)


@dataclass(frozen=True)
class SameJoint:
    """A found joint that stands for a true one: true = sign * found + offset.

    Attributes:
        name: of the true joint.
        found: name of the found one.
        column, found_column: which of the movable joints they are.
        sign: 1 or -1.
        offset: radians.
        axis_error_deg: angle between their axes while learned.
    """

    name: str
    found: str
    column: int
    found_column: int
    sign: float
    offset: float
    axis_error_deg: float


@dataclass(frozen=True)
class FollowedJoint:
    """What became of a true joint while it was tracked.

    Attributes:
        name, found: of the true joint and the one that stands for it.
        axis_error_deg: angle between their axes while learned.
        travel_deg: how far the true one moved while tracked.
        median_error_deg, p90_error_deg: of its angle.
    """

    name: str
    found: str
    axis_error_deg: float
    travel_deg: float
    median_error_deg: float
    p90_error_deg: float


def same_joints(motion: FoundMotion, truth: ArticulationTruth) -> list[SameJoint]:
    """Return which found joints stand for true ones that turned visibly while learned.

    Args:
        motion: what the model says about the frames that it learned.
        truth: of the recording that it learned from.
    """
    found, true = found_tracks(motion), true_tracks(truth, motion.frames)
    columns = {track.name: column for column, track in enumerate(true)}
    found_columns = {track.name: column for column, track in enumerate(found)}
    matched = []
    for score in score_joints(found, true, truth.scene_radius):
        if score.found is None or score.kind not in ROTATING or not score.type_is_right:
            continue
        one, other = true[columns[score.name]], found[found_columns[score.found]]
        agree = float((one.directions_F3 * other.directions_F3).sum(axis=-1).mean())
        sign = 1.0 if agree >= 0.0 else -1.0
        matched.append(
            SameJoint(
                score.name,
                score.found,
                columns[score.name],
                found_columns[score.found],
                sign,
                _middle(one.positions_F - sign * other.positions_F),
                score.axis_error_deg,
            )
        )
    return matched


def angle_errors_deg(
    joints: Sequence[SameJoint], found_TD: np.ndarray, true_TJ: np.ndarray
) -> np.ndarray:
    """Return how far tracked angles are from the true ones, degrees (T, len(joints)).

    Args:
        joints: which is which.
        found_TD: positions of the model's movable joints at T moments.
        true_TJ: positions of the truth's at the same moments.
    """
    columns = [
        joint.sign * found_TD[:, joint.found_column] + joint.offset - true_TJ[:, joint.column]
        for joint in joints
    ]
    errors = np.stack(columns, axis=1) if columns else np.zeros((len(found_TD), 0))
    return np.rad2deg(np.abs(_wrapped(errors)))


def tracking_summary(
    joints: Sequence[SameJoint], found_TD: np.ndarray, true_TJ: np.ndarray
) -> dict[str, Any]:
    """Return the figures of tracking: all joints together, and one by one.

    Args:
        joints, found_TD, true_TJ: as `angle_errors_deg` takes them.
    """
    errors = angle_errors_deg(joints, found_TD, true_TJ)
    followed = [
        FollowedJoint(
            joint.name,
            joint.found,
            joint.axis_error_deg,
            float(np.rad2deg(np.ptp(true_TJ[:, joint.column]))),
            float(np.median(errors[:, column])),
            float(np.percentile(errors[:, column], 90)),
        )
        for column, joint in enumerate(joints)
    ]
    known = errors.size > 0
    return {
        'joint_angle_error_deg': float(np.median(errors)) if known else None,
        'joint_angle_error_p90_deg': float(np.percentile(errors, 90)) if known else None,
        'joints_followed': [asdict(joint) for joint in followed],
    }


def _wrapped(angles: np.ndarray) -> np.ndarray:
    """Return angles from -pi to pi."""
    return (angles + np.pi) % (2.0 * np.pi) - np.pi


def _middle(angles_F: np.ndarray) -> float:
    """Return the median of angles that lie together on the circle."""
    about = float(np.angle(np.exp(1j * angles_F).mean()))
    return about + float(np.median(_wrapped(angles_F - about)))
