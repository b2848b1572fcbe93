"""The published field: sizes, a renderer that is too slow to be wrong, and learning."""

import math

import pytest
import torch

from posefield.fields.encodings import frequency_encoding
from posefield.fields.mlp_field import MlpField, MlpFieldConfig
from posefield.fields.rendering import render_rays

TINY = MlpFieldConfig(
    width=16,
    depth=3,
    skip=1,
    position_levels=3,
    direction_levels=2,
    coarse_samples=10,
    fine_samples=6,
    features=5,
)
NEAR, FAR = 0.0, 3.0


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def field_of(config: MlpFieldConfig = TINY, seed: int = 0) -> MlpField:
    return MlpField(config, generator(seed)).double()


def some_rays(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    g = generator(4)
    origins = torch.rand(count, 3, generator=g, dtype=torch.float64) - 0.5
    directions = torch.rand(count, 3, generator=g, dtype=torch.float64) - 0.5
    directions[:, 2] = 1.0
    return origins, directions


def test_the_networks_have_the_published_sizes():
    field = MlpField(MlpFieldConfig(), generator())
    trunk = 63 * 128 + 6 * 128 * 128 + (128 + 63) * 128 + 8 * 128
    heads = 129 + 128 * 129 + 64 * (155 + 1) + 131 * 65
    transient = 64 * (155 + 1) + 2 * 64 * 65 + 5 * 65
    coarse = sum(p.numel() for p in field.coarse.parameters())
    fine = sum(p.numel() for p in field.fine.parameters())
    assert coarse == trunk + heads == 166_980
    assert fine == trunk + heads + transient == 185_609
    assert field.fine.trunk[4].in_features == 128 + 63


def test_a_configuration_survives_json():
    assert MlpFieldConfig.from_dict(TINY.to_dict()) == TINY


def test_the_same_seed_gives_the_same_field_whatever_the_global_state():
    torch.manual_seed(1)
    first = field_of().state_dict()
    torch.manual_seed(2)
    second = field_of().state_dict()
    assert all(torch.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))
    other = field_of(seed=1).state_dict()
    assert not torch.equal(first['fine.trunk.0.weight'], other['fine.trunk.0.weight'])
    assert not torch.equal(first['fine.trunk.0.weight'], first['coarse.trunk.0.weight'])


def layer(linear: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return linear.weight @ x + linear.bias


def slow_trunk(network, point: torch.Tensor) -> torch.Tensor:
    encoded = frequency_encoding(point, TINY.position_levels)
    h = torch.relu(layer(network.trunk[0], encoded))
    h = torch.relu(layer(network.trunk[1], torch.cat([encoded, h])))
    return torch.relu(layer(network.trunk[2], h))


def slow_sample(network, point: torch.Tensor, direction: torch.Tensor) -> dict:
    """Return what a network says of one point, layer by layer."""
    h = slow_trunk(network, point)
    view = frequency_encoding(direction / direction.norm(), TINY.direction_levels)
    seen = torch.cat([layer(network.bottleneck, h), view])
    out = layer(network.static_out, torch.relu(layer(network.static_hidden, seen)))
    softplus = torch.nn.functional.softplus
    said = {'density': softplus(layer(network.density, h))[0], 'rgb': out[:3], 'f': out[3:]}
    if network.has_transient:
        t = torch.relu(layer(network.transient_in, seen))
        for hidden in network.transient_hidden:
            t = torch.relu(layer(hidden, t))
        said['passing'] = softplus(layer(network.transient_density, t))[0]
        said['passing_rgb'] = torch.sigmoid(layer(network.transient_colour, t))
        said['beta'] = softplus(layer(network.transient_beta, t))[0]
    return said


def slow_ray(field: MlpField, origin, direction, distances, transient: bool) -> dict:
    """Composite one ray sample by sample (NeFeS section 2.4)."""
    light, density = 1.0, 0.0
    sums = {'rgb': torch.zeros(3), 'f': torch.zeros(5), 'beta': 0.1, 'opacity': 0.0}
    for k, distance in enumerate(distances):
        said = slow_sample(field.fine, origin + distance * direction, direction)
        length = float(distances[k + 1] - distance) if k + 1 < len(distances) else 100.0
        passing = said['passing'] if transient else torch.tensor(0.0)
        w_static = light * (1.0 - torch.exp(-length * said['density']))
        w_passing = light * (1.0 - torch.exp(-length * passing))
        sums['rgb'] = sums['rgb'] + w_static * said['rgb'] + w_passing * said['passing_rgb']
        sums['f'] = sums['f'] + w_static * said['f']
        sums['beta'] = sums['beta'] + w_passing * said['beta']
        left = light * torch.exp(-length * (said['density'] + passing))
        sums['opacity'] = sums['opacity'] + light - left
        light, density = left, density + passing
    sums['passing'] = density / len(distances)
    return sums


@pytest.mark.parametrize('transient', [True, False])
def test_rays_are_what_the_formulas_say_sample_by_sample(transient):
    field = field_of()
    origins, directions = some_rays()
    render = render_rays(field, origins, directions, NEAR, FAR, transient=transient)
    assert (render.opacities <= 1.0 + 1e-9).all()
    edges = render.fine.distances
    for ray in range(len(origins)):
        distances = slow_distances(field, origins[ray], directions[ray])
        torch.testing.assert_close(
            edges[ray, 1:-1], 0.5 * (distances[1:] + distances[:-1]), atol=1e-6, rtol=0.0
        )
        slow = slow_ray(field, origins[ray], directions[ray], distances, transient)
        torch.testing.assert_close(render.colours[ray], slow['rgb'])
        torch.testing.assert_close(render.features[ray], slow['f'])
        torch.testing.assert_close(render.opacities[ray], slow['opacity'])
        if transient:
            torch.testing.assert_close(render.extras.betas[ray], slow['beta'])
            torch.testing.assert_close(render.extras.transient_densities[ray], slow['passing'])


@torch.no_grad()
def slow_distances(field: MlpField, origin, direction) -> torch.Tensor:
    """Return where the fine network is asked: coarse distances and quantiles of the weights."""
    t = torch.linspace(NEAR, FAR, TINY.coarse_samples, dtype=torch.float64)
    light, weights = 1.0, []
    for k, distance in enumerate(t):
        h = slow_trunk(field.coarse, origin + distance * direction)
        density = torch.nn.functional.softplus(layer(field.coarse.density, h))[0]
        left = light * torch.exp(-density * (float(t[1]) if k + 1 < len(t) else 100.0))
        weights.append(float(light - left) + 1e-5)
        light = left
    middles, inner = 0.5 * (t[1:] + t[:-1]), torch.tensor(weights[1:-1], dtype=torch.float64)
    cdf = [0.0] + torch.cumsum(inner / inner.sum(), dim=0).tolist()
    added = []
    for u in torch.linspace(0.0, 1.0, TINY.fine_samples, dtype=torch.float64).tolist():
        k = max(i for i in range(len(cdf) - 1) if cdf[i] <= u + 1e-12)
        share = min((u - cdf[k]) / (cdf[k + 1] - cdf[k]), 1.0)
        added.append(float(middles[k] + share * (middles[k + 1] - middles[k])))
    return torch.cat([t, torch.tensor(added, dtype=torch.float64)]).sort().values


def test_the_coarse_network_shows_colours_while_it_learns_and_only_then():
    field = field_of()
    origins, directions = some_rays()
    render = render_rays(field, origins, directions, NEAR, FAR, generator(1))
    render.extras.coarse_colours.sum().backward()
    assert field.coarse.trunk[0].weight.grad.abs().max() > 0.0
    assert field.fine.trunk[0].weight.grad is None
    assert render.proposal.weights.requires_grad
    field.requires_grad_(False)
    origins.requires_grad_(True)
    render = render_rays(field, origins, directions, NEAR, FAR)
    assert render.extras.coarse_colours is None
    assert not render.proposal.weights.requires_grad
    assert render.colours.requires_grad


def test_what_passes_by_can_be_left_out():
    origins, directions = some_rays()
    field = field_of()
    whole = render_rays(field, origins, directions, NEAR, FAR)
    assert (whole.extras.betas > 0.1).all()
    assert (whole.extras.transient_densities > 0.0).all()
    static = render_rays(field, origins, directions, NEAR, FAR, transient=False)
    assert static.extras.betas is None
    assert static.extras.transient_densities is None
    with torch.no_grad():
        field.fine.transient_density.bias.fill_(-50.0)
    empty = render_rays(field, origins, directions, NEAR, FAR)
    for name in ('colours', 'features', 'depths', 'opacities'):
        torch.testing.assert_close(getattr(empty, name), getattr(static, name))
    without = field_of(MlpFieldConfig.from_dict({**TINY.to_dict(), 'transient': False}))
    assert render_rays(without, origins, directions, NEAR, FAR).extras.betas is None


def test_a_field_without_features_has_none():
    field = field_of(MlpFieldConfig.from_dict({**TINY.to_dict(), 'features': 0}))
    assert render_rays(field, *some_rays(), NEAR, FAR).features is None
    assert field.fine.static_out.out_features == 3


def test_jitter_comes_from_the_generator_only():
    field, (origins, directions) = field_of(), some_rays()
    first, second, other = (
        render_rays(field, origins, directions, NEAR, FAR, generator(seed)).colours
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_field_learns_where_a_wall_is():
    config = MlpFieldConfig.from_dict(
        {**TINY.to_dict(), 'width': 32, 'coarse_samples': 16, 'fine_samples': 16}
    )
    g, field = generator(3), MlpField(config, generator(3))
    optimizer = torch.optim.Adam(field.parameters(), lr=5e-3)
    for _ in range(150):
        origins, directions, colours = wall_rays(192, g)
        render = render_rays(field, origins, directions, NEAR, FAR, g, transient=False)
        loss = ((render.colours - colours) ** 2).mean()
        loss = loss + 0.5 * ((render.extras.coarse_colours - colours) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    origins, directions, colours = wall_rays(300, g)
    with torch.no_grad():
        render = render_rays(field, origins, directions, NEAR, FAR, transient=False)
    psnr = -10.0 * math.log10(float(((render.colours - colours) ** 2).mean()))
    assert psnr > 22.0
    assert float((render.depths - 1.0).abs().median()) < 0.15


def wall_rays(count: int, g: torch.Generator):
    """Return origins, directions and colours of rays that meet a striped wall at z = 1."""
    origins = torch.cat([torch.rand(count, 2, generator=g) - 0.5, torch.zeros(count, 1)], dim=1)
    directions = torch.cat([torch.rand(count, 2, generator=g) - 0.5, torch.ones(count, 1)], dim=1)
    x, y = (origins + directions)[:, :2].unbind(dim=1)
    stripes = [torch.sin(6.0 * x), torch.sin(6.0 * y), torch.sin(5.0 * (x - y))]
    return origins, directions, 0.5 + 0.4 * torch.stack(stripes, dim=1)
