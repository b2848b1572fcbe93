"""Rendering rays of a PaperModel, asking it only where that can change anything.

Names: B images of R rays each, S samples on each ray.
"""

from dataclasses import dataclass

import torch

from posefield.articulation.paper_model import PaperModel
from posefield.articulation.volume_rendering import (
    SHARPNESS,
    coarse_depths,
    depth_range,
    fine_depths,
    needed_samples,
    rendering_weights,
)


@dataclass(frozen=True)
class PaperRenderConfig:
    """How rays are rendered; the defaults are published.

    Attributes:
        coarse_samples, fine_samples: on every ray.
        sharpness: of the surface's opacity, per scene unit.
        near_plane: no sample is nearer to its camera, scene units.
        depth_margin: before and behind all part centres, scene units.
    """

    coarse_samples: int = 64
    fine_samples: int = 64
    sharpness: float = SHARPNESS
    near_plane: float = 1.0
    depth_margin: float = 0.5


@dataclass(frozen=True)
class ImageRays:
    """Rays of B images in the scene frame, with the poses of the parts in each.

    Attributes:
        origins_B3: centres of the cameras.
        axes_B3: optical axes, unit vectors.
        directions_BR3: one unit long along the optical axis.
        T_scene_part_BP44: of the parts.
    """

    origins_B3: torch.Tensor
    axes_B3: torch.Tensor
    directions_BR3: torch.Tensor
    T_scene_part_BP44: torch.Tensor

    def points(self, depths_BRS: torch.Tensor) -> torch.Tensor:
        """Return the scene points (B, R, S, 3) at depths."""
        along = self.directions_BR3[:, :, None] * depths_BRS[..., None]
        return self.origins_B3[:, None, None] + along

    def part_depths(self) -> torch.Tensor:
        """Return the depths (B, P) of the part centres in their images."""
        offsets = self.T_scene_part_BP44[..., :3, 3] - self.origins_B3[:, None]
        return (offsets * self.axes_B3[:, None]).sum(dim=2)


@dataclass(frozen=True)
class PaperRender:
    """Rendered rays.

    Attributes:
        colours_BR3: in [-1, 1], over the background.
        opacities_BR: the mask, sum of the weights.
        disparities_BR: sum of the weights over the depths.
        depths_BRS: where the samples were, rising.
        weights_BRS: of the samples.
        evaluated: share of all samples that the decoder was asked about.
    """

    colours_BR3: torch.Tensor
    opacities_BR: torch.Tensor
    disparities_BR: torch.Tensor
    depths_BRS: torch.Tensor
    weights_BRS: torch.Tensor
    evaluated: float


def render_rays(
    model: PaperModel,
    rays: ImageRays,
    background: float,
    draws_BRN: torch.Tensor,
    config: PaperRenderConfig = PaperRenderConfig(),
    *,
    skip_empty: bool = True,
) -> PaperRender:
    """Render rays with gradient to everything that the model learns.

    Args:
        model: of the thing.
        rays: to render.
        background: level of all colours where nothing is, -1 to 1.
        draws_BRN: uniform in [0, 1), one for each fine sample.
        config: of the samples.
        skip_empty: whether samples that change nothing in float32 are left out.
    """
    depths = _sample_depths(model, rays, draws_BRN, config, skip_empty)
    points = rays.points(depths)
    needed = _needed(model, rays, points, config.sharpness, skip_empty)
    distances, colours = _surface_at(model, rays, points, needed)
    weights = rendering_weights(distances, config.sharpness)
    opacities = weights.sum(dim=-1)
    seen = (weights[..., None] * colours).sum(dim=2)
    return PaperRender(
        colours_BR3=seen + (1.0 - opacities)[..., None] * background,
        opacities_BR=opacities,
        disparities_BR=(weights / depths).sum(dim=-1),
        depths_BRS=depths,
        weights_BRS=weights,
        evaluated=needed.share,
    )


@dataclass(frozen=True)
class _Needed:
    """Which of N = R S points of each image are looked at, as rows of equal length.

    Attributes:
        bounds_BN: lower bounds of the distances.
        rows_BK: indices along N, padded with N.
    """

    bounds_BN: torch.Tensor
    rows_BK: torch.Tensor

    @property
    def share(self) -> float:
        """Share of the points that are looked at, padding among them."""
        return self.rows_BK.shape[1] / self.bounds_BN.shape[1]

    def of(self, points_BN3: torch.Tensor) -> torch.Tensor:
        """Return the points (B, K, 3) that are looked at; the last one as padding."""
        index = self.rows_BK.clamp(max=points_BN3.shape[1] - 1)
        return points_BN3.gather(1, index[..., None].expand(-1, -1, 3))

    def placed(self, found_BKC: torch.Tensor, elsewhere_BNC: torch.Tensor) -> torch.Tensor:
        """Return (B, N, C): what was found, and something else where nobody looked."""
        padded = torch.nn.functional.pad(elsewhere_BNC, (0, 0, 0, 1))
        index = self.rows_BK[..., None].expand_as(found_BKC)
        return padded.scatter(1, index, found_BKC)[:, :-1]


@torch.no_grad()
def _needed(
    model: PaperModel,
    rays: ImageRays,
    points_BRS3: torch.Tensor,
    sharpness: float,
    skip_empty: bool,
) -> _Needed:
    bounds = model.distance_bounds(points_BRS3.flatten(1, 2), rays.T_scene_part_BP44)
    images, samples = bounds.shape
    if not skip_empty:
        everything = torch.arange(samples, device=bounds.device).expand(images, -1)
        return _Needed(bounds, everything)
    needed = needed_samples(bounds.view(points_BRS3.shape[:3]), sharpness).flatten(1, 2)
    image, column = needed.nonzero(as_tuple=True)
    places = needed.cumsum(dim=1) - 1
    rows = column.new_full((images, max(1, int(places[:, -1].max()) + 1)), samples)
    rows[image, places[image, column]] = column
    return _Needed(bounds, rows)


def _surface_at(
    model: PaperModel, rays: ImageRays, points_BRS3: torch.Tensor, needed: _Needed
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return distances (B, R, S) and colours (B, R, S, 3); bounds and 0 where none looked."""
    shape = points_BRS3.shape[:3]
    points = needed.of(points_BRS3.flatten(1, 2))
    distances, colours = model.surface(model.part_points(points, rays.T_scene_part_BP44))
    found = torch.cat([distances[..., None], colours], dim=2)
    placed = needed.placed(found, torch.nn.functional.pad(needed.bounds_BN[..., None], (0, 3)))
    return placed[..., 0].view(shape), placed[..., 1:].view(*shape, 3)


@torch.no_grad()
def _sample_depths(
    model: PaperModel,
    rays: ImageRays,
    draws_BRN: torch.Tensor,
    config: PaperRenderConfig,
    skip_empty: bool,
) -> torch.Tensor:
    """Return coarse and fine depths (B, R, S)."""
    near_B, far_B = depth_range(rays.part_depths(), config.near_plane, config.depth_margin)
    coarse_BS = coarse_depths(near_B, far_B, config.coarse_samples)
    coarse = coarse_BS[:, None].expand(-1, rays.directions_BR3.shape[1], -1)
    points = rays.points(coarse)
    needed = _needed(model, rays, points, config.sharpness, skip_empty)
    looked_at = needed.of(points.flatten(1, 2))
    found = model.distances(model.part_points(looked_at, rays.T_scene_part_BP44))
    distances = needed.placed(found[..., None], needed.bounds_BN[..., None])
    weights = rendering_weights(distances.view(coarse.shape), config.sharpness)
    fine = fine_depths(coarse.flatten(0, 1), weights.flatten(0, 1), draws_BRN.flatten(0, 1))
    return fine.view(*coarse.shape[:2], -1)
