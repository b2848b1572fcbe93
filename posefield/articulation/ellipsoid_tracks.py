"""Ellipsoids with a pose in every frame, as something to learn."""

import numpy as np
import roma
import torch
from torch import nn

from posefield.articulation.ellipsoid_rendering import Appearance
from posefield.articulation.part_seeding import Seeds

# How a part moves is told by its centre and six points at this distance from it along its axes,
# scene units.
ARM = 0.08
# Mean square over these points of what turning by the matrix R does to them, over |R|^2.
SPREAD = 2.0 * ARM**2 / 7.0
# Relative motion of two parts below this counts as none, scene units.
RIGID = 0.01


class EllipsoidTracks(nn.Module):
    """P ellipsoids over F frames, everything in the scene frame.

    Poses are free in every frame: `smoothness` and `looseness` are what ties them together.

    Attributes:
        quaternions_FP4: xyzw, not of unit length; centres_FP3.
        log_radii_P3, means_P3, textures_P33, light_3: shape and colours, the same in all frames.
    """

    def __init__(self, seeds: Seeds, frames: int, neighbours: int):
        super().__init__()

        def parameter(values: np.ndarray) -> nn.Parameter:
            return nn.Parameter(torch.tensor(values, dtype=torch.float32))

        quaternions = roma.rotmat_to_unitquat(torch.tensor(seeds.R_P33)).numpy()
        parts = len(seeds.t_P3)
        self.quaternions_FP4 = parameter(np.tile(quaternions, (frames, 1, 1)))
        self.centres_FP3 = parameter(np.tile(seeds.t_P3, (frames, 1, 1)))
        self.log_radii_P3 = parameter(np.log(seeds.radii_P3))
        self.means_P3 = parameter(seeds.colours_P3)
        self.textures_P33 = parameter(np.zeros((parts, 3, 3)))
        self.light_3 = parameter(np.zeros(3))
        self.register_buffer('seeded_log_radii_P3', self.log_radii_P3.detach().clone())
        pairs = torch.from_numpy(_neighbours(seeds.t_P3, neighbours))
        self.register_buffer('pairs_N2', pairs)

    @property
    def parts(self) -> int:
        """Number of parts P."""
        return len(self.log_radii_P3)

    @property
    def radii_P3(self) -> torch.Tensor:
        """Semi-axes."""
        return self.log_radii_P3.exp()

    def appearance(self) -> Appearance:
        """Return the colours."""
        return Appearance(self.means_P3, self.textures_P33, self.light_3)

    def rotations(self, frames_B: torch.Tensor) -> torch.Tensor:
        """Return R_scene_part (B, P, 3, 3) in some frames."""
        quaternions = nn.functional.normalize(self.quaternions_FP4[frames_B], dim=-1)
        return roma.unitquat_to_rotmat(quaternions)

    def poses(self, frames_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rotations (B, P, 3, 3) and centres (B, P, 3) in some frames."""
        return self.rotations(frames_B), self.centres_FP3[frames_B]

    def motion_losses(self, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return how jerky and how loose the parts are in the frames from first to last.

        Returns:
            smoothness: squared second differences of points on the parts, scene units, summed
            over frames; and looseness: the sum over neighbours of log(1 + (s / RIGID)^2), where s
            is how far points of one stray from their mean place in the other.  It is concave, so
            that motion gathers in few pairs: the joints.
        """
        frames = torch.arange(first, last + 1, device=self.centres_FP3.device)
        R, centres = self.poses(frames)
        smoothness = (_jerks(centres) + SPREAD * _jerks(R)) / self.parts
        R_PF33, centres_PF3 = R.transpose(0, 1), centres.transpose(0, 1)
        one, other = self.pairs_N2.unbind(dim=1)
        R_one, R_other = R_PF33.index_select(0, one), R_PF33.index_select(0, other)
        between = centres_PF3.index_select(0, other) - centres_PF3.index_select(0, one)
        strays = _variance(_seen_from(R_one, between)) + _variance(_seen_from(R_other, between))
        # Rotations R have |R|^2 = 3, so that they vary by 3 - |mean R|^2, seen from either side.
        mean_turn = R_one.flatten(1, 2).mT @ R_other.flatten(1, 2) / len(frames)
        turns = 3.0 - mean_turn.square().sum(dim=(1, 2))
        looseness = torch.log1p((strays + 2.0 * SPREAD * turns) / RIGID**2).sum() / self.parts
        return smoothness, looseness

    def shape_losses(self) -> torch.Tensor:
        """Return how far sizes are from the first ones, and colours from being colours."""
        growth = (self.log_radii_P3 - self.seeded_log_radii_P3).square().mean()
        excess = (self.means_P3 - self.means_P3.clamp(0.0, 1.0)).square().sum(dim=1).mean()
        return 0.02 * growth + 0.1 * excess

    @torch.no_grad()
    def extrapolate(self, frame: int, known: int, before: int | None) -> None:
        """Start a new frame from a known one next to it, and the one before that if any."""
        self.centres_FP3[frame] = self.centres_FP3[known]
        self.quaternions_FP4[frame] = self.quaternions_FP4[known]
        if before is None:
            return
        self.centres_FP3[frame] += 0.9 * (self.centres_FP3[known] - self.centres_FP3[before])
        last = nn.functional.normalize(self.quaternions_FP4[known], dim=-1)
        first = nn.functional.normalize(self.quaternions_FP4[before], dim=-1)
        first = first * (first * last).sum(dim=-1, keepdim=True).sign()
        self.quaternions_FP4[frame] = last + 0.9 * (last - first)

    def poses_FP44(self) -> np.ndarray:
        """Return T_scene_part in all frames, float64 and rigid."""
        with torch.no_grad():
            quaternions = nn.functional.normalize(self.quaternions_FP4.double(), dim=-1)
            R = roma.unitquat_to_rotmat(quaternions).cpu().numpy()
            centres = self.centres_FP3.double().cpu().numpy()
        T = np.zeros((*centres.shape[:2], 4, 4))
        T[..., :3, :3], T[..., :3, 3], T[..., 3, 3] = R, centres, 1.0
        return T


def _seen_from(R_NF33: torch.Tensor, vectors_NF3: torch.Tensor) -> torch.Tensor:
    """Return R^T v."""
    return (vectors_NF3[..., None, :] @ R_NF33)[..., 0, :]


def _variance(vectors_NF3: torch.Tensor) -> torch.Tensor:
    """Return the mean squared distance (N,) from the mean over frames."""
    strays = vectors_NF3 - vectors_NF3.mean(dim=1, keepdim=True)
    return strays.square().sum(dim=(1, 2)) / vectors_NF3.shape[1]


def _jerks(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of the squared second differences over frames."""
    return (values[2:] - 2 * values[1:-1] + values[:-2]).square().sum()


def _neighbours(centres_P3: np.ndarray, count: int) -> np.ndarray:
    """Return pairs (N, 2) of parts of which one is among the nearest of the other."""
    distances = np.linalg.norm(centres_P3[:, None] - centres_P3, axis=-1)
    nearest = np.argsort(distances, axis=1)[:, 1 : count + 1]
    pairs = {(min(i, j), max(i, j)) for i, row in enumerate(nearest) for j in row.tolist()}
    return np.array(sorted(pairs), dtype=np.int64)
