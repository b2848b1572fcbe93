"""The whole ladder on a small learned map."""

from dataclasses import replace

import numpy as np
import pytest

from posefield.errors import CameraError, LocalizationError, PosefieldError
from posefield.evaluation.metrics import nees
from posefield.geometry.camera import Camera
from posefield.geometry.poses import perturbed, pose_errors
from posefield.relocalization.localization import Localization, PosePrior
from posefield.relocalization.localizer import RUNGS, Localizer, LocalizerConfig
from support.textured_room import TexturedRoom, pinhole
from support.tiny_map import CAMERA, ROOM, query_poses

ALL = LocalizerConfig()


def relative_error(found: Localization, T_true: np.ndarray) -> tuple[float, float]:
    errors = pose_errors(found.T_map_cam, T_true)
    return errors.translation / found.median_depth, errors.rotation_deg


def pictures(room: TexturedRoom = ROOM, camera: Camera = CAMERA) -> list:
    return [(room.view(camera, T)[0], T) for T in query_poses()]


def test_new_views_are_found_to_a_per_cent_and_accepted(tiny_localizer):
    for image, T_true in pictures():
        found = tiny_localizer.localize(image, CAMERA)
        relative, rotation_deg = relative_error(found, T_true)
        assert found.accepted, found.reason
        assert relative < 0.01
        assert rotation_deg < 0.5
        assert found.reason == ''
        assert 2.0 < found.median_depth < 3.5
        assert found.timings['total'] >= found.timings['sparse'] > 0.0


@pytest.mark.parametrize('rung', RUNGS)
def test_any_one_rung_can_be_missing(tiny_localizer, rung):
    localizer = Localizer(tiny_localizer.bundle, ALL.without(rung))
    errors = []
    for image, T_true in pictures():
        found = localizer.localize(image, CAMERA)
        assert found.hypothesis != rung
        errors.append(relative_error(found, T_true))
    assert (np.array(errors) < [0.02, 1.0]).all(axis=1).sum() >= 2


def test_without_keypoints_regressor_and_retrieval_lead_there(tiny_localizer):
    localizer = Localizer(tiny_localizer.bundle, ALL.without('sparse'))
    for image, T_true in pictures():
        found = localizer.localize(image, CAMERA)
        assert found.hypothesis in ('regressor', 'retrieval')
        coarse = pose_errors(found.T_map_cam_coarse, T_true)
        refined = pose_errors(found.T_map_cam, T_true)
        assert refined.translation < 0.03
        assert refined.translation < coarse.translation
        assert 1 <= found.renders <= 5
        assert found.iterations > 0


def test_the_same_image_gives_the_same_pose_as_bytes_or_floats(tiny_localizer):
    image, _ = pictures()[0]
    as_bytes = (image * 255.0 + 0.5).astype(np.uint8)
    first = tiny_localizer.localize(as_bytes, CAMERA)
    second = tiny_localizer.localize(as_bytes.astype(np.float32) / 255.0, CAMERA)
    np.testing.assert_array_equal(first.T_map_cam, second.T_map_cam)
    np.testing.assert_array_equal(first.covariance, second.covariance)


@pytest.mark.parametrize(
    'camera',
    [
        pinhole(192, 144, 160.0),
        Camera(192, 108, 150.0, 155.0, 90.0, 50.0),
        Camera(128, 96, 105.0, 105.0, 63.5, 47.5, 'plumb_bob', (-0.25, 0.05, 0.0, 0.0)),
    ],
)
def test_other_cameras_than_the_photos_are_understood(tiny_localizer, camera):
    for image, T_true in pictures(camera=camera):
        found = tiny_localizer.localize(image, camera)
        relative, rotation_deg = relative_error(found, T_true)
        assert relative < 0.03
        assert rotation_deg < 1.5


def test_a_prior_is_refined_where_nothing_else_is_on(tiny_localizer):
    localizer = Localizer(tiny_localizer.bundle, LocalizerConfig(frozenset({'field', 'keyframe'})))
    image, T_true = pictures()[0]
    start = perturbed(T_true, 0.12, 3.0, np.random.default_rng(0))
    found = localizer.localize(image, CAMERA, PosePrior(start, np.diag([0.02] * 3 + [0.003] * 3)))
    relative, rotation_deg = relative_error(found, T_true)
    assert found.hypothesis == 'prior'
    np.testing.assert_allclose(found.T_map_cam_coarse, start, atol=1e-9)
    assert relative < 0.01
    assert rotation_deg < 0.5


def test_a_lost_query_is_sought_from_many_views(tiny_localizer):
    generator = np.random.default_rng(0)
    T_true = [perturbed(query_poses()[k % 3], 0.5, 25.0, generator) for k in range(7)][-1]
    image = ROOM.view(CAMERA, T_true)[0]
    rungs = frozenset({'retrieval', 'field', 'keyframe'})
    errors_deg = {}
    for sought in (0, ALL.sought):
        config = LocalizerConfig(rungs, retrieved=1, sought=sought)
        found = Localizer(tiny_localizer.bundle, config).localize(image, CAMERA)
        errors_deg[found.accepted] = relative_error(found, T_true)[1]
    assert errors_deg[False] > 10.0  # the view that looks most like it leads elsewhere
    assert errors_deg[True] < 3.0


def test_a_narrow_query_is_found(tiny_localizer):
    width, height = round(0.4 * CAMERA.width), round(0.4 * CAMERA.height)
    x, y = (CAMERA.width - width) // 2, (CAMERA.height - height) // 2
    for image, T_true in pictures():
        narrow = np.ascontiguousarray(image[y : y + height, x : x + width])
        found = tiny_localizer.localize(narrow, CAMERA.cropped(x, y, width, height))
        assert found.accepted
        relative, rotation_deg = relative_error(found, T_true)
        assert relative < 0.03
        assert rotation_deg < 1.5


def test_a_sure_prior_needs_fewer_renders_than_a_vague_one(tiny_localizer):
    localizer = Localizer(tiny_localizer.bundle, LocalizerConfig(frozenset({'field'})))
    image, T_true = pictures()[0]
    start = perturbed(T_true, 0.01, 0.3, np.random.default_rng(1))
    sure, vague = (
        localizer.localize(image, CAMERA, PosePrior(start, np.diag([s**2] * 3 + [s**2] * 3)))
        for s in (0.005, 0.1)
    )
    assert sure.renders < vague.renders
    assert relative_error(sure, T_true)[0] < 0.03


def test_a_false_prior_does_not_stop_the_search(tiny_localizer):
    image, T_true = pictures()[1]
    wrong = PosePrior(
        perturbed(T_true, 0.8, 60.0, np.random.default_rng(2)), np.diag([1e-4] * 3 + [1e-5] * 3)
    )
    for config in (ALL, ALL.without('sparse')):
        found = Localizer(tiny_localizer.bundle, config).localize(image, CAMERA, wrong)
        assert found.hypothesis != 'prior'
        assert relative_error(found, T_true)[0] < 0.02


def test_another_place_is_not_accepted(tiny_localizer):
    for image, _ in pictures(room=TexturedRoom(seed=99, finest=0.15)):
        found = tiny_localizer.localize(image, CAMERA)
        assert not found.accepted
        assert 'below the threshold' in found.reason
        assert np.isfinite(found.T_map_cam).all()


@pytest.mark.parametrize('level', [0.0, 0.5, 1.0])
def test_an_image_that_shows_nothing_is_not_accepted(tiny_localizer, level):
    image = np.full((CAMERA.height, CAMERA.width, 3), level, np.float32)
    found = tiny_localizer.localize(image, CAMERA)
    assert not found.accepted
    assert np.isfinite(found.T_map_cam).all()
    assert np.isfinite(found.covariance).all()


def test_nothing_to_start_from_is_an_error_that_names_the_rungs(tiny_localizer):
    localizer = Localizer(tiny_localizer.bundle, LocalizerConfig(frozenset({'field'})))
    with pytest.raises(LocalizationError, match='only field'):
        localizer.localize(pictures()[0][0], CAMERA)


def test_an_image_of_another_size_is_refused(tiny_localizer):
    image = np.zeros((30, 40, 3), np.uint8)
    with pytest.raises(CameraError, match='40x30.*96x72'):
        tiny_localizer.localize(image, CAMERA)
    with pytest.raises(CameraError, match='40x30.*96x72'):
        tiny_localizer.refine(image, CAMERA, np.eye(4))


def test_unknown_rungs_and_refiners_are_named():
    for call in (
        lambda: LocalizerConfig(frozenset({'magic'})),
        lambda: ALL.without('magic'),
        lambda: ALL.with_refiner('magic'),
    ):
        with pytest.raises(PosefieldError, match="'magic', expected one of"):
            call()


@pytest.mark.parametrize(
    ('refiner', 'bound'), [('field', 0.02), ('keyframe', 0.02), ('field+keyframe', 0.01)]
)
def test_each_refiner_improves_a_start(tiny_localizer, refiner, bound):
    localizer = Localizer(tiny_localizer.bundle, ALL.with_refiner(refiner))
    generator = np.random.default_rng(3)
    for image, T_true in pictures():
        start = perturbed(T_true, 0.08, 2.0, generator)
        found = localizer.refine(image, CAMERA, start)
        assert relative_error(found, T_true)[0] < bound
        assert found.renders <= 5
        np.testing.assert_allclose(found.T_map_cam_coarse, start, atol=1e-9)


def test_without_refiners_the_start_comes_back_with_the_coarse_covariance(tiny_localizer):
    localizer = Localizer(tiny_localizer.bundle, ALL.with_refiner('none'))
    image, T_true = pictures()[0]
    found = localizer.refine(image, CAMERA, T_true)
    np.testing.assert_allclose(found.T_map_cam, T_true, atol=1e-12)
    calibration = tiny_localizer.bundle.calibration
    scale = tiny_localizer.bundle.transform.scale
    sigmas = [calibration.coarse_translation / scale] * 3 + [calibration.coarse_rotation] * 3
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), sigmas)
    assert found.iterations == 0


def test_covariances_are_positive_and_of_the_size_of_the_errors(tiny_localizer):
    values = []
    for config in (ALL, ALL.without('sparse'), ALL.without('keyframe')):
        localizer = Localizer(tiny_localizer.bundle, config)
        for image, T_true in pictures():
            found = localizer.localize(image, CAMERA)
            np.testing.assert_allclose(found.covariance, found.covariance.T)
            assert np.linalg.eigvalsh(found.covariance).min() > 0.0
            values.append(nees(found, T_true) / 6.0)
    # Twelve photos calibrate roughly; an error of the convention is off by much more.
    assert 0.02 < np.median(values) < 10.0


def test_units_and_origin_of_the_map_do_not_matter(tiny_localizer):
    """The same map in millimetres and elsewhere gives the same pose there."""
    bundle, factor, shift = tiny_localizer.bundle, 1000.0, np.array([5.0, -3.0, 2.0])
    transform = replace(
        bundle.transform,
        centre=tuple((factor * (np.array(bundle.transform.centre) + shift)).tolist()),
        scale=bundle.transform.scale / factor,
    )
    other = Localizer(replace(bundle, transform=transform))
    image, _ = pictures()[2]
    here, there = tiny_localizer.localize(image, CAMERA), other.localize(image, CAMERA)
    np.testing.assert_allclose(there.T_map_cam[:3, :3], here.T_map_cam[:3, :3], atol=1e-12)
    np.testing.assert_allclose(
        there.T_map_cam[:3, 3], factor * (here.T_map_cam[:3, 3] + shift), rtol=1e-9
    )
    units = np.array([factor] * 3 + [1.0] * 3)
    np.testing.assert_allclose(
        there.covariance, here.covariance * np.outer(units, units), rtol=1e-6
    )
    assert there.median_depth == pytest.approx(factor * here.median_depth)
    assert there.score == here.score


def test_a_render_shows_the_room_in_its_colours_and_metres(tiny_localizer):
    for T_true in query_poses():
        image, depths = ROOM.view(CAMERA, T_true)
        rendered = tiny_localizer.render(T_true, CAMERA)
        assert rendered.image_HW3.shape == image.shape
        assert rendered.image_HW3.dtype == np.float32
        mse = float(((rendered.image_HW3 - image) ** 2).mean())
        assert -10.0 * np.log10(mse) > 16.0
        assert np.median(np.abs(rendered.depth_HW / depths - 1.0)) < 0.1
        assert np.median(rendered.opacity_HW) > 0.9
