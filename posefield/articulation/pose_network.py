"""Poses of all parts as functions of the frame (Watch It Move section 3.2)."""

import math

import torch
from torch import nn

from posefield.fields.initialization import seeded


def cosine_features(frames_B: torch.Tensor, frames: int, features: int) -> torch.Tensor:
    """Return the cosine features (B, K) of frames: cos(pi k (f + 0.5) / T), k = 0 .. K - 1.

    Args:
        frames_B: numbers of frames, from 0.
        frames: T, of the whole training video, whatever part of it has been seen so far.
        features: K; motion faster than about K half periods a video is smoothed away.
    """
    orders_K = torch.arange(features, device=frames_B.device, dtype=torch.float32)
    phases_B = math.pi * (frames_B.to(torch.float32) + 0.5) / frames
    return torch.cos(phases_B[:, None] * orders_K)


def rotation_6d(numbers_6: torch.Tensor) -> torch.Tensor:
    """Return rotations (..., 3, 3) of two vectors (..., 6) by Gram-Schmidt.

    The rows are b1 = a1/|a1|, b2 = the rest of a2 at right angles to it, and b1 x b2.
    """
    first, second = numbers_6[..., :3], numbers_6[..., 3:]
    b1 = nn.functional.normalize(first, dim=-1)
    b2 = nn.functional.normalize(second - (b1 * second).sum(-1, keepdim=True) * b1, dim=-1)
    return torch.stack([b1, b2, torch.linalg.cross(b1, b2)], dim=-2)


def pose_matrices(R: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return transforms (..., 4, 4) of rotations (..., 3, 3) and translations (..., 3)."""
    last = R.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*R.shape[:-2], 1, 4)
    return torch.cat([torch.cat([R, t[..., None]], dim=-1), last], dim=-2)


class PoseNetwork(nn.Module):
    """An MLP with ELU from a frame to the poses of all parts, without output scaling.

    Args:
        parts: P.
        frames: T, of the whole training video.
        features: K cosine features of the frame (30 for the robots, 50 for people).
        width: of the hidden layers.
        depth: number of hidden layers.
        generator: of the first weights, uniform in +-1/sqrt(fan in); so all parts start within
            about 0.1 of the scene's origin, with orientations that hardly change in time.
    """

    def __init__(
        self,
        parts: int,
        frames: int,
        features: int,
        width: int = 256,
        depth: int = 4,
        *,
        generator: torch.Generator,
    ):
        super().__init__()
        self.parts, self.frames, self.features = parts, frames, features
        sizes = [features] + depth * [width]
        layers: list[nn.Module] = []
        with seeded(generator):
            for before, after in zip(sizes[:-1], sizes[1:], strict=True):
                layers += [nn.Linear(before, after), nn.ELU()]
            self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], 9 * parts))

    def forward(self, frames_B: torch.Tensor) -> torch.Tensor:
        """Return T_scene_part (B, P, 4, 4) of frames, in scene units."""
        numbers = self.layers(cosine_features(frames_B, self.frames, self.features))
        R = rotation_6d(numbers[:, : 6 * self.parts].unflatten(1, (self.parts, 6)))
        return pose_matrices(R, numbers[:, 6 * self.parts :].unflatten(1, (self.parts, 3)))

    def all_frames(self) -> torch.Tensor:
        """Return T_scene_part (T, P, 4, 4) of the whole video."""
        device = next(self.parameters()).device
        return self(torch.arange(self.frames, device=device))
