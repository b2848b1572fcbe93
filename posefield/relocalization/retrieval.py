"""Retrieval: which reference view looks most like the query, and turned by how much.

Views are compared as coarse grids of features.  Turning a camera moves its image, so the grids
are compared at every shift by a few cells; the best shift corrects the direction of the
reference's pose.  Only cells that the query covers count, so a narrow query fits somewhere into
a wide reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from posefield.features.filters import gaussian_blur
from posefield.features.gradient import GradientFeatures
from posefield.geometry.camera import Camera
from posefield.relocalization.photos import SizedImage
from posefield.relocalization.reference_view import to_reference_view

CELL_PX = 4
# Cells that a query may be shifted beyond the border of the reference, and the least share of
# its cells that must stay inside.
MAX_BEYOND = 3
MIN_OVERLAP = 0.6
# What losing all overlap would cost a similarity.
OVERLAP_WEIGHT = 0.2
# A cell counts when the query covers this much of it.
MIN_COVERAGE = 0.7


class GlobalDescriptor:
    """A coarse grid of gradient and colour features of the reference view, unit length."""

    def __init__(self):
        self._features = GradientFeatures(orientations=8, neighbourhood=3.0)

    @property
    def channels(self) -> int:
        """Return the features of each cell."""
        return self._features.channels

    def length(self, width: int, height: int) -> int:
        """Return D for images of this size."""
        return self.channels * (width // CELL_PX) * (height // CELL_PX)

    def grids(self, images_NHW3: np.ndarray) -> torch.Tensor:
        """Return features (N, C, h, w) of cells of small float RGB images in [0, 1]."""
        images = torch.from_numpy(np.ascontiguousarray(images_NHW3)).permute(0, 3, 1, 2)
        features = gaussian_blur(self._features(images.to(torch.float32)), 0.5 * CELL_PX)
        return F.avg_pool2d(features, CELL_PX)

    def __call__(self, images_NHW3: np.ndarray) -> torch.Tensor:
        """Return descriptors (N, D) float32: flat grids of unit length."""
        return F.normalize(self.grids(images_NHW3).flatten(1), dim=1)


@dataclass(frozen=True)
class ReferenceGrids:
    """Reference views to compare with.

    Attributes:
        grids_NCHW: of their cells.
        T_field_cam_N44: their poses.
        camera: of all of them.
    """

    grids_NCHW: torch.Tensor
    T_field_cam_N44: np.ndarray
    camera: Camera

    @classmethod
    def from_descriptors(
        cls, descriptors_ND: torch.Tensor, T_field_cam_N44: np.ndarray, camera: Camera
    ) -> 'ReferenceGrids':
        """Return the grids that `GlobalDescriptor` made flat."""
        channels = GlobalDescriptor().channels
        shape = (-1, channels, camera.height // CELL_PX, camera.width // CELL_PX)
        return cls(descriptors_ND.reshape(shape), T_field_cam_N44, camera)

    @classmethod
    def from_views(
        cls, images: Sequence[SizedImage], T_field_cam_N44: np.ndarray, camera: Camera
    ) -> 'ReferenceGrids':
        """Return the grids of photos as `camera` would see them."""
        views = np.stack([to_reference_view(image, camera) for image in images])
        return cls(GlobalDescriptor().grids(views), T_field_cam_N44, camera)

    def nearest(
        self, query: SizedImage, count: int, min_distance: float, excluded: frozenset[int]
    ) -> list[np.ndarray]:
        """Return poses (4, 4) of the most similar references, turned by their best shifts.

        Args:
            query: of any size.
            count: wanted at most.
            min_distance: between poses, see `pose_distance`.
            excluded: references not to use.
        """
        view = to_reference_view(query, self.camera)
        mask_HW = _covered_cells(query.camera, self.camera)
        grid_CHW = GlobalDescriptor().grids(view[None])[0]
        similarity_N, shifts_N2 = shifted_similarity(
            grid_CHW, mask_HW, self.grids_NCHW, _largest_shift(mask_HW)
        )
        poses: list[np.ndarray] = []
        for index in torch.argsort(similarity_N, descending=True, stable=True).tolist():
            if index in excluded:
                continue
            shift_px = CELL_PX * shifts_N2[index].numpy()
            T = self.T_field_cam_N44[index] @ turned(self.camera, *shift_px.tolist())
            if all(pose_distance(T, other) > min_distance for other in poses):
                poses.append(T)
            if len(poses) == count:
                break
        return poses


def shifted_similarity(
    query_CHW: torch.Tensor,
    mask_HW: torch.Tensor,
    references_NCHW: torch.Tensor,
    largest_shift: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the best similarity (N,) of each reference and its shift (N, 2) in cells.

    Cells x of the query are compared with cells x + shift (right, down) of the reference: the
    cosine over all cells that both have, less a little for the share that is lost.

    Args:
        query_CHW: grid of the query; mask_HW: which of its cells count.
        references_NCHW: grids of the same size.
        largest_shift: in cells, in every direction.
    """
    masked = (query_CHW * mask_HW)[None]
    inside = torch.ones_like(references_NCHW[:1, :1])

    def slide(values: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return F.conv2d(values, kernel, padding=largest_shift)[:, 0]

    product = slide(references_NCHW, masked)
    reference_energy = slide((references_NCHW**2).sum(dim=1, keepdim=True), mask_HW[None, None])
    query_energy = slide(inside, (masked**2).sum(dim=1, keepdim=True))
    overlap = slide(inside, mask_HW[None, None]) / mask_HW.sum().clamp(min=1.0)
    cosine = product / (reference_energy * query_energy).clamp(min=1e-12).sqrt()
    score = cosine - OVERLAP_WEIGHT * (1.0 - overlap)
    score = torch.where(overlap >= MIN_OVERLAP, score, -1.0)
    best_N, index_N = score.flatten(1).max(dim=1)
    columns = score.shape[2]
    shifts = torch.stack([index_N % columns, index_N // columns], dim=1) - largest_shift
    return best_N, shifts


def _largest_shift(mask_HW: torch.Tensor) -> int:
    """Return the cells from the query to the farthest border of the reference, and beyond."""
    rows, columns = torch.nonzero(mask_HW.amax(dim=1)), torch.nonzero(mask_HW.amax(dim=0))
    free = max(
        int(rows[0]),
        int(columns[0]),
        mask_HW.shape[0] - 1 - int(rows[-1]),
        mask_HW.shape[1] - 1 - int(columns[-1]),
    )
    return free + MAX_BEYOND


def turned(camera: Camera, right_px: float, down_px: float) -> np.ndarray:
    """Return T_cam_turned (4, 4) of a camera that looks at a pixel so far from the middle."""
    axis = np.array([right_px / camera.fx, down_px / camera.fy, 1.0])
    axis /= np.linalg.norm(axis)
    rotvec = np.cross([0.0, 0.0, 1.0], axis)
    sine = np.linalg.norm(rotvec)
    T = np.eye(4)
    if sine > 0:
        T[:3, :3] = cv2.Rodrigues(rotvec / sine * np.arcsin(min(sine, 1.0)))[0]
    return T


def pose_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the distance of the centres plus the angle of the axes in radians."""
    angle = np.arccos(np.clip(first[:3, 2] @ second[:3, 2], -1.0, 1.0))
    return float(np.linalg.norm(first[:3, 3] - second[:3, 3]) + angle)


def _covered_cells(query: Camera, reference: Camera) -> torch.Tensor:
    """Return which cells (h, w) of a reference view the query covers, as 0 and 1."""
    sx, sy = query.fx / reference.fx, query.fy / reference.fy
    u = (np.arange(reference.width) - reference.cx) * sx + query.cx
    v = (np.arange(reference.height) - reference.cy) * sy + query.cy
    seen_u = (u > -0.5) & (u < query.width - 0.5)
    seen_v = (v > -0.5) & (v < query.height - 0.5)
    seen = torch.from_numpy(np.outer(seen_v, seen_u).astype(np.float32))
    covered = F.avg_pool2d(seen[None, None], CELL_PX)[0, 0] >= MIN_COVERAGE
    # A query too narrow for any whole cell still has the middle one.
    covered[covered.shape[0] // 2, covered.shape[1] // 2] = True
    return covered.to(torch.float32)
