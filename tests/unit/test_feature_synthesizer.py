"""Fields with exposure and fusion: what is rendered, what learns, and what can be saved."""

import dataclasses
import json

import pytest
import torch

from posefield.errors import BundleError
from posefield.fields.act import luminance_histogram
from posefield.fields.feature_synthesizer import FeatureSynthesizer
from posefield.fields.rendering import render_view, view_rays
from posefield.geometry.rays import pixel_grid
from support.textured_room import pinhole

NEAR, FAR = 0.05, 8.0
CAMERA = pinhole(9, 7, 8.0)
GRID = {
    'resolutions': [8, 16],
    'channels': 4,
    'width': 16,
    'proposal_resolution': 8,
    'proposal_channels': 2,
    'proposal_samples': 12,
    'samples': 8,
    'features': 6,
}
MLP = {
    'width': 16,
    'depth': 3,
    'skip': 1,
    'position_levels': 4,
    'direction_levels': 2,
    'coarse_samples': 12,
    'fine_samples': 8,
    'features': 6,
}
CONFIGS = {
    kind: {'kind': kind, 'field': field, 'act': True, 'fusion': {'channels': 6}}
    for kind, field in (('grid', GRID), ('mlp', MLP))
}
KINDS = sorted(CONFIGS)
HISTOGRAM = torch.tensor([0, 5, 10, 20, 30, 20, 10, 5, 0, 0])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def synthesizer(kind: str, seed: int = 0) -> FeatureSynthesizer:
    made = FeatureSynthesizer.from_config(CONFIGS[kind], generator(seed)).eval()
    # An exposure that has learned: different for every histogram.
    torch.nn.init.normal_(made.act.network[-1].weight, std=0.3, generator=generator(9))
    return made


@pytest.mark.parametrize('kind', KINDS)
def test_a_view_is_colours_features_and_fused_features(kind):
    made = synthesizer(kind)
    view = made.render_view(CAMERA, torch.eye(4), NEAR, FAR, HISTOGRAM)
    assert view.colours_3HW.shape == (3, 7, 9)
    assert view.features_CHW.shape == (6, 7, 9)
    assert view.fused_CHW.shape == (6, 7, 9)
    assert view.depths_HW.shape == view.depth_sigmas_HW.shape == view.opacities_HW.shape == (7, 9)
    assert ((view.colours_3HW > 0.0) & (view.colours_3HW < 1.0)).all()
    fused = made.fusion(view.colours_3HW[None], view.features_CHW[None])[0]
    torch.testing.assert_close(view.fused_CHW, fused)
    brighter = made.render_view(CAMERA, torch.eye(4), NEAR, FAR, HISTOGRAM.flip(0))
    assert not torch.allclose(view.colours_3HW, brighter.colours_3HW, atol=1e-3)
    torch.testing.assert_close(view.features_CHW, brighter.features_CHW)


@pytest.mark.parametrize('kind', KINDS)
def test_rays_and_views_agree_and_a_view_does_not_depend_on_its_chunks(kind):
    made = synthesizer(kind)
    T = torch.eye(4)
    origins, directions = view_rays(CAMERA, T, pixel_grid(7, 9))
    with torch.no_grad():
        rays = made.render_rays(origins, directions, NEAR, FAR, HISTOGRAM)
    view = made.render_view(CAMERA, T, NEAR, FAR, HISTOGRAM, chunk_rays=10)
    torch.testing.assert_close(view.colours_3HW, rays.colours.T.reshape(3, 7, 9))
    torch.testing.assert_close(view.features_CHW, rays.features.T.reshape(6, 7, 9))
    torch.testing.assert_close(view.depths_HW, rays.depths.reshape(7, 9))
    plain = render_view(made.field, CAMERA, T, NEAR, FAR)
    torch.testing.assert_close(view.opacities_HW, plain.opacities_HW)


@pytest.mark.parametrize('kind', KINDS)
def test_gradients_reach_the_pose_and_only_the_pose_when_parameters_are_frozen(kind):
    made = synthesizer(kind).requires_grad_(False)
    T = torch.eye(4, requires_grad=True)
    view = made.render_view(CAMERA, T, NEAR, FAR, HISTOGRAM, grad=True)
    for image in (view.colours_3HW, view.features_CHW, view.fused_CHW):
        (gradient,) = torch.autograd.grad((image**2).sum(), T, retain_graph=True)
        assert torch.isfinite(gradient).all()
        assert (gradient[:3].abs().amax(dim=0) > 0.0).all()
    still = made.render_view(CAMERA, T, NEAR, FAR, HISTOGRAM)
    assert not still.fused_CHW.requires_grad
    torch.testing.assert_close(still.fused_CHW, view.fused_CHW.detach())
    assert all(parameter.grad is None for parameter in made.parameters())


@pytest.mark.parametrize('kind', KINDS)
def test_a_synthesizer_survives_json_and_tensors(kind):
    made = synthesizer(kind)
    config = json.loads(json.dumps(made.to_config()))
    back = FeatureSynthesizer.from_config(config, generator(5), made.tensors()).eval()
    view, same = (s.render_view(CAMERA, torch.eye(4), NEAR, FAR, HISTOGRAM) for s in (made, back))
    for name in (field.name for field in dataclasses.fields(view)):
        assert torch.equal(getattr(view, name), getattr(same, name)), name


def test_without_exposure_and_fusion_it_is_the_field():
    config = {**CONFIGS['grid'], 'act': False, 'fusion': None}
    made = FeatureSynthesizer.from_config(config, generator())
    view = made.render_view(CAMERA, torch.eye(4), NEAR, FAR, None)
    plain = render_view(made.field, CAMERA, torch.eye(4), NEAR, FAR)
    assert torch.equal(view.colours_3HW, plain.colours_HW3.permute(2, 0, 1))
    assert torch.equal(view.features_CHW, plain.features_CHW)
    assert view.fused_CHW is None


def test_fusion_of_other_channels_and_unknown_kinds_are_refused():
    with pytest.raises(BundleError, match='takes 128 feature channels, but the field has 6'):
        FeatureSynthesizer.from_config({**CONFIGS['grid'], 'fusion': {}}, generator())
    with pytest.raises(BundleError, match="'voxels', expected one of grid, mlp"):
        FeatureSynthesizer.from_config({**CONFIGS['grid'], 'kind': 'voxels'}, generator())


@pytest.mark.parametrize('kind', KINDS)
def test_exposure_and_features_are_learned_together(kind):
    made = FeatureSynthesizer.from_config(CONFIGS[kind], generator())
    images = torch.linspace(0.1, 0.7, 9).expand(1, 3, 7, 9)
    histogram = luminance_histogram(images)[0]
    origins, directions = view_rays(CAMERA, torch.eye(4), pixel_grid(7, 9))
    target = images[0].reshape(3, -1).T
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        render = made.render_rays(origins, directions, NEAR, FAR, histogram)
        colours, features = (
            values.T.reshape(1, -1, 7, 9) for values in (render.colours, render.features)
        )
        fused = made.fusion(colours, features)
        loss = (render.colours - target).abs().mean() + (fused - 0.5).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    unused = [name for name, p in made.named_parameters() if p.grad is None]
    of_other_losses = ('field.proposal', 'field.coarse', 'field.fine.transient_beta')
    assert all(name.startswith(of_other_losses) for name in unused), unused
