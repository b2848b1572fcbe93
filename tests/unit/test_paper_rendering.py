"""Rendering of posed ellipsoids with a decoder, fast and plain (watch_it_move.md 3 and 4)."""

from dataclasses import replace
import itertools

import torch

from posefield.articulation.ellipsoid_sdf import ellipsoid_distance
from posefield.articulation.paper_rendering import PaperRenderConfig, render_rays
from posefield.articulation.volume_rendering import (
    coarse_depths,
    depth_range,
    fine_depths,
    rendering_weights,
)
from support.paper_scene import tiny_model, tiny_rays

CONFIG = PaperRenderConfig(coarse_samples=16, fine_samples=16)


def _draws(rays, seed=2):
    shape = (*rays.directions_BR3.shape[:2], CONFIG.fine_samples)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _plain_points(model, points_N3, T_scene_part_P44):
    """Distances and colours of points, part by part."""
    local, distances = [], []
    for T, radii in zip(T_scene_part_P44, model.radii_P3, strict=True):
        local.append((points_N3 - T[:3, 3]) @ T[:3, :3])
        distances.append(ellipsoid_distance(local[-1], radii))
    distances = torch.stack(distances, dim=1)
    decoded = model.decoder(torch.stack(local, dim=1), distances)
    k = model.union.sharpness
    union = -torch.log(torch.exp(-k * distances.double()).sum(1)) / k
    return union.float() + decoded.residuals_N, decoded.colours_N3


def _plain_render(model, rays, draws, background):
    """Ray by ray, asking everywhere."""
    colours, masks = [], []
    near, far = depth_range(rays.part_depths())
    for b, r in itertools.product(*map(range, rays.directions_BR3.shape[:2])):
        origin, direction = rays.origins_B3[b], rays.directions_BR3[b, r]
        T = rays.T_scene_part_BP44[b]
        coarse = coarse_depths(near[b, None], far[b, None], CONFIG.coarse_samples)
        distances, _ = _plain_points(model, origin + coarse[0, :, None] * direction, T)
        weights = rendering_weights(distances[None])
        depths = fine_depths(coarse, weights, draws[b, r, None])[0]
        distances, colour = _plain_points(model, origin + depths[:, None] * direction, T)
        weights = rendering_weights(distances[None])[0]
        colours.append(weights @ colour + (1 - weights.sum()) * background)
        masks.append(weights.sum())
    shape = rays.directions_BR3.shape[:2]
    return torch.stack(colours).view(*shape, 3), torch.stack(masks).view(shape)


def test_a_render_is_that_of_a_plain_one():
    model = tiny_model()
    rays = tiny_rays(model, rays=12)
    with torch.no_grad():
        colours, masks = _plain_render(model, rays, _draws(rays), 1.0)
        render = render_rays(model, rays, 1.0, _draws(rays), CONFIG)
    assert 0.1 < masks.mean() < 0.9
    torch.testing.assert_close(render.opacities_BR, masks, atol=1e-4, rtol=0)
    torch.testing.assert_close(render.colours_BR3, colours, atol=1e-4, rtol=0)


def test_leaving_out_empty_space_changes_neither_render_nor_gradients():
    model = tiny_model(seed=3)
    found = []
    for skip_empty in (True, False):
        rays = tiny_rays(model, rays=200)
        render = render_rays(model, rays, -1.0, _draws(rays), CONFIG, skip_empty=skip_empty)
        loss = render.colours_BR3.square().mean() + render.opacities_BR.square().mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        found.append((render, gradients))
    (fast, fast_gradients), (plain, plain_gradients) = found
    assert plain.evaluated == 1.0
    assert fast.evaluated < 0.7
    torch.testing.assert_close(fast.depths_BRS, plain.depths_BRS)
    for name in ('colours_BR3', 'opacities_BR', 'weights_BRS', 'disparities_BR'):
        torch.testing.assert_close(getattr(fast, name), getattr(plain, name), atol=2e-6, rtol=1e-5)
    for one, other in zip(fast_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=1e-3)


def test_bounds_are_never_above_the_distances():
    model = tiny_model(seed=4)
    with torch.no_grad():
        for parameter in model.decoder.residual.parameters():
            parameter *= 30
        T = model.poses(torch.arange(2))
        generator = torch.Generator().manual_seed(0)
        points = 0.4 * torch.randn(2, 2000, 3, generator=generator)
        distances = model.distances(model.part_points(points, T))
        bounds = model.distance_bounds(points, T)
    assert (bounds <= distances + 1e-6).all()
    # And far away they are near them.
    far = distances > 0.3
    assert far.any()
    assert (distances - bounds)[far].max() < 0.25


def test_a_view_without_anything_is_background():
    model = tiny_model()
    rays = tiny_rays(model, rays=5)
    rays.directions_BR3[..., 0] = 5.0
    render = render_rays(model, rays, -1.0, _draws(rays), CONFIG)
    assert torch.equal(render.colours_BR3, torch.full((2, 5, 3), -1.0))
    assert render.opacities_BR.sum() == 0
    assert render.evaluated < 0.01


def test_the_depth_of_a_part_is_along_the_optical_axis():
    rays = replace(tiny_rays(tiny_model()), axes_B3=torch.eye(3)[:2])
    centres = rays.T_scene_part_BP44[..., :3, 3] - rays.origins_B3[:, None]
    expected = torch.stack([centres[0, :, 0], centres[1, :, 1]])
    torch.testing.assert_close(rays.part_depths(), expected)


def test_parts_behind_all_cameras_leave_the_render_and_its_gradient_finite():
    model = tiny_model()
    with torch.no_grad():
        model.poses.layers[-1].bias[24:] -= 30.0
    rays = tiny_rays(model)
    render = render_rays(model, rays, 1.0, _draws(rays), CONFIG)
    loss = render.colours_BR3.mean() + render.opacities_BR.mean()
    loss.backward()
    assert render.opacities_BR.sum() == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
