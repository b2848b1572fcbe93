"""The surface of some parts alone, such as those of one link, for meshes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from posefield.articulation.surface import NearParts, Surface, SurfaceSamples

POINTS_AT_ONCE = 65536


class GroupSamples(NamedTuple):
    """Signed distances (N,) in scene units and colours (N, 3) of points."""

    distances_N: np.ndarray
    colours_N3: np.ndarray


class PartGroup:
    """Parts that stand still against each other, in the light from everywhere.

    Args:
        surface: of all parts.
        parts: indices of these.
        T_group_part_M44: their poses in the frame of the group, scene units.
    """

    def __init__(self, surface: Surface, parts: Sequence[int], T_group_part_M44: np.ndarray):
        self._surface = surface
        self._device = surface.raw_radii_P3.device
        self._parts_M = torch.tensor(list(parts), device=self._device)
        self._poses_M44 = torch.tensor(T_group_part_M44, dtype=torch.float32, device=self._device)

    @torch.no_grad()
    def look(self, points_N3: np.ndarray) -> GroupSamples:
        """Look at points in the frame of the group, scene units."""
        found = [
            self._look(torch.as_tensor(piece, dtype=torch.float32, device=self._device))
            for piece in np.array_split(points_N3, max(1, -(-len(points_N3) // POINTS_AT_ONCE)))
        ]
        return GroupSamples(
            np.concatenate([s.distances_RK[:, 0].cpu().double().numpy() for s in found]),
            np.concatenate([s.colours_RK3[:, 0].cpu().double().numpy() for s in found]),
        )

    def _look(self, points_N3: torch.Tensor) -> SurfaceSamples:
        rows, parts = len(points_N3), len(self._parts_M)
        near = NearParts(
            self._parts_M.expand(rows, -1),
            torch.ones(rows, parts, dtype=torch.bool, device=self._device),
            self._poses_M44.expand(rows, -1, -1, -1),
        )
        return self._surface(points_N3[:, None], near, lit=False)
