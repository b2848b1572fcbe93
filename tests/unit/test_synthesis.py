"""What gradient refiners see of a field, with and without features of its own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from posefield.features.filters import convolution_blur
from posefield.features.gradient import GradientFeatures
from posefield.fields.feature_synthesizer import FeatureSynthesizer
from posefield.fields.grid_field import GridFieldConfig
from posefield.fields.mlp_field import MlpFieldConfig
from posefield.fields.scene_transform import SceneTransform
from posefield.relocalization.photos import SizedImage
from posefield.relocalization.query import Query
from posefield.relocalization.refiners.synthesis import (
    EXTRACTED_BLUR_PX,
    ExtractedSynthesis,
    LearnedSynthesis,
    resized_maps,
    synthesis_of,
)
from support.textured_room import TexturedRoom, look_at, pinhole

CAMERA = pinhole(48, 36, 40.0)
SMALL = 18
TRANSFORM = SceneTransform((0.0, 0.0, 0.0), 0.5, 0.05, 30.0)
T_FIELD_CAM = TRANSFORM.camera_to_field(look_at(np.array([-0.9, -0.7, 0.1]), np.zeros(3)))
TINY_GRID = {
    'resolutions': [8, 16],
    'channels': 4,
    'width': 16,
    'proposal_resolution': 8,
    'proposal_channels': 3,
    'proposal_samples': 12,
    'samples': 8,
}
TINY_MLP = {
    'width': 16,
    'depth': 3,
    'skip': 1,
    'position_levels': 3,
    'direction_levels': 1,
    'coarse_samples': 8,
    'fine_samples': 8,
}
SIZES = {'grid': TINY_GRID, 'mlp': TINY_MLP}


def synthesizer(
    features: int, act: bool = False, fusion: bool = False, kind: str = 'grid'
) -> FeatureSynthesizer:
    defaults = {'grid': GridFieldConfig, 'mlp': MlpFieldConfig}[kind]().to_dict()
    config = {
        'kind': kind,
        'field': {**defaults, **SIZES[kind], 'features': features},
        'act': act,
        'fusion': {'channels': features, 'width': 8} if fusion else None,
    }
    found = FeatureSynthesizer.from_config(config, torch.Generator().manual_seed(0))
    if act:
        # A last layer of zeros would not look at the histogram at all.
        torch.nn.init.normal_(
            found.act.network[-1].weight, generator=torch.Generator().manual_seed(1)
        )
    return found.requires_grad_(False)


@pytest.fixture(scope='module')
def query() -> Query:
    image, _ = TexturedRoom(seed=2).view(CAMERA, TRANSFORM.camera_to_map(T_FIELD_CAM))
    return Query(SizedImage(image, CAMERA), GradientFeatures(), 'cpu')


def bound(parts: FeatureSynthesizer, query: Query):
    return synthesis_of(parts, TRANSFORM, GradientFeatures(), query, SMALL, 36)


def pose() -> torch.Tensor:
    return torch.tensor(T_FIELD_CAM, dtype=torch.float32, requires_grad=True)


def test_a_field_without_features_has_those_of_its_colours(query):
    synthesis = bound(synthesizer(0), query)
    assert isinstance(synthesis, ExtractedSynthesis)
    view = synthesis.view(pose())
    assert view.colours_3HW.shape == (3, SMALL, 24)
    rendered = convolution_blur(GradientFeatures()(view.colours_3HW[None]), EXTRACTED_BLUR_PX)[0]
    torch.testing.assert_close(view.features_CHW, rendered)
    expected = convolution_blur(GradientFeatures()(query.tensor(SMALL)), EXTRACTED_BLUR_PX)[0]
    torch.testing.assert_close(synthesis.observed_features(SMALL, 24), expected)
    enlarged = F.interpolate(expected[None], (36, 48), mode='bicubic', align_corners=False)[0]
    torch.testing.assert_close(synthesis.observed_features(36, 48), enlarged)


@pytest.mark.parametrize('fusion', [False, True])
def test_a_field_with_features_gives_them_fused_where_it_can(query, fusion):
    parts = synthesizer(11, fusion=fusion)
    synthesis = bound(parts, query)
    assert isinstance(synthesis, LearnedSynthesis)
    view = synthesis.view(pose())
    whole = parts.render_view(synthesis.camera, pose(), TRANSFORM.near, TRANSFORM.far, None)
    expected = whole.fused_CHW if fusion else whole.features_CHW
    torch.testing.assert_close(view.features_CHW.detach(), expected)
    # Labels are extracted from whole photos and reduced afterwards.
    detailed = GradientFeatures()(query.tensor(36))
    reduced = F.interpolate(detailed, (SMALL, 24), mode='bilinear', align_corners=False)[0]
    torch.testing.assert_close(synthesis.observed_features(SMALL, 24), reduced)


@pytest.mark.parametrize('kind', ['grid', 'mlp'])
@pytest.mark.parametrize(('features', 'fusion'), [(0, False), (11, False), (11, True)])
def test_gradients_reach_the_pose_and_nothing_else(query, features, fusion, kind):
    network = synthesizer(features, act=True, fusion=fusion, kind=kind)
    synthesis = bound(network, query)
    T = pose()
    view = synthesis.view(T)
    (view.features_CHW * synthesis.observed_features(SMALL, 24)).mean().backward()
    assert torch.isfinite(T.grad).all()
    assert (T.grad[:3].abs() > 0.0).all()
    assert all(parameter.grad is None for parameter in network.parameters())


def test_single_rays_have_the_colours_of_the_whole_view(query):
    synthesis = bound(synthesizer(0, act=True), query)
    rows = torch.tensor([0, 5, 24, 431])
    whole = synthesis.view(pose()).colours_3HW.flatten(1).T
    torch.testing.assert_close(synthesis.colours(pose(), rows), whole[rows])
    torch.testing.assert_close(synthesis.colours(pose(), None), whole)


def test_colours_have_the_exposure_of_the_query(query):
    parts = synthesizer(0, act=True)
    dark = Query(SizedImage(0.2 * query.image.image_HW3, CAMERA), GradientFeatures(), 'cpu')
    bright_view, dark_view = (
        bound(parts, q).view(pose()).colours_3HW.detach() for q in (query, dark)
    )
    assert float((bright_view - dark_view).abs().mean()) > 0.01


def test_maps_are_resized_between_pixel_centres():
    ramp = torch.arange(8.0).expand(1, 4, 8)
    assert resized_maps(ramp, 4, 8) is ramp
    torch.testing.assert_close(resized_maps(ramp, 2, 4)[0, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))
