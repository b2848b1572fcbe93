"""The template baseline (Schmidtke*, Watch It Move A.9): 18 Gaussians in the shape of a person.

Schmidtke et al., "Unsupervised Human Pose Estimation through Transforming Shape Templates" (2021),
move 2-D Gaussian parts of a drawn person and paint the image from them with a CNN.  As in Watch It
Move the parts are 3-D Gaussians here, with a rigid pose each, the same for all cameras; one
network gives the poses from the number of the frame, for one subject, with the frame curriculum
of Watch It Move.  Images are compared by pixels: the perceptual loss of the original needs weights
that would have to be fetched.  The template stays what it is, so what is no person fits it badly.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

from posefield.articulation.pose_network import PoseNetwork
from posefield.fields.initialization import seeded
from posefield.learning.stage import Stage

# Name, parent, start and end (the scene's sphere has radius 1), width.
BONES: tuple[tuple[str, str | None, tuple[float, ...], tuple[float, ...], float], ...] = (
    ('hips', None, (0.0, 0.0, -0.12), (0.0, 0.0, 0.1), 0.12),
    ('belly', 'hips', (0.0, 0.0, 0.1), (0.0, 0.0, 0.35), 0.11),
    ('chest', 'belly', (0.0, 0.0, 0.35), (0.0, 0.0, 0.68), 0.13),
    ('head', 'chest', (0.0, 0.0, 0.7), (0.0, 0.0, 1.0), 0.09),
    *(
        bone
        for side, s in (('left', 1.0), ('right', -1.0))
        for bone in (
            (f'{side} shoulder', 'chest', (0.0, 0.0, 0.65), (0.22 * s, 0.0, 0.65), 0.07),
            (f'{side} upper arm', f'{side} shoulder', (0.22 * s, 0.0, 0.65), (0.5 * s, 0.0, 0.65),
             0.05),
            (f'{side} forearm', f'{side} upper arm', (0.5 * s, 0.0, 0.65), (0.75 * s, 0.0, 0.65),
             0.04),
            (f'{side} hand', f'{side} forearm', (0.75 * s, 0.0, 0.65), (0.92 * s, 0.0, 0.65),
             0.035),
            (f'{side} thigh', 'hips', (0.12 * s, 0.0, -0.08), (0.14 * s, 0.0, -0.5), 0.08),
            (f'{side} shin', f'{side} thigh', (0.14 * s, 0.0, -0.5), (0.15 * s, 0.0, -0.9), 0.05),
            (f'{side} foot', f'{side} shin', (0.15 * s, 0.0, -0.92), (0.15 * s, -0.2, -0.98),
             0.04),
        )
    ),
)  # fmt: skip
# Standard deviation along a bone, as a share of its half length.
ALONG = 0.6
# Added to the covariance of a projected Gaussian, pixels squared.
PIXEL_VARIANCE = 0.3
ANCHOR_WEIGHT, BOUNDARY_WEIGHT = 10.0, 1.0
# Watch It Move section 7: frames at the start, and when the others join, as shares of the run.
FIRST_FRAMES, CURRICULUM_BEGIN, CURRICULUM_END = 10, 0.05, 0.4
LATEST, LATEST_CHANCE = 6, 0.2


@dataclass(frozen=True)
class Template:
    """The Gaussians and what holds them together.

    Attributes:
        T_scene_part_P44: where they begin; the x axis of a part is along its bone.
        deviations_P3: standard deviations along their own axes.
        anchors_A23: the same points in the parent's and in the child's frame.
        pairs_A2: indices of parent and child.
    """

    T_scene_part_P44: np.ndarray
    deviations_P3: np.ndarray
    anchors_A23: np.ndarray
    pairs_A2: np.ndarray


def person() -> Template:
    """Return the template: `BONES`."""
    poses, deviations, index = [], [], {bone[0]: i for i, bone in enumerate(BONES)}
    for _, _, start, end, width in BONES:
        start_3, end_3 = np.array(start), np.array(end)
        x = (end_3 - start_3) / np.linalg.norm(end_3 - start_3)
        z = np.cross(x, [0.3, 0.9, 0.1])
        z /= np.linalg.norm(z)
        T = np.eye(4)
        T[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
        T[:3, 3] = 0.5 * (start_3 + end_3)
        poses.append(T)
        deviations.append([0.5 * ALONG * np.linalg.norm(end_3 - start_3), width, width])
    pairs = np.array([(index[parent], index[name]) for name, parent, *_ in BONES if parent])
    starts = np.array([[*start, 1.0] for _, parent, start, *_ in BONES if parent])
    inverse = np.linalg.inv(np.array(poses))
    anchors = np.einsum('aeij,aj->aei', inverse[pairs], starts)[..., :3]
    return Template(np.array(poses), np.array(deviations), anchors, pairs)


class TemplatePoses(nn.Module):
    """Poses of the Gaussians in every frame.

    Args:
        frames: T.
        generator: of the first weights; all parts begin where the template has them.
    """

    def __init__(self, frames: int, *, generator: torch.Generator):
        super().__init__()
        template = person()
        self.network = PoseNetwork(len(BONES), frames, min(30, frames), generator=generator)
        last = self.network.layers[-1]
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.copy_(
                torch.tensor([1.0, 0, 0, 0, 1, 0] * len(BONES) + [0.0] * 3 * len(BONES))
            )
        for name, array in (
            ('T_scene_part_P44', template.T_scene_part_P44),
            ('deviations_P3', template.deviations_P3),
            ('anchors_A23', template.anchors_A23),
        ):
            self.register_buffer(name, torch.tensor(array, dtype=torch.float32))
        self.register_buffer('pairs_A2', torch.tensor(template.pairs_A2))

    def forward(self, frames_B: torch.Tensor) -> torch.Tensor:
        """Return T_scene_part (B, P, 4, 4)."""
        return self.network(frames_B) @ self.T_scene_part_P44

    def anchors(self, T_BP44: torch.Tensor) -> torch.Tensor:
        """Return the joints as parent and child see them, (B, A, 2, 3)."""
        T = T_BP44[:, self.pairs_A2]
        return torch.einsum('baeij,aej->baei', T[..., :3, :3], self.anchors_A23) + T[..., :3, 3]


@dataclass(frozen=True)
class Views:
    """Cameras of a batch: T_cam_scene (B, 4, 4), and fx, fy, cx, cy (B, 4) in pixels."""

    T_cam_scene_B44: torch.Tensor
    intrinsics_B4: torch.Tensor


def project(views: Views, points_BN3: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pixels (B, N, 2) and points in the cameras' frames (B, N, 3)."""
    T = views.T_cam_scene_B44
    seen = points_BN3 @ T[:, :3, :3].transpose(1, 2) + T[:, None, :3, 3]
    f, c = views.intrinsics_B4[:, None, :2], views.intrinsics_B4[:, None, 2:]
    return seen[..., :2] / seen[..., 2:].clamp(min=1e-3) * f + c, seen


def heat_maps(
    views: Views, T_BP44: torch.Tensor, deviations_P3: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Return the images (B, P, H, W) of the Gaussians, 1 in their middles."""
    pixels_BP2, seen = project(views, T_BP44[..., :3, 3])
    f = views.intrinsics_B4[:, None, :2]
    z = seen[..., 2:].clamp(min=1e-3)
    J = torch.zeros(*seen.shape[:2], 2, 3, device=seen.device)
    J[..., 0, 0], J[..., 1, 1] = (f / z).unbind(dim=-1)
    J[..., 2] = -f * seen[..., :2] / z**2
    A = J @ views.T_cam_scene_B44[:, None, :3, :3] @ T_BP44[..., :3, :3] * deviations_P3[:, None]
    covariance = A @ A.transpose(-1, -2) + PIXEL_VARIANCE * torch.eye(2, device=seen.device)
    y, x = (torch.arange(count, device=seen.device, dtype=torch.float32) for count in size)
    grid = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1).reshape(-1, 2)
    offsets = grid - pixels_BP2[:, :, None]
    squares = torch.einsum('bpki,bpij,bpkj->bpk', offsets, torch.linalg.inv(covariance), offsets)
    in_front = (seen[..., 2:] > 1e-3).float()
    return (torch.exp(-0.5 * squares) * in_front).reshape(*squares.shape[:2], *size)


class Painter(nn.Module):
    """A small U-Net from heat maps to colours in [-1, 1] and the logit of the mask.

    Args:
        background: level in [0, 1] of what is not the object.
        generator: of the first weights.
        width: channels at full size.
    """

    def __init__(self, background: float, *, generator: torch.Generator, width: int = 16):
        super().__init__()
        self._background = 2.0 * background - 1.0
        with seeded(generator):
            self.first = _block(len(BONES), width)
            self.second = _block(width, 2 * width)
            self.deepest = _block(2 * width, 2 * width)
            self.back = _block(4 * width, 2 * width)
            self.last = _block(3 * width, width)
            self.head = nn.Conv2d(width, 4, 1)

    def forward(self, maps_BPHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = self.first(maps_BPHW)
        second = self.second(F.avg_pool2d(first, 2, ceil_mode=True))
        deepest = self.deepest(F.avg_pool2d(second, 2, ceil_mode=True))
        back = self.back(torch.cat([_enlarged(deepest, second), second], dim=1))
        painted = self.head(self.last(torch.cat([_enlarged(back, first), first], dim=1)))
        cover = torch.sigmoid(painted[:, 3:])
        colours = cover * torch.tanh(painted[:, :3]) + (1.0 - cover) * self._background
        return colours, painted[:, 3]


def _block(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.GroupNorm(4, after),
        nn.LeakyReLU(0.2),
        nn.Conv2d(after, after, 3, padding=1),
        nn.LeakyReLU(0.2),
    )


def _enlarged(small: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(small, size=like.shape[2:], mode='bilinear', align_corners=False)


@dataclass(frozen=True)
class TemplatePhotos:
    """What the template learns from; all photos have one size.

    Attributes:
        levels_VF4HW: uint8, colours over the background and the mask.
        reliable_VFHW: where the mask is known.
        views: one for each of V cameras.
    """

    levels_VF4HW: torch.Tensor
    reliable_VFHW: torch.Tensor
    views: Views


class TemplateStage(Stage):
    """Learns poses and painter together, with AdamW as Watch It Move does.

    Args:
        poses, painter: to train.
        photos: to learn from.
        batch: images in each step.
    """

    name = 'template'
    learning_rate = 2e-3
    clip_norm = 2.0
    intervals = 200

    def __init__(
        self, poses: TemplatePoses, painter: Painter, photos: TemplatePhotos, batch: int = 8
    ):
        self._poses, self._painter, self._photos, self._batch = poses, painter, photos, batch
        self._frames = min(FIRST_FRAMES, photos.levels_VF4HW.shape[1])

    def modules(self) -> Mapping[str, nn.Module]:
        return {'poses': self._poses, 'painter': self._painter}

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, weight_decay=0.005)

    def on_interval(self, fraction: float) -> bool:
        total = self._photos.levels_VF4HW.shape[1]
        share = (fraction - CURRICULUM_BEGIN) / (CURRICULUM_END - CURRICULUM_BEGIN)
        first = min(FIRST_FRAMES, total)
        self._frames = int(first + min(max(share, 0.0), 1.0) * (total - first))
        return False

    def extra_state(self) -> dict:
        return {'frames': self._frames}

    def load_extra_state(self, state: dict) -> None:
        self._frames = int(state['frames'])

    def step(self, step: int, generator: torch.Generator) -> Mapping[str, torch.Tensor]:
        frames, views = self._draw(generator)
        levels = self._photos.levels_VF4HW[views, frames].float() / 255.0
        reliable = self._photos.reliable_VFHW[views, frames].float()
        cameras = Views(
            self._photos.views.T_cam_scene_B44[views], self._photos.views.intrinsics_B4[views]
        )
        T = self._poses(frames)
        size = tuple(levels.shape[2:])
        maps = heat_maps(cameras, T, self._poses.deviations_P3, size)
        colours, logits = self._painter(maps)
        wanted, mask = 2.0 * levels[:, :3] - 1.0, levels[:, 3]
        photo = (reliable[:, None] * (colours - wanted) ** 2).mean()
        cover = F.binary_cross_entropy_with_logits(logits, mask, weight=reliable)
        ends = self._poses.anchors(T)
        anchors = (ends[:, :, 0] - ends[:, :, 1]).square().sum(dim=-1).mean()
        pixels, _ = project(cameras, T[..., :3, 3])
        half = torch.tensor([size[1], size[0]], device=pixels.device) / 2.0
        outside = ((pixels - half).abs() / half - 1.0).clamp(0.0, 10.0).mean()
        loss = photo + cover + ANCHOR_WEIGHT * anchors + BOUNDARY_WEIGHT * outside
        return {
            'loss': loss,
            'psnr': -10.0 * torch.log10(photo.detach().clamp(min=1e-10) / 4.0),
            'anchors': anchors.detach(),
        }

    def _draw(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        count, total = self._photos.levels_VF4HW.shape[:2]
        device = self._photos.levels_VF4HW.device
        frames = torch.randint(self._frames, (self._batch,), generator=generator, device=device)
        if self._frames < total:
            latest = min(LATEST, self._frames)
            recent = (
                self._frames
                - 1
                - torch.randint(latest, (self._batch,), generator=generator, device=device)
            )
            chance = torch.rand(self._batch, generator=generator, device=device)
            frames = torch.where(chance < LATEST_CHANCE, recent, frames)
        views = torch.randint(count, (self._batch,), generator=generator, device=device)
        return frames, views
