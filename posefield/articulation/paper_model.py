"""Posed ellipsoids with a decoder around them, as Watch It Move asks them (section 3).

Names: B images, each with its own poses of P parts; N points in each image.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from posefield.articulation.decoder import DecoderConfig, PartDecoder
from posefield.articulation.ellipsoid_sdf import ellipsoid_distance
from posefield.articulation.pose_network import PoseNetwork
from posefield.articulation.union import SoftUnion, soft_minimum

FIRST_RADIUS = 0.1
LEAST_RADIUS = 0.01


@dataclass(frozen=True)
class PaperModelConfig:
    """Sizes of the networks; the defaults are published.

    Attributes:
        parts: P; 20 for people, the dog and most robots, 8 for the iiwa.
        pose_features: K cosines of the frame; 30 for the robots, 50 for people and the dog.
        pose_width, pose_depth: hidden layers of the pose network.
        decoder: of colour and residual.
    """

    parts: int = 20
    pose_features: int = 30
    pose_width: int = 256
    pose_depth: int = 4
    decoder: DecoderConfig = DecoderConfig()


class PartPoints(NamedTuple):
    """Points as the parts see them.

    Attributes:
        points_BNP3: in the frame of every part.
        distances_BNP: signed, to the ellipsoid of every part.
    """

    points_BNP3: torch.Tensor
    distances_BNP: torch.Tensor


class PaperModel(nn.Module):
    """Everything that Watch It Move learns.

    Args:
        config: sizes.
        frames: T, of the training video.
        generator: of the first weights.
    """

    def __init__(self, config: PaperModelConfig, frames: int, *, generator: torch.Generator):
        super().__init__()
        self.config = config
        self.poses = PoseNetwork(
            config.parts,
            frames,
            config.pose_features,
            config.pose_width,
            config.pose_depth,
            generator=generator,
        )
        self.raw_radii_P3 = nn.Parameter(torch.full((config.parts, 3), FIRST_RADIUS))
        self.decoder = PartDecoder(config.parts, config.decoder, generator=generator)
        self.union = SoftUnion()

    @property
    def radii_P3(self) -> torch.Tensor:
        """Semi-axes of the ellipsoids, scene units."""
        return self.raw_radii_P3.clamp(min=LEAST_RADIUS)

    def part_points(self, points_BN3: torch.Tensor, T_scene_part_BP44: torch.Tensor) -> PartPoints:
        """Look at scene points from the parts, x_i = R_i^T (x - t_i)."""
        R = T_scene_part_BP44[:, None, :, :3, :3]
        offset = points_BN3[:, :, None] - T_scene_part_BP44[:, None, :, :3, 3]
        # Sum by sum: as a product of matrices a GPU may round it to ten bits.
        x, y, z = offset.unsqueeze(-1).unbind(dim=-2)
        local = x * R[..., 0, :] + y * R[..., 1, :] + z * R[..., 2, :]
        return PartPoints(local, ellipsoid_distance(local, self.radii_P3))

    def distances(self, seen: PartPoints) -> torch.Tensor:
        """Return the signed distances (B, N) to the surface."""
        residuals = self.decoder.residuals(*_flat(seen)).view(seen.distances_BNP.shape[:2])
        return self.union(seen.distances_BNP) + residuals

    def surface(self, seen: PartPoints) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the signed distances (B, N) to the surface and colours (B, N, 3) in [-1, 1]."""
        shape = seen.distances_BNP.shape[:2]
        decoded = self.decoder(*_flat(seen))
        distances = self.union(seen.distances_BNP) + decoded.residuals_N.view(shape)
        return distances, decoded.colours_N3.view(*shape, 3)

    @torch.no_grad()
    def distance_bounds(
        self, points_BN3: torch.Tensor, T_scene_part_BP44: torch.Tensor
    ) -> torch.Tensor:
        """Return what the distances (B, N) to the surface are not below, at little cost.

        From the spheres around the ellipsoids, which are nearer, and the largest residual.
        """
        centres_BP3 = T_scene_part_BP44[..., :3, 3]
        square = 0.0
        for axis in range(3):
            along = points_BN3[..., axis, None] - centres_BP3[:, None, :, axis]
            square = square + along * along
        nearest_BNP = square.sqrt() - self.radii_P3.amax(dim=1)
        bounds = soft_minimum(nearest_BNP, self.union.sharpness)
        return bounds - self.decoder.config.largest_residual


def _flat(seen: PartPoints) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points (B N, P, 3) and distances (B N, P), as a decoder takes them."""
    return seen.points_BNP3.flatten(0, 1), seen.distances_BNP.flatten(0, 1)
