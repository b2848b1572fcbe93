"""The grid field: shapes, determinism, finite gradients, and that it learns geometry."""

import dataclasses

import torch

from posefield.fields.compositing import distortion_loss, interlevel_loss
from posefield.fields.encodings import contract, spherical_harmonics
from posefield.fields.grid_field import (
    GridField,
    GridFieldConfig,
    PlaneGrid,
    density_activation,
)
from posefield.fields.rendering import render_rays

TINY = GridFieldConfig(
    resolutions=(16, 48),
    channels=6,
    width=24,
    proposal_resolution=32,
    proposal_channels=4,
    proposal_samples=24,
    samples=16,
)


def tiny_field(seed: int = 0) -> GridField:
    return GridField(TINY, torch.Generator().manual_seed(seed))


def test_a_configuration_survives_json():
    assert GridFieldConfig.from_dict({**TINY.to_dict(), 'resolutions': [16, 48]}) == TINY


def test_the_same_seed_gives_the_same_field_whatever_the_global_state():
    torch.manual_seed(1)
    first = tiny_field()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = tiny_field()
    assert torch.equal(torch.get_rng_state(), before)
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    other = tiny_field(seed=1).state_dict()
    assert not torch.equal(first.state_dict()['trunk.0.weight'], other['trunk.0.weight'])
    assert not torch.equal(first.state_dict()['grids.0.planes'], other['grids.0.planes'])


def test_a_feature_head_leaves_the_rest_of_the_field_as_it_is():
    plain = tiny_field()
    with_features = GridField(
        dataclasses.replace(TINY, features=7), torch.Generator().manual_seed(0)
    )
    added = with_features.state_dict()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(added.pop(name), tensor), name
    assert all(name.startswith('feature.') for name in added)
    generator = torch.Generator().manual_seed(1)
    directions = torch.cat([torch.rand(20, 2, generator=generator) - 0.5, torch.ones(20, 1)], 1)
    first, second = (
        render_rays(field, torch.zeros(20, 3), directions, 0.05, 30.0)
        for field in (plain, with_features)
    )
    assert torch.equal(first.colours, second.colours)
    assert first.features is None
    assert second.features.shape == (20, 7)


def test_features_are_composited_from_the_head_s_value_at_every_sample():
    field = GridField(dataclasses.replace(TINY, features=7), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    directions = torch.cat([torch.rand(5, 2, generator=generator) - 0.5, torch.ones(5, 1)], 1)
    with torch.no_grad():
        render = render_rays(field, torch.zeros(5, 3), directions, 0.05, 30.0)
        distances, weights = render.fine.distances, render.fine.weights
        for ray in range(5):
            middles = 0.5 * (distances[ray, 1:] + distances[ray, :-1])
            points = middles[:, None] * directions[ray]
            contracted = contract(points)
            planes = torch.cat([grid(contracted) for grid in field.grids], dim=1)
            view = spherical_harmonics(torch.nn.functional.normalize(directions[ray], dim=0))
            said = field.feature(torch.cat([planes, view.expand(len(points), -1)], dim=1))
            expected = (weights[ray, :, None] * said).sum(dim=0)
            torch.testing.assert_close(render.features[ray], expected)


def test_planes_are_looked_up_by_their_own_axes():
    grid = PlaneGrid(5, 1, torch.Generator().manual_seed(0))
    ramp = torch.linspace(-2.0, 2.0, 5)
    with torch.no_grad():
        grid.planes.zero_()
        grid.planes[0, 0] = ramp[None, :]  # grows with x on the plane xy
        grid.planes[1, 0] = ramp[:, None]  # grows with z on the plane xz
        grid.planes[2, 0] = ramp[None, :]  # grows with y on the plane yz
    points = torch.tensor([[0.3, -0.7, 1.1], [-1.9, 0.2, 0.0], [2.0, -2.0, 1.0]])
    x, y, z = points.unbind(dim=1)
    torch.testing.assert_close(grid(points)[:, 0], x * z * y + x + z + y)


def test_densities_are_positive_and_colours_are_colours():
    field = tiny_field()
    points = 5.0 * torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    densities, geometry = field.encode(points)
    assert densities.shape == (200,)
    assert geometry.shape == (200, 15)
    assert (densities > 0).all()
    directions = torch.nn.functional.normalize(points)
    colours = field.colours(geometry, directions)
    assert colours.shape == (200, 3)
    assert ((colours >= 0) & (colours <= 1)).all()
    assert not torch.allclose(colours, field.colours(geometry, -directions))
    assert (field.proposal.densities(points) > 0).all()


def test_the_density_activation_and_its_gradient_stay_finite():
    x = torch.tensor([-1000.0, -3.0, 0.0, 2.0, 1000.0], requires_grad=True)
    densities = density_activation(x)
    torch.testing.assert_close(densities[1:4], torch.exp(torch.tensor([-4.0, -1.0, 1.0])))
    densities.sum().backward()
    assert torch.isfinite(densities).all()
    assert torch.isfinite(x.grad).all()
    torch.testing.assert_close(x.grad[1:4], densities[1:4].detach())


def test_all_parameters_get_finite_gradients():
    field = tiny_field()
    generator = torch.Generator().manual_seed(2)
    directions = torch.cat([torch.rand(64, 2, generator=generator) - 0.5, torch.ones(64, 1)], 1)
    render = render_rays(field, torch.zeros(64, 3), directions, 0.05, 30.0, generator)
    loss = render.colours.mean() + interlevel_loss(
        render.fine.edges, render.fine.weights, render.proposal.edges, render.proposal.weights
    )
    loss.backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def wall_rays(count: int, generator: torch.Generator):
    """Return origins, directions and colours of rays that meet a striped wall at z = 1."""
    origins = torch.cat(
        [0.8 * torch.rand(count, 2, generator=generator) - 0.4, torch.zeros(count, 1)], dim=1
    )
    directions = torch.cat(
        [torch.rand(count, 2, generator=generator) - 0.5, torch.ones(count, 1)], dim=1
    )
    x, y = (origins + directions)[:, :2].unbind(dim=1)
    stripes = [torch.sin(9.0 * x), torch.sin(9.0 * y), torch.sin(7.0 * (x - y))]
    return origins, directions, 0.5 + 0.4 * torch.stack(stripes, dim=1)


def test_a_field_learns_where_a_wall_is():
    generator = torch.Generator().manual_seed(3)
    field = tiny_field(seed=3)
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2, eps=1e-15)
    for _ in range(200):
        origins, directions, colours = wall_rays(512, generator)
        render = render_rays(field, origins, directions, 0.05, 30.0, generator)
        loss = (render.colours - colours).abs().mean()
        loss = loss + 0.01 * distortion_loss(render.fine.weights, render.fine.edges)
        loss = loss + 0.05 * (1.0 - render.opacities).mean()
        loss = loss + interlevel_loss(
            render.fine.edges,
            render.fine.weights,
            render.proposal.edges,
            render.proposal.weights,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    origins, directions, colours = wall_rays(500, generator)
    with torch.no_grad():
        render = render_rays(field, origins, directions, 0.05, 30.0)
    assert (render.colours - colours).abs().mean() < 0.05
    assert float(render.opacities.median()) > 0.95
    assert float((render.depths - 1.0).abs().median()) < 0.06
