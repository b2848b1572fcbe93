"""Kappas make the mean normalised error 1 at every distance from the photos."""

import numpy as np
import pytest
import torch

from posefield.geometry.poses import invert, retract
from posefield.relocalization.calibration import (
    DEFAULT_KAPPA,
    PoseSample,
    fit_kappa,
    neutral_calibration,
    normalised_error,
)
from posefield.relocalization.map_bundle import Calibration


def samples(at_photo: float, growth: float, count: int, seed: int) -> list[PoseSample]:
    """Return normalised errors that scatter as chi square with six degrees of freedom."""
    generator = np.random.default_rng(seed)
    distances = generator.uniform(0.0, 0.6, size=count)
    means = at_photo + growth * distances**2
    values = means * generator.chisquare(6, size=count) / 6.0
    return [PoseSample(d, v) for d, v in zip(distances, values, strict=True)]


def test_both_kappas_are_found():
    at_photo, growth = fit_kappa(samples(5.0, 200.0, 4000, seed=0))
    assert at_photo == pytest.approx(5.0, rel=0.15)
    assert growth == pytest.approx(200.0, rel=0.15)


def test_a_single_outlier_does_not_decide():
    errors = samples(5.0, 0.0, 40, seed=1)
    clean = fit_kappa(errors)[0]
    spoiled = fit_kappa([*errors, PoseSample(0.0, 1e5)])[0]
    assert spoiled < 2.0 * clean


def test_poses_without_information_do_not_count():
    errors = samples(5.0, 0.0, 20, seed=2)
    assert fit_kappa([*errors, PoseSample(0.1, 0.0)]) == fit_kappa(errors)
    assert fit_kappa([PoseSample(0.1, 0.0)] * 10) == DEFAULT_KAPPA


def test_kappa_grows_with_the_distance_up_to_a_limit_and_survives_json():
    neutral = neutral_calibration(0.1, 0.2)
    values = {**neutral.to_dict(), 'kappas': {'fused': [2.0, 8.0]}}
    calibration = Calibration.from_dict(values)
    assert calibration.kappa('fused', 0.0) == 2.0
    assert calibration.kappa('fused', 0.5) == pytest.approx(4.0)
    assert calibration.kappa('fused', 50.0) == calibration.kappa('fused', 5.0)


def test_the_normalised_error_is_the_squared_twist_in_the_information():
    T_cam_field = torch.eye(4, dtype=torch.float64)
    twist = torch.tensor([0.01, -0.02, 0.03, 0.002, 0.001, -0.003], dtype=torch.float64)
    T_true = retract(T_cam_field, twist)
    information = np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    error = normalised_error(invert(T_cam_field.numpy()), information, invert(T_true.numpy()))
    assert error == pytest.approx(float(twist @ torch.tensor(information) @ twist), rel=1e-6)
