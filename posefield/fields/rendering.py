"""Images and depth of a field along rays."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from posefield.fields.compositing import compositing_weights, median_depth
from posefield.fields.grid_field import GridField
from posefield.fields.sampling import resampled_edges, spacing_to_distance, uniform_edges
from posefield.geometry.camera import Camera
from posefield.geometry.rays import camera_rays, pixel_grid


@dataclass(frozen=True)
class RaySamples:
    """The histogram of one sampling level along each ray.

    Attributes:
        edges: (R, S + 1) in the normalised spacing.
        distances: (R, S + 1) the same edges as ray distances (depths: directions have z = 1).
        weights: (R, S).
    """

    edges: torch.Tensor
    distances: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class RayRender:
    """What rays see.

    Attributes:
        colours: (R, 3) composited over black.
        depths: (R,) median depth along the optical axis.
        depth_sigmas: (R,) spread of the weights around it.
        opacities: (R,) sum of weights.
        proposal, fine: the sampling levels.
    """

    colours: torch.Tensor
    depths: torch.Tensor
    depth_sigmas: torch.Tensor
    opacities: torch.Tensor
    proposal: RaySamples
    fine: RaySamples


def render_rays(
    field: GridField,
    origins_R3: torch.Tensor,
    directions_R3: torch.Tensor,
    near: float,
    far: float,
    generator: torch.Generator | None = None,
) -> RayRender:
    """Render rays of the field frame.

    Args:
        field: the field.
        origins_R3, directions_R3: rays; a distance is a multiple of the direction, so with
            optical z = 1 directions it is the depth.
        near, far: range of distances.
        generator: jitters samples while learning; None renders deterministically.
    """
    config = field.config
    num_rays, device = len(origins_R3), origins_R3.device
    norms = directions_R3.norm(dim=1, keepdim=True)
    edges = uniform_edges(num_rays, config.proposal_samples, generator, device)
    proposal = _level(
        edges,
        near,
        far,
        norms,
        lambda points: field.proposal.densities(points),
        origins_R3,
        directions_R3,
    )
    edges = resampled_edges(edges, proposal.weights, config.samples, generator)
    distances = spacing_to_distance(edges, near, far)
    points = _middles(origins_R3, directions_R3, distances)
    densities, geometry = field.encode(points.reshape(-1, 3))
    lengths = (distances[:, 1:] - distances[:, :-1]) * norms
    weights = compositing_weights(densities.reshape(num_rays, -1), lengths)
    directions = (directions_R3 / norms)[:, None].expand(-1, config.samples, -1).reshape(-1, 3)
    colours = field.colours(geometry, directions).reshape(num_rays, config.samples, 3)
    depths = median_depth(weights, distances)
    middles = 0.5 * (distances[:, 1:] + distances[:, :-1])
    opacities = weights.sum(dim=1)
    spread = (weights * (middles - depths[:, None]) ** 2).sum(dim=1)
    return RayRender(
        colours=(weights[..., None] * colours).sum(dim=1),
        depths=depths,
        depth_sigmas=(spread / opacities.clamp(min=1e-6)).sqrt(),
        opacities=opacities,
        proposal=proposal,
        fine=RaySamples(edges, distances, weights),
    )


def _middles(origins, directions, distances) -> torch.Tensor:
    middles = 0.5 * (distances[:, 1:] + distances[:, :-1])
    return origins[:, None] + middles[..., None] * directions[:, None]


def _level(edges, near, far, norms, densities_at, origins, directions) -> RaySamples:
    distances = spacing_to_distance(edges, near, far)
    points = _middles(origins, directions, distances)
    densities = densities_at(points.reshape(-1, 3)).reshape(len(origins), -1)
    lengths = (distances[:, 1:] - distances[:, :-1]) * norms
    return RaySamples(edges, distances, compositing_weights(densities, lengths))


@dataclass(frozen=True)
class ViewRender:
    """A rendered view as images (H, W, ...); depths are in field units."""

    colours_HW3: torch.Tensor
    depths_HW: torch.Tensor
    depth_sigmas_HW: torch.Tensor
    opacities_HW: torch.Tensor


def view_rays(
    camera: Camera, T_field_cam: torch.Tensor, pixels_N2: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return origins (N, 3) and directions (N, 3) of pixels in the field frame."""
    rays = camera_rays(camera, pixels_N2)
    directions = rays @ T_field_cam[:3, :3].T
    return T_field_cam[:3, 3].expand_as(directions), directions


@torch.no_grad()
def render_view(
    field: GridField,
    camera: Camera,
    T_field_cam: torch.Tensor,
    near: float,
    far: float,
    chunk_rays: int = 8192,
) -> ViewRender:
    """Render a whole pinhole view (float32 pose on the field's device)."""
    pixels = pixel_grid(camera.height, camera.width, T_field_cam.device)
    origins, directions = view_rays(camera, T_field_cam, pixels)
    parts = [
        render_rays(field, origins[rows], directions[rows], near, far)
        for rows in _chunks(len(pixels), chunk_rays)
    ]
    shape = (camera.height, camera.width)

    def joined(name: str) -> torch.Tensor:
        values = [getattr(part, name) for part in parts]
        return torch.cat(values).reshape(*shape, *values[0].shape[1:])

    return ViewRender(
        joined('colours'),
        joined('depths'),
        joined('depth_sigmas'),
        joined('opacities'),
    )


def _chunks(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))
