"""Images of a surface, by samples in the shells of its ellipsoids."""

from dataclasses import dataclass
import itertools

import numpy as np
import torch

from posefield.articulation.shells import (
    RayBundle,
    Shells,
    ray_shells,
    shell_samples,
)
from posefield.articulation.surface import NearParts, Surface
from posefield.articulation.volume_rendering import rendering_weights
from posefield.geometry.camera import Camera
from posefield.geometry.rays import camera_rays, pixel_grid

# Beyond the residual, in widths of the opacity's step: where it is 0.7 % and 99.3 %.
STEP_WIDTHS = 5.0
# Parts further than this from a ray's shells do not shape what is seen there, scene units.
REACH = 0.05
# Few on a CPU, whose caches then hold what belongs to them: twice as fast as 16384.
RAYS_AT_ONCE = {'cpu': 1024, 'cuda': 65536}
# Nothing is nearer to a camera than this, scene units.
NEAR = 1e-3


@dataclass(frozen=True)
class RayRender:
    """What rays see.

    Attributes:
        colours_R3: RGB in [0, 1] over the background.
        opacities_R: in [0, 1].
        depths_R: mean depth of what is opaque; 0 where nothing is.
        parts_R: index of the part seen; -1 where nothing is.
        residuals_RK: of the decoder at the samples.
    """

    colours_R3: torch.Tensor
    opacities_R: torch.Tensor
    depths_R: torch.Tensor
    parts_R: torch.Tensor
    residuals_RK: torch.Tensor


def find_shells(surface: Surface, rays: RayBundle) -> Shells:
    """Find where along rays the surface can be."""
    margin = surface.residual + STEP_WIDTHS / float(surface.sharpness)
    return ray_shells(
        rays,
        surface.radii_P3.detach(),
        outward=margin + surface.inflation,
        inward=margin,
        reach=margin + REACH,
        near=NEAR,
    )


def render_in_shells(
    surface: Surface,
    rays: RayBundle,
    shells: Shells,
    samples: int,
    background: float,
    generator: torch.Generator | None = None,
) -> RayRender:
    """Render rays that all have something in their shells.

    Args:
        surface: what is seen.
        rays: with the poses of all parts.
        shells: of these rays.
        samples: on every ray.
        background: level of all colours behind.
        generator: jitters the samples; by default they stand still.
    """
    depths_RK = shell_samples(shells, samples, generator)
    points = rays.origins_R3[:, None] + depths_RK[..., None] * rays.directions_R3[:, None]
    seen = surface(points, NearParts.of_rays(rays, shells.near_RP))
    weights_RK = rendering_weights(seen.distances_RK, surface.sharpness)[:, :-1]
    opacities = weights_RK.sum(dim=1)
    colours = (weights_RK[..., None] * seen.colours_RK3[:, :-1]).sum(dim=1)
    middles = 0.5 * (depths_RK[:, 1:] + depths_RK[:, :-1])
    depths = (weights_RK * middles).sum(dim=1) / opacities.clamp(min=1e-6)
    strongest = weights_RK.argmax(dim=1, keepdim=True)
    return RayRender(
        colours + (1.0 - opacities)[:, None] * background,
        opacities,
        depths,
        seen.parts_RK.gather(1, strongest)[:, 0],
        seen.residuals_RK,
    )


@dataclass(frozen=True)
class ImageRender:
    """An image: colours (H, W, 3), opacities, depths (0 where nothing is), parts (-1 there)."""

    colours_HW3: torch.Tensor
    opacities_HW: torch.Tensor
    depths_HW: torch.Tensor
    parts_HW: torch.Tensor


@torch.no_grad()
def render_image(
    surface: Surface,
    camera: Camera,
    T_scene_cam: np.ndarray,
    T_scene_part_P44: np.ndarray,
    background: float,
) -> ImageRender:
    """Render what a pinhole camera sees, in scene units.

    Args:
        surface: of the thing.
        camera: pinhole.
        T_scene_cam: (4, 4).
        T_scene_part_P44: poses of all parts.
        background: level of all colours behind.
    """
    device = surface.raw_radii_P3.device
    total = camera.width * camera.height
    colours = torch.full((total, 3), background, device=device)
    opacities, depths = torch.zeros(2, total, device=device)
    parts = torch.full((total,), -1, dtype=torch.int64, device=device)
    poses = torch.as_tensor(T_scene_part_P44, dtype=torch.float32, device=device)[None]
    pose = torch.as_tensor(T_scene_cam, dtype=torch.float32, device=device)
    inside = torch.as_tensor(
        _maybe_covered(surface, camera, T_scene_cam, T_scene_part_P44), device=device
    )
    pixels = pixel_grid(camera.height, camera.width, device)
    for rows in inside.nonzero()[:, 0].split(RAYS_AT_ONCE[device.type]):
        directions = camera_rays(camera, pixels[rows]) @ pose[:3, :3].T
        rays = RayBundle(pose[:3, 3].expand_as(directions), directions, poses)
        shells = find_shells(surface, rays)
        hit = shells.hit_R
        if not hit.any():
            continue
        render = render_in_shells(
            surface, rays.select(hit), shells.select(hit), surface.config.samples, background
        )
        rows = rows[hit]
        colours[rows] = render.colours_R3
        opacities[rows] = render.opacities_R
        opaque = render.opacities_R >= 0.5
        depths[rows] = torch.where(opaque, render.depths_R, 0.0)
        parts[rows] = torch.where(opaque, render.parts_R, -1)
    shape = (camera.height, camera.width)
    return ImageRender(
        colours.clamp(0.0, 1.0).reshape(*shape, 3),
        opacities.reshape(shape),
        depths.reshape(shape),
        parts.reshape(shape),
    )


def _maybe_covered(
    surface: Surface, camera: Camera, T_scene_cam: np.ndarray, T_scene_part_P44: np.ndarray
) -> np.ndarray:
    """Return which pixels (H*W,) lie in the rectangle of the boxes around some part."""
    margin = surface.residual + STEP_WIDTHS / float(surface.sharpness) + surface.inflation
    radii = surface.radii_P3.detach().cpu().numpy() + margin
    corners_83 = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
    R, t = T_scene_part_P44[:, :3, :3], T_scene_part_P44[:, :3, 3]
    points = np.einsum('pij,pcj->pci', R, corners_83[None] * radii[:, None]) + t[:, None]
    points = (points - T_scene_cam[:3, 3]) @ T_scene_cam[:3, :3]
    covered = np.zeros((camera.height, camera.width), dtype=bool)
    for corners in points:
        if corners[:, 2].max() <= NEAR:
            continue
        if corners[:, 2].min() <= NEAR:
            covered[:] = True
            break
        pixels = corners[:, :2] / corners[:, 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
        low = np.floor(pixels.min(axis=0)).clip(0).astype(int)
        high = np.ceil(pixels.max(axis=0)).clip(-1).astype(int)
        covered[low[1] : high[1] + 1, low[0] : high[0] + 1] = True
    return covered.reshape(-1)
