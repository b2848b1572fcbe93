"""Calibrating covariances and scores of a new map on validation photos.

The photos are the scene's `val` split; without one, training photos are localized as if they
had never been seen: without their own keyframe, reference view and sparse observations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls
import torch

from posefield.geometry.poses import invert, perturbed, pose_errors
from posefield.relocalization.acceptance import (
    RIGHT_DEG,
    RIGHT_RELATIVE,
    AcceptanceModel,
    LogisticModel,
    Sample,
    fit_acceptance,
)
from posefield.relocalization.hypotheses import Hypothesis, Outcome
from posefield.relocalization.ladder import Ladder
from posefield.relocalization.localizer_config import LocalizerConfig
from posefield.relocalization.map_bundle import Calibration, MapBundle
from posefield.relocalization.refiners.alignment import twist_between
from posefield.relocalization.sparse_pose import PointMatches, SparsePose
from posefield.relocalization.stopwatch import Stopwatch
from posefield.relocalization.validation import ValidationPhoto

KINDS = ('sparse', 'field', 'keyframe', 'fused')
# With fewer right poses than this a kappa is not fitted but stays at a usual value.
MIN_SAMPLES = 4
DEFAULT_KAPPA = (10.0, 100.0)
# A single pose counts no more than this many times the fit: it is an outlier, not noise.
MAX_EXCESS = 4.0
# Starts, as shares of the scene scale and degrees: near ones that should come back, far ones
# that mostly should not.
NEAR_START = (0.05, 3.0)
FAR_STARTS = ((0.15, 8.0), (0.3, 20.0), (0.6, 40.0))


def neutral_calibration(coarse_translation: float, coarse_rotation: float) -> Calibration:
    """Return a calibration that changes nothing and accepts nothing, to calibrate with."""
    never = {
        name: LogisticModel((0.0,) * size, (1.0,) * size, (0.0,) * size, 0.0, 1.0)
        for name, size in (
            ('render', 2),
            ('render+keyframe', 5),
            ('render+sparse', 3),
            ('render+keyframe+sparse', 6),
        )
    }
    return Calibration(
        dict.fromkeys(KINDS, (1.0, 0.0)),
        coarse_translation,
        coarse_rotation,
        AcceptanceModel(never),
    )


@dataclass(frozen=True)
class _Tried:
    """One validation photo after the single rungs: what the second pass needs again."""

    photo: ValidationPhoto
    matches: PointMatches
    sparse: SparsePose | None


def calibrate(
    bundle: MapBundle,
    photos: Sequence[ValidationPhoto],
    device,
    generator: np.random.Generator,
    check_stop: Callable[[], None] = lambda: None,
    report: Callable[[float], None] = lambda fraction: None,
) -> Calibration:
    """Return kappas that make the normalised errors average 1, and a fitted acceptance model.

    Args:
        bundle: of the map, with a `neutral_calibration`.
        photos: of known pose.
        device: where it computes.
        generator: of the start poses.
        check_stop: called before each photo; raises to stop.
        report: told the share done.
    """
    ladder = Ladder(bundle, LocalizerConfig(), device)
    errors: dict[str, list[PoseSample]] = {kind: [] for kind in KINDS}
    tried = []
    for index, photo in enumerate(photos):
        check_stop()
        tried.append(_single_rungs(ladder, photo, generator, errors))
        report(0.5 * (index + 1) / len(photos))
    kappas = {kind: fit_kappa(errors[kind]) for kind in KINDS}
    kappas['fused'] = (1.0, 0.0)
    ladder = _with_kappas(ladder, kappas, device)
    samples: list[Sample] = []
    for index, one in enumerate(tried):
        check_stop()
        samples += _judged(ladder, one, generator, errors['fused'])
        report(0.5 + 0.5 * (index + 1) / len(tried))
    kappas['fused'] = fit_kappa(errors['fused'], kappas['keyframe'])
    return replace(bundle.calibration, kappas=kappas, acceptance=fit_acceptance(samples))


def _with_kappas(ladder: Ladder, kappas: dict[str, tuple[float, float]], device) -> Ladder:
    calibration = replace(ladder.bundle.calibration, kappas=dict(kappas))
    return Ladder(replace(ladder.bundle, calibration=calibration), ladder.config, device)


@dataclass(frozen=True)
class PoseSample:
    """A pose's distance from the photos, and its squared error in its own information over 6."""

    distance: float
    normalised: float


def fit_kappa(
    errors: Sequence[PoseSample], default: tuple[float, float] = DEFAULT_KAPPA
) -> tuple[float, float]:
    """Return (a, b), both >= 0, so that a + b d^2 is the mean normalised error at distance d.

    Squared errors scatter in proportion to their mean, so the least squares are weighted by the
    fit itself, in a few rounds that also pull outliers in.
    """
    # A pose without any information has no error in units of it.
    errors = [error for error in errors if error.normalised > 0.0]
    if len(errors) < MIN_SAMPLES:
        return default
    squares = np.array([error.distance for error in errors]) ** 2
    values = np.array([error.normalised for error in errors])
    X = np.stack([np.ones_like(squares), squares], axis=1)
    fitted = np.full_like(values, values.mean())
    for _ in range(10):
        limited = np.minimum(values, MAX_EXCESS * fitted)
        solution, _ = nnls(X / fitted[:, None], limited / fitted)
        fitted = np.maximum(X @ solution, 1e-3 * values.mean() + 1e-12)
    at_photo, growth = solution.tolist()
    return max(at_photo, 1e-3 * float(values.mean())), growth


def normalised_error(
    T_field_cam: np.ndarray, information_66: np.ndarray, T_true: np.ndarray
) -> float:
    """Return the squared error of a pose in its own information (6 on average if honest)."""
    twist = twist_between(
        torch.from_numpy(invert(T_field_cam)), torch.from_numpy(invert(T_true))
    ).numpy()
    return float(twist @ information_66 @ twist)


def _single_rungs(
    ladder: Ladder,
    photo: ValidationPhoto,
    generator: np.random.Generator,
    errors: dict[str, list[PoseSample]],
) -> _Tried:
    """Run each rung by itself and keep the normalised errors of the poses that are right."""
    bundle, query, T_true = ladder.bundle, photo.query, photo.T_field_cam
    matches, sparse = ladder.find_sparse(query, photo.held_out, Stopwatch())
    near = _start(bundle, T_true, NEAR_START, generator)
    aligned = ladder.field.align(query, near, ladder.config.field.fine)
    keyframe = ladder.keyframe.align(
        query,
        invert(sparse.T_cam_map) if sparse else aligned.T_field_cam,
        None,
        photo.held_out.keyframes,
    )
    depth = ladder.field.check(query, T_true).median_depth
    poses = {
        'field': (aligned.T_field_cam, aligned.information_66),
        'keyframe': (keyframe.T_field_cam, keyframe.information_66),
    }
    if sparse is not None:
        poses['sparse'] = (invert(sparse.T_cam_map), sparse.information_66)
    distance = ladder.keyframes.distance(T_true, photo.held_out.keyframes)
    for kind, (T, information) in poses.items():
        found = pose_errors(T, T_true)
        if found.translation < RIGHT_RELATIVE * depth and found.rotation_deg < RIGHT_DEG:
            normalised = normalised_error(T, information, T_true) / 6.0
            errors[kind].append(PoseSample(distance, normalised))
    return _Tried(photo, matches, sparse)


def _judged(
    ladder: Ladder, tried: _Tried, generator: np.random.Generator, errors: list[PoseSample]
) -> list[Sample]:
    """Finish good and bad hypotheses of a photo, and return what speaks for each."""
    photo = tried.photo
    T_true = photo.T_field_cam
    hypotheses = []
    if tried.sparse is not None:
        hypotheses.append(ladder.sparse_hypothesis(tried.sparse, photo.held_out))
    starts = [_start(ladder.bundle, T_true, NEAR_START, generator)]
    starts += [_start(ladder.bundle, T_true, far, generator) for far in FAR_STARTS]
    hypotheses += [Hypothesis('prior', T, T) for T in starts]
    samples = []
    for hypothesis in hypotheses:
        outcome = ladder.finish(
            photo.query, hypothesis, tried.matches, photo.held_out, Stopwatch()
        )
        sample = _sample(outcome, T_true)
        samples.append(sample)
        if hypothesis.rung == 'sparse' and sample.is_right:
            final = outcome.hypothesis
            error = normalised_error(final.T_field_cam, final.information_66, T_true)
            distance = ladder.keyframes.distance(T_true, photo.held_out.keyframes)
            errors.append(PoseSample(distance, error / 6.0))
    return samples


def _sample(outcome: Outcome, T_true: np.ndarray) -> Sample:
    errors = pose_errors(outcome.hypothesis.T_field_cam, T_true)
    relative = errors.translation / max(outcome.check.median_depth, 1e-9)
    return Sample(outcome.evidence, relative, errors.rotation_deg)


def _start(
    bundle: MapBundle,
    T_true: np.ndarray,
    start: tuple[float, float],
    generator: np.random.Generator,
) -> np.ndarray:
    share, rotation_deg = start
    return perturbed(T_true, share * bundle.scene_scale, rotation_deg, generator)
