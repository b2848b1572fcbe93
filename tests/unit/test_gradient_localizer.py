"""The gradient refiners on a small learned map."""

from dataclasses import replace

import numpy as np
import pytest

from posefield.errors import PosefieldError
from posefield.geometry.poses import perturbed, pose_errors
from posefield.relocalization.localizer import REFINERS, Localizer, LocalizerConfig
from posefield.relocalization.refiners.gradient_config import GRADIENT_REFINERS, LearningRates
from support.tiny_map import CAMERA, ROOM, query_poses

ALL = LocalizerConfig()
T_TRUE = query_poses()[0]


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    return ROOM.view(CAMERA, T_TRUE)[0]


@pytest.fixture(scope='module')
def start() -> np.ndarray:
    return perturbed(T_TRUE, 0.1, 3.0, np.random.default_rng(4))


@pytest.mark.parametrize('refiner', ['nefes-b', 'photometric-dense', 'photometric-sparse'])
def test_moving_the_pose_improves_a_start(tiny_localizer, image, start, refiner):
    config = ALL.with_refiner(refiner, 20)
    found = Localizer(tiny_localizer.bundle, config).refine(image, CAMERA, start)
    before, after = pose_errors(start, T_TRUE), pose_errors(found.T_map_cam, T_TRUE)
    # Where they trade off, Adam is slow: most of the motion in the image is gone, not all.
    assert after.translation < 0.9 * before.translation
    assert after.rotation_deg < 0.6 * before.rotation_deg
    np.testing.assert_allclose(found.T_map_cam_coarse, start, atol=1e-9)
    assert found.iterations == 20
    assert found.renders == 21  # and one to judge the pose
    assert found.timings['gradient'] > 0.0
    assert np.linalg.eigvalsh(found.covariance).min() > 0.0


def test_moving_the_regressor_improves_its_own_pose(tiny_localizer, image):
    config = ALL.with_refiner('nefes-a', 20)
    config = replace(config, gradient=replace(config.gradient, rate=1e-4))
    for rung in ('sparse', 'retrieval'):
        config = config.without(rung)
    found = Localizer(tiny_localizer.bundle, config).localize(image, CAMERA)
    assert found.hypothesis == 'regressor'
    coarse = pose_errors(found.T_map_cam_coarse, T_TRUE)
    refined = pose_errors(found.T_map_cam, T_TRUE)
    assert refined.translation < 0.8 * coarse.translation
    assert found.timings['gradient'] > 0.0
    assert 'field' not in found.timings


def test_the_scaled_rates_know_the_size_of_the_map(tiny_localizer, image, start):
    """The same map in millimetres: rates relative to the scene lead to the same pose."""
    bundle = tiny_localizer.bundle
    transform = replace(
        bundle.transform,
        centre=tuple((1000.0 * np.array(bundle.transform.centre)).tolist()),
        scale=bundle.transform.scale / 1000.0,
    )
    config = ALL.with_refiner('nefes-b', 3)
    here = Localizer(bundle, config).refine(image, CAMERA, start)
    start_mm = start.copy()
    start_mm[:3, 3] *= 1000.0
    millimetres = replace(bundle, transform=transform)
    there = Localizer(millimetres, config).refine(image, CAMERA, start_mm)
    np.testing.assert_allclose(there.T_map_cam[:3, 3], 1000.0 * here.T_map_cam[:3, 3], atol=1e-3)
    absolute = ALL.with_refiner('nefes-b', 1, LearningRates(0.0, 5.0))
    moved = Localizer(millimetres, absolute).refine(image, CAMERA, start_mm)
    steps = np.abs(moved.T_map_cam[:3, 3] - start_mm[:3, 3])
    np.testing.assert_allclose(steps, 5.0, rtol=1e-3)
    np.testing.assert_allclose(moved.T_map_cam[:3, :3], start_mm[:3, :3], atol=1e-9)


def test_refiners_have_names():
    assert {'none', 'field', 'keyframe', 'field+keyframe', *GRADIENT_REFINERS} == set(REFINERS)
    for name in GRADIENT_REFINERS:
        config = ALL.with_refiner(name)
        assert config.gradient == GRADIENT_REFINERS[name]
        assert config.rungs == {'sparse', 'regressor', 'retrieval'}
        assert config.with_refiner('field').gradient is None


def test_a_map_tells_what_it_was_made_for():
    info = {'localizer': {'rungs': ['regressor', 'field'], 'refiner': 'nefes-a'}}
    config = LocalizerConfig.of_map(info)
    assert config.rungs == {'regressor'}
    assert config.gradient == GRADIENT_REFINERS['nefes-a']
    assert LocalizerConfig.of_map({'units': 'metres'}) == ALL


def test_what_a_map_was_made_for_can_be_changed_when_it_is_loaded(tiny_map):
    own = Localizer.load(tiny_map, 'cpu').config
    changed = Localizer.load(tiny_map, 'cpu', lambda config: config.with_refiner('nefes-b'))
    assert own == ALL
    assert changed.config == own.with_refiner('nefes-b')


def test_settings_of_other_refiners_are_refused():
    with pytest.raises(PosefieldError, match='field has no iterations.*nefes-b'):
        ALL.with_refiner('field', iterations=20)
    with pytest.raises(PosefieldError, match='none has no iterations or learning rates'):
        ALL.with_refiner('none', rates=LearningRates(0.1, 0.1))
    with pytest.raises(PosefieldError, match='nefes-a moves the weights'):
        ALL.with_refiner('nefes-a', rates=LearningRates(0.1, 0.1))
