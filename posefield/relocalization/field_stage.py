"""Learning a GridField from photos, with the depth of triangulated points as a guide."""

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
import torch

from posefield.fields.compositing import distortion_loss, interlevel_loss
from posefield.fields.exposure import ExposureTable
from posefield.fields.grid_field import GridField, GridFieldConfig
from posefield.fields.rendering import RayRender, render_rays
from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.camera import Camera
from posefield.learning.schedules import Exponential
from posefield.learning.stage import Stage
from posefield.relocalization.photos import Photo
from posefield.relocalization.sparse_map import SparseMap


@dataclass(frozen=True)
class FieldStageConfig:
    """How a field is learned.

    Attributes:
        colour_rays, depth_rays: rays a step of each kind.
        plane_rate, network_rate, exposure_rate: Adam's learning rates.
        final_rate: share of them left at the end.
        depth_tolerance: width of the depth guide, relative to the depth.
        depth_weight, termination_weight, distortion_weight, opacity_weight,
        exposure_weight: of the losses, against 1 for the colour.
    """

    colour_rays: int = 1024
    depth_rays: int = 256
    plane_rate: float = 2e-2
    network_rate: float = 5e-3
    exposure_rate: float = 1e-3
    final_rate: float = 0.03
    depth_tolerance: float = 0.02
    depth_weight: float = 0.1
    termination_weight: float = 0.02
    distortion_weight: float = 0.01
    opacity_weight: float = 0.05
    exposure_weight: float = 0.1


@dataclass(frozen=True)
class _DepthGuide:
    """Sparse points as seen by the photos: pixels of the training size, depths, trust."""

    photos_M: torch.Tensor
    pixels_M2: torch.Tensor
    depths_M: torch.Tensor
    weights_M: torch.Tensor


class _Pixels:
    """All training pixels, flat, and the cameras that saw them (field frame)."""

    def __init__(self, photos: Sequence[Photo], transform: SceneTransform, device: torch.device):
        flat = [torch.from_numpy(photo.training_u8.reshape(-1, 3)) for photo in photos]
        counts = torch.tensor([len(pixels) for pixels in flat])
        self.colours_P3 = torch.cat(flat).to(device)
        self.ends = torch.cumsum(counts, dim=0).to(device)
        self.starts = self.ends - counts.to(device)
        cameras = [photo.training_camera for photo in photos]
        self.widths = torch.tensor([camera.width for camera in cameras], device=device)
        self.intrinsics_N4 = torch.tensor(
            [[c.fx, c.fy, c.cx, c.cy] for c in cameras], dtype=torch.float32, device=device
        )
        poses = transform.camera_to_field(np.stack([photo.T_map_cam for photo in photos]))
        self.T_field_cam_N44 = torch.tensor(poses, dtype=torch.float32, device=device)

    def draw(self, count: int, generator: torch.Generator):
        """Return (photo index, pixels (R, 2), colours (R, 3)) of random pixels."""
        device = self.colours_P3.device
        flat = torch.randint(len(self.colours_P3), (count,), generator=generator, device=device)
        photos = torch.searchsorted(self.ends, flat, right=True)
        inside = flat - self.starts[photos]
        width = self.widths[photos]
        pixels = torch.stack([inside % width, inside // width], dim=1).to(torch.float32)
        return photos, pixels, self.colours_P3[flat].to(torch.float32) / 255.0

    def rays(self, photos_R: torch.Tensor, pixels_R2: torch.Tensor):
        """Return origins and directions (R, 3) in the field frame; directions have z = 1."""
        intrinsics = self.intrinsics_N4[photos_R]
        xy = (pixels_R2 - intrinsics[:, 2:]) / intrinsics[:, :2]
        rays = torch.cat([xy, torch.ones_like(xy[:, :1])], dim=1)
        poses = self.T_field_cam_N44[photos_R]
        return poses[:, :3, 3], torch.einsum('rij,rj->ri', poses[:, :3, :3], rays)


class FieldStage(Stage):
    """Trains `field` (and the photos' exposures) on random pixels of all photos."""

    name = 'field'

    def __init__(
        self,
        photos: Sequence[Photo],
        keyframes: Sequence[int],
        sparse: SparseMap,
        transform: SceneTransform,
        field_config: GridFieldConfig,
        config: FieldStageConfig,
        generator: torch.Generator,
        device: torch.device,
    ):
        """Prepare learning.

        Args:
            photos: all training photos.
            keyframes: index in `photos` of each keyframe that `sparse` counts.
        """
        self.config = config
        self.transform = transform
        self.schedule = Exponential(config.final_rate, warm_up=0.02)
        self.field = GridField(field_config, generator).to(device)
        self.exposure = ExposureTable(len(photos)).to(device)
        self._pixels = _Pixels(photos, transform, device)
        self._guide = _depth_guide(photos, keyframes, sparse, transform, device)

    def modules(self) -> dict[str, torch.nn.Module]:
        """Return the field and the exposures."""
        return {'field': self.field, 'exposure': self.exposure}

    def parameter_groups(self) -> list[dict]:
        """Return planes, networks and exposures with their own rates."""
        planes, networks = [], []
        for name, parameter in self.field.named_parameters():
            (planes if name.endswith('planes') else networks).append(parameter)
        return [
            {'params': planes, 'lr': self.config.plane_rate},
            {'params': networks, 'lr': self.config.network_rate},
            {'params': list(self.exposure.parameters()), 'lr': self.config.exposure_rate},
        ]

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        """Return Adam with a tiny epsilon, for cells that are rarely touched."""
        return torch.optim.Adam(groups, eps=1e-15)

    def step(self, step: int, generator: torch.Generator) -> dict[str, torch.Tensor | float]:
        """Render random pixels and random sparse points, and compare."""
        config = self.config
        photos, pixels, colours = self._pixels.draw(config.colour_rays, generator)
        guided = self._draw_guide(generator)
        all_photos = torch.cat([photos, self._guide.photos_M[guided]])
        all_pixels = torch.cat([pixels, self._guide.pixels_M2[guided]])
        origins, directions = self._pixels.rays(all_photos, all_pixels)
        render = render_rays(
            self.field, origins, directions, self.transform.near, self.transform.far, generator
        )
        predicted = self.exposure(render.colours[: len(photos)], photos)
        square = (predicted - colours) ** 2
        loss = (square + 1e-4).sqrt().mean()
        loss = loss + interlevel_loss(
            render.fine.edges,
            render.fine.weights,
            render.proposal.edges,
            render.proposal.weights,
        )
        spread = distortion_loss(render.fine.weights, render.fine.edges)
        loss = loss + config.distortion_weight * spread
        loss = loss + config.opacity_weight * (1.0 - render.opacities).clamp(min=0.0).mean()
        loss = loss + config.exposure_weight * self.exposure.penalty()
        if len(guided):
            loss = loss + self._depth_loss(render, len(photos), guided)
        psnr = -10.0 * math.log10(max(float(square.detach().mean()), 1e-10))
        return {'loss': loss, 'psnr': psnr}

    def _draw_guide(self, generator: torch.Generator) -> torch.Tensor:
        total = len(self._guide.depths_M)
        count = self.config.depth_rays if total else 0
        return torch.randint(
            max(total, 1), (count,), generator=generator, device=self._guide.depths_M.device
        )

    def _depth_loss(self, render: RayRender, first: int, guided: torch.Tensor) -> torch.Tensor:
        """Pull weight onto the depth of the points, and the mean depth towards it."""
        weights = render.fine.weights[first:]
        distances = render.fine.distances[first:]
        middles = 0.5 * (distances[:, 1:] + distances[:, :-1])
        depths, trust = self._guide.depths_M[guided], self._guide.weights_M[guided]
        offset = (middles - depths[:, None]) / (self.config.depth_tolerance * depths[:, None])
        gathered = (weights * torch.exp(-0.5 * offset**2)).sum(dim=1)
        mean = (weights * middles).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-3)
        relative = ((mean - depths).abs() / depths).clamp(max=1.0)
        termination = -torch.log(gathered + 1e-2)
        return (
            trust
            * (self.config.termination_weight * termination + self.config.depth_weight * relative)
        ).mean()


def _depth_guide(
    photos: Sequence[Photo],
    keyframes: Sequence[int],
    sparse: SparseMap,
    transform: SceneTransform,
    device: torch.device,
) -> _DepthGuide:
    photo_of_M = np.asarray(keyframes, dtype=np.int64)[sparse.frame_of_M]
    poses = transform.camera_to_field(np.stack([photo.T_map_cam for photo in photos]))
    points = transform.points_to_field(sparse.points_N3)[sparse.point_of_M]
    offsets = points - poses[photo_of_M, :3, 3]
    depths = (poses[photo_of_M, :3, 2] * offsets).sum(axis=1)
    ratios = np.array([_size_ratio(p.sparse_camera, p.training_camera) for p in photos])
    pixels = (sparse.pixels_M2 + 0.5) * ratios[photo_of_M] - 0.5
    safe = np.maximum(depths, 1e-6)
    relative_sigma = sparse.sigmas_N[sparse.point_of_M] * transform.scale / safe
    weights = 1.0 / (1.0 + (relative_sigma / 0.01) ** 2)
    good = depths > transform.near

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values[good], dtype=torch.float32, device=device)

    return _DepthGuide(
        torch.tensor(photo_of_M[good], device=device),
        tensor(pixels),
        tensor(depths),
        tensor(weights),
    )


def _size_ratio(from_camera: Camera, to_camera: Camera) -> list[float]:
    return [to_camera.width / from_camera.width, to_camera.height / from_camera.height]
