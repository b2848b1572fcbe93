"""Figures of merit of a localizer over the frames of a split; docs/metrics.md explains each.

Nothing is ever aligned or rescaled: an error is the distance in the map frame.  A frame that
got no pose counts with infinite errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.stats import chi2, rankdata

from posefield.evaluation.basin import StartBin, start_bins
from posefield.geometry.poses import PoseErrors, pose_errors
from posefield.relocalization.localization import Localization

# (translation, rotation_deg) pairs of the recall table: shares of the median depth, map units.
RELATIVE_THRESHOLDS = ((0.02, 1.0), (0.05, 5.0), (0.10, 5.0))
ABSOLUTE_THRESHOLDS = (
    (0.01, 1.0),
    (0.02, 2.0),
    (0.05, 5.0),
    (0.1, 5.0),
    (0.25, 2.0),
    (0.5, 5.0),
    (5.0, 10.0),
)
QUANTILES = (('median', 0.5), ('p75', 0.75), ('p90', 0.9), ('p99', 0.99))
# An accepted pose that is further off than this (share of the depth, degrees) is a false accept.
FALSE_ACCEPT = (0.10, 5.0)
NO_POSE = PoseErrors(math.inf, math.inf)


@dataclass(frozen=True)
class FrameResult:
    """What became of one query image.

    Attributes:
        name: name of the frame.
        T_map_cam_true: (4, 4) ground truth.
        localization: None where the localizer returned no pose.
        seconds: wall time of the call.
        psnr: of the render at the estimated pose against the query, dB; None if not rendered.
        stamp_s: stamp of the image, where it has one.
        failure: why there is no pose; empty otherwise.
    """

    name: str
    T_map_cam_true: np.ndarray
    localization: Localization | None
    seconds: float
    psnr: float | None = None
    stamp_s: float | None = None
    failure: str = ''

    @property
    def has_pose(self) -> bool:
        """Whether there is a pose with finite entries."""
        return self.localization is not None and bool(
            np.isfinite(self.localization.T_map_cam).all()
        )

    @property
    def accepted(self) -> bool:
        """Whether the localizer vouches for the pose."""
        return self.has_pose and self.localization.accepted

    @property
    def errors(self) -> PoseErrors:
        """Distance of the estimate from the truth, infinite without a pose."""
        if not self.has_pose:
            return NO_POSE
        return pose_errors(self.localization.T_map_cam, self.T_map_cam_true)

    @property
    def coarse_errors(self) -> PoseErrors:
        """Distance of the unrefined hypothesis from the truth, infinite without one."""
        if self.localization is None:
            return NO_POSE
        coarse = self.localization.T_map_cam_coarse
        if not np.isfinite(coarse).all():
            return NO_POSE
        return pose_errors(coarse, self.T_map_cam_true)

    def relative(self, translation: float) -> float:
        """Return a translation error as a share of the frame's median depth."""
        if self.localization is None or not self.localization.median_depth > 0:
            return math.inf
        return translation / self.localization.median_depth

    @property
    def is_false_accept(self) -> bool:
        """Whether the pose was accepted but is off by more than 10 % or 5 degrees."""
        errors = self.errors
        return self.accepted and (
            self.relative(errors.translation) > FALSE_ACCEPT[0]
            or errors.rotation_deg > FALSE_ACCEPT[1]
        )


def error_twist(T_map_cam: np.ndarray, T_map_cam_true: np.ndarray) -> np.ndarray:
    """Return (6,): t_true - t_est and the rotation vector of R_true R_est^T, in map axes.

    This is the error that a covariance in the order of geometry_msgs/PoseWithCovariance
    describes: translation first, then rotation about the fixed map axes, in radians.
    """
    R_error = T_map_cam_true[:3, :3] @ T_map_cam[:3, :3].T
    translation = T_map_cam_true[:3, 3] - T_map_cam[:3, 3]
    return np.concatenate([translation, Rotation.from_matrix(R_error).as_rotvec()])


def nees(localization: Localization, T_map_cam_true: np.ndarray) -> float:
    """Return the normalised estimation error squared; 6 on average if the covariance is honest.

    A covariance that cannot be inverted, such as all zeros, gives infinity.
    """
    twist = error_twist(localization.T_map_cam, T_map_cam_true)
    try:
        value = float(twist @ np.linalg.solve(localization.covariance, twist))
    except np.linalg.LinAlgError:
        return math.inf
    return value if value >= 0 else math.inf


def anees_bounds(frames: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval in which the ANEES of an honest covariance falls."""
    tail = (1.0 - confidence) / 2
    low, high = chi2.ppf([tail, 1 - tail], 6 * frames) / (6 * frames)
    return float(low), float(high)


def recall_table(
    translations: Sequence[float], relatives: Sequence[float], rotations_deg: Sequence[float]
) -> list[dict]:
    """Return the share of frames below both thresholds of each pair, as documented for --json."""
    table = []
    for is_relative, thresholds in ((True, RELATIVE_THRESHOLDS), (False, ABSOLUTE_THRESHOLDS)):
        lengths = np.asarray(relatives if is_relative else translations, dtype=float)
        angles = np.asarray(rotations_deg, dtype=float)
        for translation, rotation_deg in thresholds:
            within = (lengths < translation) & (angles < rotation_deg)
            table.append(
                {
                    'translation': translation,
                    'rotation_deg': rotation_deg,
                    'relative': is_relative,
                    'share': float(within.mean()),
                }
            )
    return table


def recall(summary: dict, translation: float, rotation_deg: float, *, relative: bool) -> float:
    """Return one share of a summary's recall table."""
    for row in summary['recall']:
        if (row['translation'], row['rotation_deg'], row['relative']) == (
            translation,
            rotation_deg,
            relative,
        ):
            return row['share']
    raise KeyError(f'No recall at ({translation}, {rotation_deg}), relative={relative}.')


def auroc(scores: Sequence[float], is_good: Sequence[bool]) -> float | None:
    """Return the chance that a good frame scores above a bad one; None if all are alike."""
    is_good = np.asarray(is_good, dtype=bool)
    good, bad = int(is_good.sum()), int((~is_good).sum())
    if not good or not bad:
        return None
    ranks = rankdata(np.asarray(scores, dtype=float))
    return float((ranks[is_good].sum() - good * (good + 1) / 2) / (good * bad))


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return a quantile that infinite values pull to infinity, written as None for JSON."""
    values = np.sort(np.asarray(values, dtype=float))
    position = share * (len(values) - 1)
    below, above = values[math.floor(position)], values[math.ceil(position)]
    if not math.isfinite(above):
        fraction = position - math.floor(position)
        return float(below) if fraction == 0 and math.isfinite(below) else None
    return float(below + (above - below) * (position - math.floor(position)))


def _accuracy(errors: Sequence[PoseErrors], relatives: Sequence[float]) -> dict:
    """Return mean, median, p75, p90, p99 of each error and the recall table."""
    translations = [error.translation for error in errors]
    rotations_deg = [error.rotation_deg for error in errors]
    figures = {
        'mean_translation_error': _finite(np.mean(translations)),
        'mean_rotation_error_deg': _finite(np.mean(rotations_deg)),
        'mean_relative_translation_error': _finite(np.mean(relatives)),
    }
    for name, share in QUANTILES:
        figures[f'{name}_translation_error'] = quantile(translations, share)
        figures[f'{name}_rotation_error_deg'] = quantile(rotations_deg, share)
        figures[f'{name}_relative_translation_error'] = quantile(relatives, share)
    figures['recall'] = recall_table(translations, relatives, rotations_deg)
    return figures


def _consistency(results: Sequence[FrameResult]) -> dict:
    """Return ANEES over the accepted frames and the interval an honest one falls in."""
    values = [
        nees(result.localization, result.T_map_cam_true) for result in results if result.accepted
    ]
    if not values:
        return {'anees': None, 'anees_95': None}
    mean = float(np.mean(values)) / 6
    return {
        'anees': _finite(mean),
        'anees_95': list(anees_bounds(len(values))),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _worsened(errors: Sequence[PoseErrors], coarse: Sequence[PoseErrors]) -> dict:
    """Return the share of frames that refinement left further off than it found them."""
    pairs = list(zip(errors, coarse, strict=True))
    return {
        'translation': float(np.mean([new.translation > old.translation for new, old in pairs])),
        'rotation': float(np.mean([new.rotation_deg > old.rotation_deg for new, old in pairs])),
    }


def _by_start(
    results: Sequence[FrameResult], coarse: Sequence[PoseErrors], errors: Sequence[PoseErrors]
) -> list[StartBin]:
    depths = [r.localization.median_depth if r.localization else 0.0 for r in results]
    return start_bins(coarse, errors, depths)


def _runtime(results: Sequence[FrameResult]) -> dict:
    """Return the time of a call and, over the frames that ran it, of each of its stages."""
    seconds = [result.seconds for result in results]
    stages: dict[str, list[float]] = {}
    for result in results:
        if result.localization is not None:
            for stage, value in result.localization.timings.items():
                stages.setdefault(stage, []).append(float(value))
    median = quantile(seconds, 0.5)
    return {
        'seconds_per_frame': _times(seconds),
        'frames_per_second': 1.0 / median if median else None,
        'seconds_by_stage': {
            stage: {**_times(values), 'frames': len(values)} for stage, values in stages.items()
        },
    }


def _times(seconds: Sequence[float]) -> dict:
    return {'median': quantile(seconds, 0.5), 'p95': quantile(seconds, 0.95)}


def summarise(results: Sequence[FrameResult]) -> dict:
    """Return the figures of `map evaluate --json` for at least one frame.

    Infinite or missing figures are None, so that the result is valid JSON.
    """
    errors = [result.errors for result in results]
    relatives = [
        result.relative(error.translation) for result, error in zip(results, errors, strict=True)
    ]
    coarse = [result.coarse_errors for result in results]
    coarse_relatives = [
        result.relative(error.translation) for result, error in zip(results, coarse, strict=True)
    ]
    located = [result for result in results if result.has_pose]
    within_2_percent = [
        result.relative(result.errors.translation) < 0.02 and result.errors.rotation_deg < 1.0
        for result in located
    ]
    hypotheses = [result.localization.hypothesis for result in located]
    return {
        'frames': len(results),
        'frames_without_pose': len(results) - len(located),
        **_accuracy(errors, relatives),
        'coarse': _accuracy(coarse, coarse_relatives),
        'worsened_share': _worsened(errors, coarse),
        'by_start': [found.to_dict() for found in _by_start(results, coarse, errors)],
        'accepted_share': float(np.mean([result.accepted for result in results])),
        'false_accept_share': float(np.mean([result.is_false_accept for result in results])),
        'score_auroc': auroc([r.localization.score for r in located], within_2_percent),
        'renders_per_frame': _mean([result.localization.renders for result in located]),
        'max_renders': max((result.localization.renders for result in located), default=None),
        **_runtime(results),
        **_consistency(results),
        'psnr': _mean([result.psnr for result in results if result.psnr is not None]),
        'hypotheses': {name: hypotheses.count(name) for name in sorted(set(hypotheses))},
    }
