"""Rendering of fields that are known in closed form."""

import numpy as np
import pytest
import torch

from posefield.fields.rendering import (
    render_rays,
    render_view,
    render_view_grad,
    view_rays,
)
from posefield.geometry.camera import Camera
from posefield.geometry.rays import pixel_grid
from support.analytic_field import AnalyticField
from support.textured_room import look_at, pinhole

NEAR, FAR = 0.1, 30.0


class Wall(AnalyticField):
    """An opaque half space z > `depth`; its colour is a function of the position."""

    def __init__(self, depth: float, density: float = 1e4):
        super().__init__()
        self.depth, self.density = depth, density

    def densities(self, points_N3: torch.Tensor) -> torch.Tensor:
        return self.density * (points_N3[:, 2] > self.depth).to(points_N3.dtype)

    def colours_at(self, points_N3: torch.Tensor) -> torch.Tensor:
        return 0.5 + 0.1 * points_N3.clamp(-5.0, 5.0)

    def features_at(self, points_N3: torch.Tensor) -> torch.Tensor:
        return torch.cat([points_N3, -2.0 * points_N3], dim=1)


def fan_of_rays(count: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    directions = torch.cat(
        [1.6 * torch.rand(count, 2, generator=generator) - 0.8, torch.ones(count, 1)], dim=1
    )
    return torch.zeros(count, 3), directions


def test_depth_is_along_the_optical_axis_whatever_the_obliqueness():
    origins, directions = fan_of_rays()
    render = render_rays(Wall(1.5), origins, directions, NEAR, FAR)
    torch.testing.assert_close(render.depths, torch.full((50,), 1.5), atol=0.03, rtol=0.0)
    torch.testing.assert_close(render.opacities, torch.ones(50), atol=1e-4, rtol=0.0)
    assert render.depth_sigmas.max() < 0.06
    expected = 0.5 + 0.1 * 1.5 * directions
    torch.testing.assert_close(render.colours, expected, atol=0.02, rtol=0.0)


def test_emptiness_is_black_and_transparent():
    origins, directions = fan_of_rays()
    render = render_rays(Wall(1e9), origins, directions, NEAR, FAR)
    assert render.opacities.max() == 0.0
    assert render.colours.abs().max() == 0.0
    assert torch.isfinite(render.depths).all()
    assert torch.isfinite(render.depth_sigmas).all()


def test_fog_absorbs_by_the_length_of_the_ray_not_by_its_depth():
    origins, directions = fan_of_rays()
    render = render_rays(Wall(-1e9, density=0.7), origins, directions, NEAR, 3.0)
    edges = render.fine.distances
    lengths = (edges[:, -1] - edges[:, 0]) * directions.norm(dim=1)
    torch.testing.assert_close(render.opacities, 1.0 - torch.exp(-0.7 * lengths))


def test_depth_sigma_is_the_spread_of_the_weights():
    origins, directions = fan_of_rays(5)
    render = render_rays(Wall(-1e9, density=0.5), origins, directions, NEAR, 3.0)
    distances, weights = render.fine.distances, render.fine.weights
    for ray in range(5):
        middles = 0.5 * (distances[ray, 1:] + distances[ray, :-1])
        shares = weights[ray] / weights[ray].sum()
        variance = float((shares * (middles - render.depths[ray]) ** 2).sum())
        assert float(render.depth_sigmas[ray]) == pytest.approx(variance**0.5, rel=1e-4)


def test_without_a_generator_rendering_is_deterministic_and_with_one_it_is_not():
    origins, directions = fan_of_rays()
    wall = Wall(1.5, density=3.0)
    first, second = (render_rays(wall, origins, directions, NEAR, FAR) for _ in range(2))
    assert torch.equal(first.colours, second.colours)
    jittered = render_rays(wall, origins, directions, NEAR, FAR, torch.Generator().manual_seed(0))
    assert not torch.equal(first.fine.edges, jittered.fine.edges)


def test_view_rays_pass_through_the_pixels():
    camera = Camera(20, 16, 18.0, 15.0, 9.0, 7.0)
    T = look_at(np.array([1.0, 2.0, 0.5]), np.array([-1.0, 0.3, 0.1]))
    pixels = pixel_grid(16, 20)
    origins, directions = view_rays(camera, torch.tensor(T, dtype=torch.float32), pixels)
    points = (origins + 2.5 * directions).numpy().astype(np.float64)
    in_camera = (points - T[:3, 3]) @ T[:3, :3]
    np.testing.assert_allclose(in_camera[:, 2], 2.5, atol=1e-5)
    found, visible = camera.project(in_camera)
    assert visible.all()
    np.testing.assert_allclose(found, pixels.numpy(), atol=1e-3)


def test_a_view_does_not_depend_on_its_chunks_and_is_laid_out_row_by_row():
    camera = pinhole(13, 7, 9.0)
    T = torch.eye(4)
    whole = render_view(Wall(1.5), camera, T, NEAR, FAR)
    pieces = render_view(Wall(1.5), camera, T, NEAR, FAR, chunk_rays=10)
    assert whole.colours_HW3.shape == (7, 13, 3)
    for name in ('colours_HW3', 'depths_HW', 'depth_sigmas_HW', 'opacities_HW'):
        torch.testing.assert_close(getattr(whole, name), getattr(pieces, name))
    # The red channel grows with x to the right, the green with y downwards.
    assert (whole.colours_HW3[:, :, 0].diff(dim=1) > 0).all()
    assert (whole.colours_HW3[:, :, 1].diff(dim=0) > 0).all()


def test_a_camera_that_steps_forward_is_nearer():
    camera, T = pinhole(9, 7, 9.0), torch.eye(4)
    T[2, 3] = 0.6
    view = render_view(Wall(1.5), camera, T, NEAR, FAR)
    torch.testing.assert_close(view.depths_HW, torch.full((7, 9), 0.9), atol=0.03, rtol=0.0)


def test_features_are_composited_like_colours_and_laid_out_by_channel():
    camera, T = pinhole(13, 7, 9.0), torch.eye(4)
    view = render_view(Wall(1.5), camera, T, NEAR, FAR)
    assert view.features_CHW.shape == (6, 7, 13)
    torch.testing.assert_close(view.features_CHW[3:], -2.0 * view.features_CHW[:3])
    torch.testing.assert_close(
        0.5 + 0.1 * view.features_CHW[:3].permute(1, 2, 0), view.colours_HW3, atol=1e-3, rtol=0.0
    )


def test_the_gradient_of_a_view_follows_the_moving_camera():
    camera = pinhole(9, 7, 9.0)
    T = torch.eye(4, dtype=torch.float64, requires_grad=True)
    view = render_view_grad(Wall(1.5), camera, T, NEAR, FAR)
    assert view.colours_HW3.dtype == torch.float64
    # A step to the right moves what every pixel sees of the wall by the same step.
    (gradient,) = torch.autograd.grad(view.features_CHW[0].mean(), T, retain_graph=True)
    assert float(gradient[0, 3]) == pytest.approx(1.0, abs=1e-3)
    (gradient,) = torch.autograd.grad(view.colours_HW3[..., 1].mean(), T)
    assert float(gradient[1, 3]) == pytest.approx(0.1, abs=1e-4)
    still = render_view(Wall(1.5), camera, T, NEAR, FAR)
    assert not still.colours_HW3.requires_grad
    assert torch.equal(still.colours_HW3, view.colours_HW3.detach())


def test_chunks_change_no_gradient():
    camera, field = pinhole(9, 7, 9.0), Wall(1.5, density=3.0)
    gradients = []
    for chunk_rays in (100, 10):
        T = torch.eye(4, requires_grad=True)
        view = render_view_grad(field, camera, T, NEAR, FAR, chunk_rays)
        ((view.colours_HW3**2).sum() + (view.features_CHW**3).sum()).backward()
        gradients.append(T.grad)
    torch.testing.assert_close(*gradients)
    assert gradients[0][:3].abs().min() > 0.0
