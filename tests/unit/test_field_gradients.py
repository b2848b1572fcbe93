"""Gradients of fields: against finite differences, and none where none must be."""

import dataclasses

import pytest
import torch

from posefield.fields.grid_field import GridField, GridFieldConfig
from posefield.fields.mlp_field import MlpField, MlpFieldConfig
from posefield.fields.rendering import render_rays, render_view_grad
from posefield.geometry.poses import retract
from support.textured_room import pinhole

GRID = GridFieldConfig(
    resolutions=(5, 9),
    channels=3,
    width=8,
    proposal_resolution=4,
    proposal_channels=2,
    proposal_samples=6,
    samples=7,
    features=4,
)
MLP = MlpFieldConfig(
    width=8,
    depth=3,
    skip=1,
    position_levels=2,
    direction_levels=2,
    coarse_samples=6,
    fine_samples=5,
    features=4,
)
NEAR, FAR = 0.1, 3.0
KINDS = ('grid', 'mlp')


def field_of(kind: str, detach: bool = True):
    """Return a tiny float64 field whose samples do not move with the rays."""
    generator = torch.Generator().manual_seed(0)
    if kind == 'grid':
        field = GridField(dataclasses.replace(GRID, detach_feature_weights=detach), generator)
        last = field.proposal.head
    else:
        field = MlpField(dataclasses.replace(MLP, detach_feature_weights=detach), generator)
        last = field.coarse.density
    field.double()
    # Finite differences would see the samples move, through which no gradient is wanted.
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, -50.0)
    return field


def density_parameters(field) -> list[torch.Tensor]:
    if isinstance(field, GridField):
        return [field.trunk[2].weight, field.trunk[2].bias]
    return [field.fine.density.weight, field.fine.density.bias]


def some_rays(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    origins = 0.4 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 0.2
    directions = torch.rand(count, 3, generator=generator, dtype=torch.float64) - 0.5
    directions[:, 2] = 1.0
    return origins, directions


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', ['colours', 'features', 'opacities', 'depths'])
def test_gradients_to_the_rays_are_those_of_finite_differences(kind, name):
    field = field_of(kind, detach=False).requires_grad_(False)
    origins, directions = (rays.requires_grad_(True) for rays in some_rays())

    def rendered(origins: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        return getattr(render_rays(field, origins, directions, NEAR, FAR), name)

    assert torch.autograd.gradcheck(rendered, (origins, directions), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_gradients_to_the_parameters_are_those_of_finite_differences(kind):
    field = field_of(kind, detach=False)
    origins, directions = some_rays(3)
    generator = torch.Generator().manual_seed(2)
    render = render_rays(field, origins, directions, NEAR, FAR)
    weights = [
        torch.randn(values.shape, generator=generator, dtype=torch.float64)
        for values in (render.colours, render.features)
    ]

    def loss() -> torch.Tensor:
        render = render_rays(field, origins, directions, NEAR, FAR)
        return (weights[0] * render.colours).sum() + (weights[1] * render.features).sum()

    loss().backward()
    step = 1e-6
    for part, parameter in field.named_parameters():
        if part.startswith(('proposal', 'coarse', 'fine.transient_beta')):
            continue
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            parameter += step * direction
            high = loss()
            parameter -= 2.0 * step * direction
            low = loss()
            parameter += step * direction
        expected = float(high - low) / (2.0 * step)
        found = float((parameter.grad * direction).sum())
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6), part


@pytest.mark.parametrize('kind', KINDS)
def test_gradients_to_a_camera_are_those_of_finite_differences(kind):
    field = field_of(kind, detach=False).requires_grad_(False)
    camera, base = pinhole(4, 3, 3.0), torch.eye(4, dtype=torch.float64)

    def rendered(twist: torch.Tensor) -> torch.Tensor:
        view = render_view_grad(field, camera, retract(base, twist), NEAR, FAR)
        return torch.cat([view.colours_HW3.flatten(), view.features_CHW.flatten()])

    twist = torch.tensor([0.02, -0.03, 0.01, 0.04, 0.01, -0.02], dtype=torch.float64)
    assert torch.autograd.gradcheck(rendered, twist.requires_grad_(True), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_features_shape_the_density_only_when_their_weights_are_not_detached(kind):
    rays = some_rays()
    for detach in (True, False):
        field = field_of(kind, detach)
        parameters = density_parameters(field)
        render = render_rays(field, *rays, NEAR, FAR)
        by_features = torch.autograd.grad(
            (render.features**2).sum(), parameters, retain_graph=True, allow_unused=True
        )
        none = all(gradient is None or (gradient == 0.0).all() for gradient in by_features)
        assert none == detach
        by_colours = torch.autograd.grad((render.colours**2).sum(), parameters)
        assert all(gradient.abs().max() > 0.0 for gradient in by_colours)


@pytest.mark.parametrize('kind', KINDS)
def test_detaching_the_weights_changes_gradients_but_no_values(kind):
    origins, directions = some_rays()
    origins.requires_grad_(True)
    gradients, features = [], []
    for detach in (True, False):
        render = render_rays(field_of(kind, detach), origins, directions, NEAR, FAR)
        features.append(render.features)
        gradients.append(torch.autograd.grad((render.features**2).sum(), origins)[0])
    assert torch.equal(*features)
    assert not torch.allclose(*gradients)
    assert gradients[0].abs().min() > 0.0
