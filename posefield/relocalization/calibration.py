"""Calibrating covariances and scores of a new map on validation photos.

The photos are the scene's `val` split; without one, training photos are localized as if they
had never been seen: without their own keyframe, reference view and sparse observations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from posefield.geometry.poses import invert, perturbed, pose_errors
from posefield.relocalization.acceptance import (
    AcceptanceModel,
    LogisticModel,
    Sample,
    fit_acceptance,
)
from posefield.relocalization.ladder import (
    Hypothesis,
    Ladder,
    LocalizerConfig,
    Outcome,
    Stopwatch,
)
from posefield.relocalization.map_bundle import Calibration, MapBundle
from posefield.relocalization.refiners.alignment import twist_between
from posefield.relocalization.sparse_pose import PointMatches, SparsePose
from posefield.relocalization.validation import ValidationPhoto

KINDS = ('sparse', 'field', 'keyframe', 'fused')
# With fewer right poses than this a kappa is not fitted but stays at the field's usual value.
MIN_SAMPLES = 3
DEFAULT_KAPPA = 20.0
# The largest normalised errors say more about outliers than about the noise.
WINSOR_SHARE = 0.9
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
        dict.fromkeys(KINDS, 1.0), coarse_translation, coarse_rotation, AcceptanceModel(never)
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
    nees: dict[str, list[float]] = {kind: [] for kind in KINDS}
    tried = []
    for index, photo in enumerate(photos):
        check_stop()
        tried.append(_single_rungs(ladder, photo, generator, nees))
        report(0.5 * (index + 1) / len(photos))
    kappas = {kind: _kappa(nees[kind]) for kind in KINDS}
    kappas['fused'] = kappas['keyframe']
    ladder = _with_kappas(ladder, kappas, device)
    samples: list[Sample] = []
    for index, one in enumerate(tried):
        check_stop()
        samples += _judged(ladder, one, generator, nees['fused'])
        report(0.5 + 0.5 * (index + 1) / len(tried))
    kappas['fused'] = kappas['keyframe'] * _kappa(nees['fused'], default=1.0)
    return replace(bundle.calibration, kappas=kappas, acceptance=fit_acceptance(samples))


def _with_kappas(ladder: Ladder, kappas: dict[str, float], device) -> Ladder:
    calibration = replace(ladder.bundle.calibration, kappas=dict(kappas))
    return Ladder(replace(ladder.bundle, calibration=calibration), ladder.config, device)


def _kappa(nees: Sequence[float], default: float = DEFAULT_KAPPA) -> float:
    """Return the mean normalised error squared per degree of freedom, outliers pulled in."""
    if len(nees) < MIN_SAMPLES:
        return default
    values = np.asarray(nees)
    return float(np.minimum(values, np.quantile(values, WINSOR_SHARE)).mean()) / 6.0


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
    nees: dict[str, list[float]],
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
    for kind, refined in (('field', aligned), ('keyframe', keyframe)):
        _note(nees[kind], refined.T_field_cam, refined.information_66, T_true, depth)
    if sparse is not None:
        _note(nees['sparse'], invert(sparse.T_cam_map), sparse.information_66, T_true, depth)
    return _Tried(photo, matches, sparse)


def _note(
    nees: list[float],
    T_field_cam: np.ndarray,
    information_66: np.ndarray,
    T_true: np.ndarray,
    depth: float,
) -> None:
    sample = pose_errors(T_field_cam, T_true)
    if sample.translation < 0.02 * depth and sample.rotation_deg < 1.0:
        nees.append(normalised_error(T_field_cam, information_66, T_true))


def _judged(
    ladder: Ladder, tried: _Tried, generator: np.random.Generator, nees: list[float]
) -> list[Sample]:
    """Finish good and bad hypotheses of a photo, and return what speaks for each."""
    photo = tried.photo
    T_true = photo.T_field_cam
    hypotheses = []
    if tried.sparse is not None:
        hypotheses.append(ladder.sparse_hypothesis(tried.sparse))
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
            nees.append(normalised_error(final.T_field_cam, final.information_66, T_true))
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
