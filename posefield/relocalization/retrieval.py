"""Retrieval: which reference view looks most like the query."""

import numpy as np
import torch
import torch.nn.functional as F

from posefield.features.filters import gaussian_blur
from posefield.features.gradient import GradientFeatures

CELL_PX = 4


class GlobalDescriptor:
    """A coarse grid of gradient and colour features of the reference view, unit length."""

    def __init__(self):
        self._features = GradientFeatures(orientations=8, neighbourhood=3.0)

    def length(self, width: int, height: int) -> int:
        """Return D for images of this size."""
        return self._features.channels * (width // CELL_PX) * (height // CELL_PX)

    def __call__(self, images_NHW3: np.ndarray) -> torch.Tensor:
        """Return descriptors (N, D) float32 of small float RGB images in [0, 1]."""
        images = torch.from_numpy(np.ascontiguousarray(images_NHW3)).permute(0, 3, 1, 2)
        features = gaussian_blur(self._features(images.to(torch.float32)), 0.5 * CELL_PX)
        pooled = F.avg_pool2d(features, CELL_PX)
        return F.normalize(pooled.flatten(1), dim=1)


def nearest_views(
    descriptor_D: torch.Tensor,
    references_ND: torch.Tensor,
    T_field_cam_N44: np.ndarray,
    count: int,
    min_distance: float,
) -> list[int]:
    """Return the most similar reference views, no two closer than `min_distance`.

    Args:
        descriptor_D: of the query.
        references_ND: of the reference views.
        T_field_cam_N44: their poses.
        count: wanted at most.
        min_distance: between centres, or the same share of a radian between axes.
    """
    order = torch.argsort(references_ND @ descriptor_D, descending=True, stable=True)
    chosen: list[int] = []
    for index in order.tolist():
        pose = T_field_cam_N44[index]
        if all(_distance(pose, T_field_cam_N44[other]) > min_distance for other in chosen):
            chosen.append(index)
        if len(chosen) == count:
            break
    return chosen


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    angle = np.arccos(np.clip(first[:3, 2] @ second[:3, 2], -1.0, 1.0))
    return float(np.linalg.norm(first[:3, 3] - second[:3, 3]) + angle)
