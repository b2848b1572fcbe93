"""Pulling neighbouring parts towards hinges, the joints that most things have.

Between the two parts of a joint a point stays in place, and with a hinge a direction too.  Which
parts these are is a tree over all parts: the one whose pairs come nearest to hinges.  Point and
direction have a closed form; they are found anew now and then, and held in between.
"""

import numpy as np
import torch
from torch import nn

from posefield.articulation.joint_candidates import spanning_tree

# A direction that strays by one radian counts as a point that strays by so much, scene units.
ARM = 0.1
# How strongly a joint's point is drawn to where the surfaces meet, against its own evidence.
TO_CONTACT = 0.15
# Costs of a pair, in scene units of its point: a radian of its direction, a unit of its gap.
DIRECTION_COST = 0.03
GAP_COST = 0.3
# Surfaces further apart than this, scene units, have no joint where others are nearer.
FAR = 0.25
SURFACE = 0.8


class HingePull(nn.Module):
    """A tree of hinges over P parts, in the parts' own frames.

    Attributes:
        edges_E2: the two parts of every joint.
        axes_E23, points_E23: its direction and its point in the frame of each.
        ready: whether they were found yet.
    """

    def __init__(self, parts: int):
        super().__init__()
        self.register_buffer('edges_E2', torch.zeros(parts - 1, 2, dtype=torch.int64))
        self.register_buffer('axes_E23', torch.zeros(parts - 1, 2, 3))
        self.register_buffer('points_E23', torch.zeros(parts - 1, 2, 3))
        self.register_buffer('ready', torch.zeros((), dtype=torch.bool))

    def choose_tree(self, T_scene_part_FP44: np.ndarray, radii_P3: np.ndarray) -> None:
        """Choose the pairs, and fit their hinges."""
        parts = len(radii_P3)
        gaps_PP, contacts = _contacts(T_scene_part_FP44, radii_P3)
        costs = np.zeros((parts, parts))
        for one in range(parts):
            for other in range(one + 1, parts):
                cost = 10.0 + gaps_PP[one, other]
                if gaps_PP[one, other] < FAR:
                    pair = T_scene_part_FP44[:, one], T_scene_part_FP44[:, other]
                    *_, point_stray, axis_stray = fit_hinge(*pair, contacts[one, other])
                    gap = max(0.0, gaps_PP[one, other] - 0.02)
                    cost = point_stray + DIRECTION_COST * axis_stray + GAP_COST * gap
                costs[one, other] = costs[other, one] = cost
        self.edges_E2.copy_(torch.tensor(spanning_tree(costs)))
        self.fit(T_scene_part_FP44, radii_P3)
        self.ready.fill_(True)

    def fit(self, T_scene_part_FP44: np.ndarray, radii_P3: np.ndarray) -> None:
        """Find the direction and the point of every joint from how its parts move."""
        _, contacts = _contacts(T_scene_part_FP44, radii_P3, self.edges_E2.tolist())
        axes, points = [], []
        for one, other in self.edges_E2.tolist():
            pair = T_scene_part_FP44[:, one], T_scene_part_FP44[:, other]
            u, v, p, q, *_ = fit_hinge(*pair, contacts[min(one, other), max(one, other)])
            axes.append([u, v])
            points.append([p, q])
        self.axes_E23.copy_(torch.tensor(np.array(axes)))
        self.points_E23.copy_(torch.tensor(np.array(points)))

    def loss(self, R_FP33: torch.Tensor, t_FP3: torch.Tensor) -> torch.Tensor:
        """Return how far the joints are from hinges: squared scene units, summed over joints."""
        one, other = self.edges_E2.unbind(dim=1)
        R_one, R_other = R_FP33[:, one], R_FP33[:, other]

        def placed(R, vectors):
            return (R @ vectors[..., None])[..., 0]

        turned = placed(R_one, self.axes_E23[:, 0]) - placed(R_other, self.axes_E23[:, 1])
        moved = placed(R_one, self.points_E23[:, 0]) + t_FP3[:, one]
        moved = moved - placed(R_other, self.points_E23[:, 1]) - t_FP3[:, other]
        square = ARM**2 * turned.square().sum(dim=-1) + moved.square().sum(dim=-1)
        return square.mean(dim=0).sum()


def fit_hinge(
    T_one_F44: np.ndarray, T_other_F44: np.ndarray, contact_F3: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, float]:
    """Fit a hinge between two moving parts.

    The direction is that of the largest singular value of the mean relative rotation; the point
    solves linear least squares, drawn to where the parts touch because a hinge has many.

    Returns:
        the direction in each part, the point in each part, and how far the point (scene units)
        and the direction (radians) stray, root mean square.
    """
    R_one, R_other = T_one_F44[:, :3, :3], T_other_F44[:, :3, :3]
    between = np.einsum('fji,fjk->fik', R_one, R_other)
    offset = np.einsum('fji,fj->fi', R_one, T_other_F44[:, :3, 3] - T_one_F44[:, :3, 3])
    U, sizes, Vt = np.linalg.svd(between.mean(axis=0))
    first = np.einsum('fji,fj->fi', R_one, contact_F3 - T_one_F44[:, :3, 3]).mean(axis=0)
    second = np.einsum('fji,fj->fi', R_other, contact_F3 - T_other_F44[:, :3, 3]).mean(axis=0)
    frames = len(between)
    mean, turn = offset.mean(axis=0), between.mean(axis=0)
    # Normal equations of |between q + offset - p|^2 + TO_CONTACT^2 (|q - second|^2 + ...).
    normal = np.block([[np.eye(3), -turn.T], [-turn, np.eye(3)]])
    right = np.concatenate([-np.einsum('fij,fi->j', between, offset) / frames, mean])
    normal = normal + TO_CONTACT**2 * np.eye(6)
    right = right + TO_CONTACT**2 * np.concatenate([second, first])
    q, p = np.split(np.linalg.solve(normal, right), 2)
    stray = between @ q + offset - p
    point_stray = float(np.sqrt((stray**2).sum(axis=1).mean()))
    axis_stray = float(np.sqrt(max(0.0, 2.0 * (1.0 - sizes[0]))))
    return U[:, 0], Vt[0], p, q, point_stray, axis_stray


def _contacts(
    T_FP44: np.ndarray, radii_P3: np.ndarray, pairs: list[list[int]] | None = None
) -> tuple[np.ndarray, dict[tuple[int, int], np.ndarray]]:
    """Return the gaps (P, P) between surfaces in nearly all frames, and where they meet (F, 3)."""
    grid = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing='ij'), axis=-1).reshape(-1, 3)
    outwards = np.delete(grid, 13, axis=0)
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    local = SURFACE * outwards * radii_P3[:, None]
    points = T_FP44[:, :, None, :3, 3] + np.einsum('fpij,pkj->fpki', T_FP44[..., :3, :3], local)
    parts, count, frames = len(radii_P3), len(outwards), np.arange(len(T_FP44))
    gaps, contacts = np.full((parts, parts), np.inf), {}
    for one, other in pairs or zip(*np.triu_indices(parts, 1), strict=True):
        one, other = min(one, other), max(one, other)
        distances = np.linalg.norm(points[:, one, :, None] - points[:, other, None], axis=-1)
        nearest = distances.reshape(len(frames), -1).argmin(axis=1)
        first, second = nearest // count, nearest % count
        gaps[one, other] = gaps[other, one] = np.quantile(distances[frames, first, second], 0.9)
        meeting = points[frames, one, first] + points[frames, other, second]
        contacts[one, other] = 0.5 * meeting
    return gaps, contacts
