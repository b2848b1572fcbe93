"""Two-sided distances between projected points and the pixels of silhouettes (5.4 and 5.5).

All positions are in pixels.  Nearest neighbours are exact and have no gradient; no tensor of all
pairs of all images is ever made: a tree finds them on the CPU, blocks of pairs elsewhere.
"""

import numpy as np
from scipy.spatial import cKDTree
import torch

from posefield.learning import distributed

# Pairs of points that are compared at a time on an accelerator.
BLOCK_PAIRS = 2**26


@torch.no_grad()
def nearest(
    queries_BN2: torch.Tensor, points_BM2: torch.Tensor, allowed_BM: torch.Tensor
) -> torch.Tensor:
    """Return the index (B, N) of the allowed point that is nearest to each query.

    It is 0 throughout where no point of an image is allowed, so such an image must not count.
    """
    images = zip(queries_BN2, points_BM2, allowed_BM, strict=True)
    if queries_BN2.device.type == 'cpu':
        found = [nearest_by_tree(*image) for image in images]
    else:
        found = [nearest_by_blocks(*image) for image in images]
    return torch.stack(found)


def nearest_by_tree(
    queries_N2: torch.Tensor, points_M2: torch.Tensor, allowed_M: torch.Tensor
) -> torch.Tensor:
    """Return what `nearest` does for one image, by a k-d tree.

    Where a query is not a number any point is its nearest; it is for others to see to that.
    """
    indices = (allowed_M & points_M2.isfinite().all(dim=1)).nonzero()[:, 0].numpy()
    if not len(indices):
        return torch.zeros(len(queries_N2), dtype=torch.int64)
    tree = cKDTree(points_M2.numpy()[indices], balanced_tree=False, compact_nodes=False)
    _, found = tree.query(queries_N2.nan_to_num().numpy())
    return torch.from_numpy(indices[np.asarray(found)])


def nearest_by_blocks(
    queries_N2: torch.Tensor,
    points_M2: torch.Tensor,
    allowed_M: torch.Tensor,
    block_pairs: int = BLOCK_PAIRS,
) -> torch.Tensor:
    """Return what `nearest` does for one image, by comparing blocks of queries to all points.

    Differences are squared, because |a|^2 - 2ab + |b|^2 would lose the digits that matter.
    """
    forbidden_M = torch.where(allowed_M, 0.0, torch.inf)
    x_M, y_M = points_M2.unbind(dim=1)
    found = []
    for block_2 in queries_N2.split(max(1, block_pairs // max(1, len(points_M2)))):
        along = block_2[:, :1] - x_M
        square = torch.addcmul(forbidden_M, along, along)
        along = block_2[:, 1:] - y_M
        found.append(square.addcmul_(along, along).argmin(dim=1))
    return torch.cat(found)


def silhouette_chamfer(
    points_BS2: torch.Tensor,
    pixels_BG2: torch.Tensor,
    masks_BG: torch.Tensor,
    dead_zone: float = 0.0,
) -> torch.Tensor:
    """Return the mean squared distances of points to the silhouette and of it to the points.

    Points are drawn to the nearest pixel of the object or of nobody knows what; only the object
    counts.  An image without two pixels of the object draws nothing.

    Args:
        points_BS2: projections, with gradient.
        pixels_BG2: pixel centres.
        masks_BG: of the pixels: 0 background, 1 object, 2 unreliable.
        dead_zone: squared distances below count as 0.

    Returns:
        A scalar, in squared pixels.
    """
    object_BG, visible_B = masks_BG == 1, (masks_BG == 1).sum(dim=1) > 1
    to_pixel_BS = nearest(points_BS2, pixels_BG2, masks_BG > 0)
    square_BS = (points_BS2 - _rows(pixels_BG2, to_pixel_BS)).square().sum(dim=2)
    counted_BS = object_BG.gather(1, to_pixel_BS) & visible_B[:, None]
    outside = (_beyond(square_BS, dead_zone) * counted_BS).mean()
    everywhere = torch.ones_like(points_BS2[..., 0], dtype=torch.bool)
    to_point_BG = nearest(pixels_BG2, points_BS2.detach(), everywhere)
    square_BG = (pixels_BG2 - _rows(points_BS2, to_point_BG)).square().sum(dim=2)
    # Of several processes each has its share of the images, but all have the same divisor.
    count = distributed.mean_tensor(object_BG.sum().to(square_BG.dtype)).clamp(min=1.0)
    return outside + (_beyond(square_BG, dead_zone) * object_BG).sum() / count


def _beyond(square: torch.Tensor, dead_zone: float) -> torch.Tensor:
    return torch.where(square >= dead_zone, square, 0.0)


def _rows(points_BM2: torch.Tensor, indices_BN: torch.Tensor) -> torch.Tensor:
    """Return the points (B, N, 2) of these indices."""
    return points_BM2.gather(1, indices_BN[..., None].expand(-1, -1, 2))
