"""Where parts may be joined, which are, and the losses on their poses (Watch It Move 3.5).

Six candidates a part lie on the axes of its ellipsoid, at 3/4 of the radii.  Two parts are
joined where a candidate of one stays nearest to a candidate of the other; the tree of least
cost over all pairs is the skeleton, found anew in every iteration.
"""

from collections.abc import Sequence

import numpy as np
from scipy.cluster.hierarchy import DisjointSet
import torch
from torch import nn

from posefield.learning import distributed

CANDIDATES = 6
# Distance of the candidates from the centre, as a share of the radius.
CANDIDATE_SHARE = 0.75
# Weight of the newest batch in the running averages.
AVERAGE_RATE = 0.05
# Weight of the centres' distance in the cost of a pair (lambda_l).
CENTRE_WEIGHT = 0.02
# Weight of translations against rotations in the relative motion (lambda_motion).
MOTION_WEIGHT = 3.0
# Relative motion below which parts are drawn together (D bar).
MERGE_THRESHOLD = 0.1
# How near centres are felt by each other, scene units.
SEPARATION = 0.05

# Parts i and j, and the candidates m of i and n of j at which they are joined.
Edge = tuple[int, int, int, int]


def candidate_offsets(radii_P3: torch.Tensor) -> torch.Tensor:
    """Return the candidates (P, 6, 3) in the parts' frames: +x, -x, +y, -y, +z, -z."""
    axes_33 = torch.eye(3, dtype=radii_P3.dtype, device=radii_P3.device)
    directions_63 = torch.stack([axes_33, -axes_33], dim=1).reshape(CANDIDATES, 3)
    return CANDIDATE_SHARE * radii_P3[:, None] * directions_63


def candidate_points(T_scene_part_BP44: torch.Tensor, radii_P3: torch.Tensor) -> torch.Tensor:
    """Return the candidates (B, P, 6, 3) of posed parts in the scene frame."""
    R, t = T_scene_part_BP44[..., :3, :3], T_scene_part_BP44[..., :3, 3]
    # The axes of the ellipsoids are the columns of their rotations.
    steps = CANDIDATE_SHARE * (R * radii_P3[:, None]).transpose(-1, -2)
    return t[:, :, None] + torch.stack([steps, -steps], dim=3).flatten(2, 3)


def joint_positions(points_BPM3: torch.Tensor, edges: Sequence[Edge]) -> torch.Tensor:
    """Return the joints (B, E, 3): the middles between the two candidates of every edge."""
    first, second = _ends(points_BPM3, edges)
    return 0.5 * (first + second)


def _ends(points_BPM3: torch.Tensor, edges: Sequence[Edge]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the two candidates (B, E, 3) of every edge."""
    i, j, m, n = torch.tensor(edges, device=points_BPM3.device).reshape(-1, 4).unbind(dim=1)
    return points_BPM3[:, i, m], points_BPM3[:, j, n]


class PairDistances(nn.Module):
    """Running averages of the squared distances between all candidates, and all centres.

    They stand in for averages over the whole video.  Of several processes, all take in the mean
    of their batches, so that they have the same averages and the same tree.

    Args:
        parts: P.
        rate: weight of the newest batch; the first one is taken as it is.
    """

    def __init__(self, parts: int, rate: float = AVERAGE_RATE):
        super().__init__()
        self.rate = rate
        self.register_buffer('candidates_PMPM', torch.zeros(parts, CANDIDATES, parts, CANDIDATES))
        self.register_buffer('centres_PP', torch.zeros(parts, parts))
        self.register_buffer('batches', torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, T_scene_part_BP44: torch.Tensor, points_BPM3: torch.Tensor) -> None:
        """Take in a batch of poses and their candidates; cameras do not matter."""
        points = points_BPM3.flatten(1, 2)
        centres = T_scene_part_BP44[..., :3, 3]
        new = torch.cat([_mean_square(points).reshape(-1), _mean_square(centres).reshape(-1)])
        new = distributed.mean_tensor(new)
        candidates = new[: self.candidates_PMPM.numel()].view_as(self.candidates_PMPM)
        centres = new[self.candidates_PMPM.numel() :].view_as(self.centres_PP)
        weight = torch.where(self.batches == 0, 1.0, self.rate)
        self.candidates_PMPM += weight * (candidates - self.candidates_PMPM)
        self.centres_PP += weight * (centres - self.centres_PP)
        self.batches += 1

    def tree(self, centre_weight: float = CENTRE_WEIGHT) -> tuple[Edge, ...]:
        """Return the edges of the tree of least cost, each with its best pair of candidates."""
        parts = len(self.centres_PP)
        pairs_PPMM = self.candidates_PMPM.permute(0, 2, 1, 3).reshape(parts, parts, -1)
        nearest_PP, best_PP = pairs_PPMM.min(dim=2)
        costs_PP = nearest_PP + centre_weight * self.centres_PP
        found = torch.stack([costs_PP, best_PP.to(costs_PP.dtype)]).cpu().double().numpy()
        return tuple(
            (i, j, *divmod(int(found[1, i, j]), CANDIDATES)) for i, j in spanning_tree(found[0])
        )


def _mean_square(points_BN3: torch.Tensor) -> torch.Tensor:
    """Return the mean over the batch of the squared distances (N, N) between all points."""
    return (points_BN3[:, :, None] - points_BN3[:, None]).square().sum(dim=3).mean(dim=0)


def spanning_tree(costs_PP: np.ndarray) -> list[tuple[int, int]]:
    """Return the P - 1 pairs (i < j) that join all parts at the least sum of costs.

    The cheapest pair whose parts are not joined yet is taken again and again (Kruskal).

    Args:
        costs_PP: symmetric; the diagonal does not matter.
    """
    parts = len(costs_PP)
    joined = DisjointSet(range(parts))
    first, second = np.triu_indices(parts, 1)
    edges = []
    for number in np.argsort(costs_PP[first, second], kind='stable'):
        i, j = int(first[number]), int(second[number])
        if joined.merge(i, j):
            edges.append((i, j))
    return edges


def structure_loss(points_BPM3: torch.Tensor, edges: Sequence[Edge]) -> torch.Tensor:
    """Return L_Gamma: the mean squared distance of the candidates that the tree joins."""
    if not edges:
        return points_BPM3.new_zeros(())
    first, second = _ends(points_BPM3, edges)
    return (first - second).square().sum(dim=2).mean()


def separation_loss(centres_BP3: torch.Tensor, distance: float = SEPARATION) -> torch.Tensor:
    """Return L_sep: how much centres crowd, as 1/(B (P - 1)) of a sum over ordered pairs."""
    parts = centres_BP3.shape[1]
    if parts < 2:
        return centres_BP3.new_zeros(())
    i, j = torch.triu_indices(parts, parts, 1, device=centres_BP3.device)
    square = (centres_BP3[:, i] - centres_BP3[:, j]).square().sum(dim=2)
    crowding = torch.exp(-square / (2.0 * distance**2))
    return 2.0 * crowding.sum() / (len(centres_BP3) * (parts - 1))


def relative_motion(
    T_scene_part_FP44: torch.Tensor, motion_weight: float = MOTION_WEIGHT
) -> torch.Tensor:
    """Return D_ij (P, P): how much part j moves in the frame of part i over a video.

    The mean standard deviation of the entries of its rotation, plus `motion_weight` times that
    of its translation.  Zero on the diagonal; not symmetric.

    Args:
        T_scene_part_FP44: at least two frames.
        motion_weight: lambda_motion, per scene unit.
    """
    R, t = T_scene_part_FP44[..., :3, :3], T_scene_part_FP44[..., :3, 3]
    parts = R.shape[1]
    if parts < 2:
        return R.new_zeros(parts, parts)
    i, j = (~torch.eye(parts, dtype=torch.bool, device=R.device)).nonzero(as_tuple=True)
    turned = R[:, i].transpose(-1, -2)
    rotations = turned @ R[:, j]
    translations = turned @ (t[:, j] - t[:, i])[..., None]
    motion = rotations.std(dim=0).mean(dim=(1, 2))
    motion = motion + motion_weight * translations.std(dim=0).mean(dim=(1, 2))
    return R.new_zeros(parts, parts).index_put((i, j), motion)


def merge_loss(
    T_scene_part_FP44: torch.Tensor,
    threshold: float = MERGE_THRESHOLD,
    motion_weight: float = MOTION_WEIGHT,
) -> torch.Tensor:
    """Return L_merge, which draws parts together that hardly move against each other.

    Args:
        T_scene_part_FP44: poses of all frames of the video.
        threshold: relative motion (D bar) that counts half.
        motion_weight: see `relative_motion`.
    """
    motion_PP = relative_motion(T_scene_part_FP44, motion_weight)
    weights_PP = merge_weights(motion_PP.detach(), threshold)
    return (weights_PP * motion_PP).sum() / len(motion_PP) ** 2


def merge_weights(motion_PP: torch.Tensor, threshold: float = MERGE_THRESHOLD) -> torch.Tensor:
    """Return the weights (P, P) of pairs in L_merge: s((D' - D)/D'), zero on the diagonal.

    D' is the threshold, or the least relative motion where that is more.
    """
    if len(motion_PP) < 2:
        return torch.zeros_like(motion_PP)
    others_PP = ~torch.eye(len(motion_PP), dtype=torch.bool, device=motion_PP.device)
    limit = motion_PP[others_PP].min().clamp(min=threshold)
    return torch.sigmoid((limit - motion_PP) / limit) * others_PP
