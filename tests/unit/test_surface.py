"""The surface around posed ellipsoids, and what cameras see of it."""

import math

import numpy as np
import pytest
import torch

from posefield.articulation.decoder import DecoderConfig
from posefield.articulation.ellipsoid_sdf import ellipsoid_distance
from posefield.articulation.paper_model import PaperModel, PaperModelConfig
from posefield.articulation.shading import Shading, spherical_harmonics
from posefield.articulation.shell_rendering import render_image
from posefield.articulation.shells import RayBundle
from posefield.articulation.surface import (
    NearParts,
    Surface,
    SurfaceConfig,
    first_order_distance,
)
from posefield.errors import BundleError
from posefield.geometry.camera import Camera

SMALL = DecoderConfig(octaves=3, width=16, depth=2, largest_residual=0.05)


def make_surface(radii, seed: int = 0, **options) -> Surface:
    config = SurfaceConfig(decoder=SMALL, **options)
    generator = torch.Generator().manual_seed(seed)
    return Surface(torch.tensor(radii, dtype=torch.float32), config, generator)


def random_poses(rows: int, parts: int, generator: torch.Generator) -> torch.Tensor:
    R, _ = torch.linalg.qr(torch.randn(rows, parts, 3, 3, generator=generator))
    T = torch.eye(4).repeat(rows, parts, 1, 1)
    T[..., :3, :3] = R * torch.linalg.det(R)[..., None, None]
    T[..., :3, 3] = 0.3 * torch.randn(rows, parts, 3, generator=generator)
    return T


def all_parts(T_scene_part_RP44: torch.Tensor) -> NearParts:
    rows, parts = T_scene_part_RP44.shape[:2]
    return NearParts(
        torch.arange(parts).expand(rows, -1),
        torch.ones(rows, parts, dtype=torch.bool),
        T_scene_part_RP44,
    )


def look_at(eye) -> np.ndarray:
    eye = np.array(eye, dtype=np.float64)
    forward = -eye / np.linalg.norm(eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    T = np.eye(4)
    T[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    T[:3, 3] = eye
    return T


def test_first_order_distances_are_exact_on_the_surface_and_right_near_it():
    generator = torch.Generator().manual_seed(0)
    radii = 0.1 + 0.3 * torch.rand(500, 3, generator=generator)
    unit = torch.nn.functional.normalize(torch.randn(500, 3, generator=generator), dim=1)
    on = unit * radii
    assert first_order_distance(on, radii).abs().max() < 1e-6
    normals = torch.nn.functional.normalize(unit / radii, dim=1)
    for step in (-0.01, 0.01):
        near = on + step * normals
        exact = ellipsoid_distance(near, radii)
        torch.testing.assert_close(first_order_distance(near, radii), exact, atol=1.5e-3, rtol=0)
    assert first_order_distance(torch.zeros(1, 3), torch.tensor([[0.1, 0.2, 0.3]])) == -0.1


def test_an_exact_surface_is_that_of_the_published_model():
    generator = torch.Generator().manual_seed(1)
    config = PaperModelConfig(parts=3, decoder=SMALL, pose_width=8)
    paper = PaperModel(config, 10, generator=generator)
    surface = make_surface(np.full((3, 3), 0.1))
    surface.decoder.load_state_dict(paper.decoder.state_dict())
    surface.union.load_state_dict(paper.union.state_dict())
    poses = random_poses(2, 3, generator)
    points = 0.3 * torch.randn(2, 40, 3, generator=generator)
    distances, colours = paper.surface(paper.part_points(points, poses))
    found = surface(points, all_parts(poses))
    torch.testing.assert_close(found.distances_RK, distances, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.colours_RK3, 0.5 + 0.5 * colours, atol=1e-5, rtol=0)


@pytest.mark.parametrize('shading', [False, True])
def test_parts_that_are_far_away_may_be_left_out(shading):
    generator = torch.Generator().manual_seed(2)
    surface = make_surface(np.full((4, 3), 0.2), shading=shading)
    torch.nn.init.normal_(surface.decoder.residual.weight, generator=generator)
    poses = random_poses(1, 4, generator)
    poses[:, :, :3, 3] = torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [5.0, 0, 0], [0, 5.0, 0]])
    points = 0.2 * torch.randn(1, 50, 3, generator=generator)
    near_RP = torch.tensor([[True, True, False, False]])
    rays = RayBundle(torch.zeros(1, 3), torch.ones(1, 3), poses)
    chosen = NearParts.of_rays(rays, near_RP)
    assert chosen.parts_RM.shape == (1, 2)
    for part, whole in zip(
        surface(points, chosen), surface(points, all_parts(poses)), strict=True
    ):
        torch.testing.assert_close(part, whole, atol=1e-5, rtol=0)


def test_the_residual_begins_at_zero_and_is_bounded():
    surface = make_surface(np.full((2, 3), 0.2))
    poses = random_poses(1, 2, torch.Generator().manual_seed(3))
    points = torch.rand(1, 30, 3)
    assert (surface(points, all_parts(poses)).residuals_RK == 0).all()
    torch.nn.init.constant_(surface.decoder.residual.bias, 100.0)
    residuals = surface(points, all_parts(poses)).residuals_RK
    torch.testing.assert_close(residuals, torch.full_like(residuals, 0.05))


def test_a_ball_is_seen_where_it_is():
    surface = make_surface([[0.5, 0.5, 0.5], [0.1, 0.1, 0.1]], sharpness=300.0, samples=24)
    T = np.tile(np.eye(4), (2, 1, 1))
    T[1, :3, 3] = [0.0, 0.0, 1.2]
    camera = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
    image = render_image(surface, camera, look_at([0.0, -3.0, 0.0]), T, 1.0)
    assert image.parts_HW[24, 32] == 0
    assert image.parts_HW[0, 0] == -1
    assert image.depths_HW[24, 32] == pytest.approx(2.5, abs=0.02)
    assert image.depths_HW[0, 0] == 0
    # The small ball hangs over the large one: 60 * 1.2 / 3 = 24 pixels up.
    assert image.parts_HW[0, 31:33].tolist() == [1, 1]
    large = (image.parts_HW == 0).sum().item()
    # The outline of a ball is at the angle asin(r / distance).
    radius = 60.0 * math.tan(math.asin(0.5 / 3.0))
    assert large == pytest.approx(math.pi * radius**2, rel=0.05)
    background = image.colours_HW3[0, 0]
    torch.testing.assert_close(background, torch.ones(3))
    inside = image.opacities_HW[image.parts_HW == 0]
    assert inside.max() > 0.99


def test_a_camera_among_the_parts_and_one_that_looks_away_render_too():
    surface = make_surface([[0.5, 0.5, 0.5]], samples=8)
    T = np.eye(4)[None]
    camera = Camera(16, 12, 15.0, 15.0, 7.5, 5.5)
    away = look_at([0.0, -3.0, 0.0]) @ np.diag([-1.0, 1.0, -1.0, 1.0])
    assert render_image(surface, camera, away, T, 0.0).opacities_HW.max() == 0
    near = render_image(surface, camera, look_at([0.0, -0.6, 0.0]), T, 0.0)
    assert near.opacities_HW[6, 8] > 0.99


def test_shading_begins_neutral_and_follows_the_turn_of_a_part():
    shading = Shading(5)
    features = torch.zeros(1, 1, 5)
    up = torch.tensor([[[[0.0, 0.0, 1.0]]]])
    weights = torch.ones(1, 1, 1)
    upright, turned = torch.eye(3)[None, None], torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(shading(features, up, weights, upright), torch.ones(1, 1, 3))
    with torch.no_grad():
        shading.light_93[3] = 0.4
    lit = shading(features, up, weights, upright)
    dark = shading(features, up, weights, turned[None, None])
    torch.testing.assert_close(lit, torch.full((1, 1, 3), 1.4))
    torch.testing.assert_close(dark, torch.full((1, 1, 3), 0.6))
    torch.testing.assert_close(shading.mean_gain_3, torch.ones(3))


def test_all_harmonics_but_the_first_have_no_mean():
    normals = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(4))
    means = spherical_harmonics(torch.nn.functional.normalize(normals, dim=1)).mean(dim=0)
    assert means[0] == 1
    assert means[1:].abs().max() < 0.02


def test_a_surface_comes_back_from_its_settings_and_tensors():
    surface = make_surface([[0.5, 0.4, 0.3]], shading=True, sharpness=123.0)
    again = Surface.from_config(surface.to_config(), surface.state_dict())
    assert again.config == surface.config
    torch.testing.assert_close(again.radii_P3, surface.radii_P3)
    assert float(again.sharpness) == 123.0
    with pytest.raises(BundleError, match='decoder'):
        Surface.from_config({'parts': 1}, surface.state_dict())
    with pytest.raises(BundleError, match='size mismatch'):
        Surface.from_config({**surface.to_config(), 'parts': 2}, surface.state_dict())
