"""Aligning blurred queries with renders and keyframes that are blurred alike."""

import math

import numpy as np
import pytest
import torch

from posefield.features.blur import NO_BLUR, Blur
from posefield.features.gradient import GradientFeatures
from posefield.fields.rendering import ViewRender
from posefield.geometry.camera import Camera
from posefield.geometry.poses import perturbed, pose_errors
from posefield.relocalization.keyframes import Keyframe, KeyframeSet, encode_jpeg
from posefield.relocalization.photos import SizedImage, to_u8
from posefield.relocalization.query import Query
from posefield.relocalization.refiners.field_alignment import FieldAligner, FieldAlignmentConfig
from posefield.relocalization.refiners.keyframe_alignment import (
    KeyframeAligner,
    KeyframeAlignmentConfig,
)
from posefield.relocalization.refiners.refined import Refined
from support.textured_room import TexturedRoom, look_at, pinhole

ROOM = TexturedRoom(seed=3, finest=0.06)
CAMERA = pinhole(160, 120, 140.0)
EXTRACTOR = GradientFeatures()
T_QUERY = look_at(np.array([-0.9, -0.7, 0.1]), np.array([1.0, 0.5, -0.2]))
T_START = perturbed(T_QUERY, 0.05, 1.5, np.random.default_rng(1))
BLURS = {
    'smear': Blur(length=15.0 / CAMERA.fx, angle=math.radians(50.0)),
    'defocus': Blur(sigma=3.0 / CAMERA.fx),
}


class RoomAligner(FieldAligner):
    """Aligns with exact views in place of a learned field's."""

    def render(self, camera: Camera, T_field_cam: np.ndarray) -> ViewRender:
        image, depths = ROOM.view(camera, T_field_cam)
        depths = torch.tensor(depths, dtype=torch.float32)
        colours = torch.from_numpy(image)
        return ViewRender(colours, depths, torch.zeros_like(depths), torch.ones_like(depths))


class UnmatchedKeyframes(KeyframeSet):
    """Keyframes as sharp as they are, whatever the query."""

    def blur_of(self, query, T_field_cam, excluded=frozenset()) -> Blur:
        return NO_BLUR


@pytest.fixture(scope='module')
def aligner() -> RoomAligner:
    return RoomAligner(None, None, EXTRACTOR, FieldAlignmentConfig(), CAMERA.height, 'cpu')


@pytest.fixture(scope='module')
def keyframes() -> list[Keyframe]:
    generator = np.random.default_rng(0)
    found = []
    for _ in range(3):
        T = perturbed(T_QUERY, 0.15, 5.0, generator)
        image, depths = ROOM.view(CAMERA, T)
        trust = np.full(depths.shape, 255, np.uint8)
        jpeg = encode_jpeg(to_u8(image))
        found.append(Keyframe(T, CAMERA, jpeg, depths.astype(np.float16), trust))
    return found


@pytest.fixture(scope='module', params=BLURS)
def blur(request) -> Blur:
    return BLURS[request.param]


@pytest.fixture(scope='module')
def query(blur) -> Query:
    image = blur.applied(ROOM.view(CAMERA, T_QUERY)[0], CAMERA.fx)
    return Query(SizedImage(image, CAMERA), EXTRACTOR, 'cpu')


def assert_far_better(matched: Refined, unmatched: Refined) -> None:
    """Check that one pose is at least twice as exact, and knows it."""
    found, missed = (pose_errors(r.T_field_cam, T_QUERY) for r in (matched, unmatched))
    assert found.translation < min(0.5 * missed.translation, 0.01)
    assert found.rotation_deg < min(0.5 * missed.rotation_deg, 0.15)
    assert matched.cost < 0.5 * unmatched.cost
    assert matched.inlier_share > 0.9 > unmatched.inlier_share


def test_renders_blurred_alike_fit_a_blurred_query(aligner, query, blur):
    matched, unmatched = (
        aligner.align(query, T_START, aligner.config.fine, given) for given in (blur, NO_BLUR)
    )
    assert_far_better(matched, unmatched)


def test_keyframes_are_blurred_as_the_query_is(keyframes, query):
    aligned = [
        KeyframeAligner(
            kind(keyframes, EXTRACTOR, 2.0, 'cpu'),
            KeyframeAlignmentConfig(),
            CAMERA.height,
            'cpu',
        ).align(query, T_START)
        for kind in (KeyframeSet, UnmatchedKeyframes)
    ]
    assert_far_better(*aligned)


def test_a_true_pose_is_believed_when_its_render_is_blurred_alike(aligner, query, blur):
    matched, unmatched = (aligner.check(query, T_QUERY, given) for given in (blur, NO_BLUR))
    assert matched.cost < 1e-3 < 0.1 < unmatched.cost
    assert matched.inlier_share == pytest.approx(1.0)
    assert np.trace(matched.information_66) > 10.0 * np.trace(unmatched.information_66)
    # Blur that is not there hurts as much.
    sharp = Query(SizedImage(ROOM.view(CAMERA, T_QUERY)[0], CAMERA), EXTRACTOR, 'cpu')
    assert (
        aligner.check(sharp, T_QUERY).cost < 1e-3 < 0.1 < aligner.check(sharp, T_QUERY, blur).cost
    )


def test_points_are_kept_for_each_blur(keyframes):
    lifted = KeyframeSet(keyframes, EXTRACTOR, 2.0, 'cpu')
    sharp, smeared = (lifted.points(0, 60, 1.0, given, 500) for given in (NO_BLUR, BLURS['smear']))
    assert sharp.features_NC.shape == smeared.features_NC.shape
    assert not torch.equal(sharp.features_NC, smeared.features_NC)
    assert lifted.points(0, 60, 1.0, NO_BLUR, 500) is sharp
    assert lifted.points(0, 60, 1.0, BLURS['smear'], 500) is smeared
