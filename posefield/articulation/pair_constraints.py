"""What the motions of two bodies must satisfy if a joint of some kind holds them together.

Each model has unknowns that do not change over time, and constraints g(T_i_j(f)) = 0 that no
joint position enters, so a frame's misfit needs no position to be found first.  The misfit is
measured against the covariance that the poses' own uncertainty gives g: freedom that is not seen,
like the spin of a body of revolution, costs nothing.

Shapes: N pairs, F frames, m constraints, u unknowns.
"""

from dataclasses import dataclass, replace

import numpy as np

from posefield.articulation.rigid_bodies import adjoints, moved, rotvecs, skews
from posefield.geometry.poses import invert


@dataclass(frozen=True)
class Linearised:
    """Constraints and how they change.

    Attributes:
        g_NFm: their values.
        by_unknowns_NFmu: with the unknowns.
        by_i_NFm6, by_j_NFm6: with body twists of the bodies i and j.
    """

    g_NFm: np.ndarray
    by_unknowns_NFmu: np.ndarray
    by_i_NFm6: np.ndarray
    by_j_NFm6: np.ndarray


@dataclass(frozen=True)
class Unknowns:
    """What joints of N pairs have; a model uses some of it.

    Attributes:
        point_i_N3, point_j_N3: the joint's centre in the frames of i and j.
        axis_i_N3, axis_j_N3: unit axes fixed in i and in j.
        cosine_N: of the angle between the two axes of a universal joint.
        T_i_j_N44: pose of j in i, of a fixed joint or at position 0 of a prismatic one.
    """

    point_i_N3: np.ndarray
    point_j_N3: np.ndarray
    axis_i_N3: np.ndarray
    axis_j_N3: np.ndarray
    cosine_N: np.ndarray
    T_i_j_N44: np.ndarray

    def at(self, index: np.ndarray) -> 'Unknowns':
        return Unknowns(**{name: value[index] for name, value in vars(self).items()})


def tangents(axes_N3: np.ndarray) -> np.ndarray:
    """Return two unit vectors (N, 3, 2) orthogonal to each axis and to each other."""
    least = np.eye(3)[np.abs(axes_N3).argmin(axis=-1)]
    first = np.cross(axes_N3, least)
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    return np.stack([first, np.cross(axes_N3, first)], axis=-1)


class FixedModel:
    """T_i_j stays: 6 constraints."""

    freedoms = 0
    kind = 'fixed'

    def linearise(self, T_i_j: np.ndarray, unknowns: Unknowns) -> Linearised:
        E = invert(unknowns.T_i_j_N44)[:, None] @ T_i_j
        by_j = np.broadcast_to(np.eye(6), (*E.shape[:2], 6, 6))
        g = np.concatenate([E[..., :3, 3], rotvecs(E[..., :3, :3])], axis=-1)
        return Linearised(g, -by_j, -adjoints(invert(T_i_j)), by_j)

    def step(self, unknowns: Unknowns, step_Nu: np.ndarray) -> Unknowns:
        return replace(unknowns, T_i_j_N44=moved(unknowns.T_i_j_N44, step_Nu))


class PrismaticModel:
    """j slides along a line in i and does not turn: 5 constraints."""

    freedoms = 1
    kind = 'prismatic'

    def linearise(self, T_i_j: np.ndarray, unknowns: Unknowns) -> Linearised:
        T_j_i = invert(unknowns.T_i_j_N44)[:, None]
        E = T_j_i @ T_i_j
        across = np.swapaxes(tangents(unknowns.axis_j_N3), -1, -2)[:, None]
        along = np.einsum('nfi,ni->nf', E[..., :3, 3], unknowns.axis_j_N3)
        g = np.concatenate(
            [(across @ E[..., :3, 3:])[..., 0], rotvecs(E[..., :3, :3])],
            axis=-1,
        )
        by_unknowns = np.zeros((*g.shape, 8))
        by_unknowns[..., :2, :3] = -across
        by_unknowns[..., :2, 3:6] = across @ skews(E[..., :3, 3])
        by_unknowns[..., :2, 6:] = -along[..., None, None] * np.eye(2)
        by_unknowns[..., 2:, 3:6] = -np.eye(3)
        by_j = np.zeros((*g.shape, 6))
        by_j[..., :2, :3] = across @ E[..., :3, :3]
        by_j[..., 2:, 3:] = np.eye(3)
        R_j_i = T_j_i[..., :3, :3]
        by_i = np.zeros((*g.shape, 6))
        by_i[..., :2, :3] = -across @ R_j_i
        by_i[..., :2, 3:] = across @ R_j_i @ skews(T_i_j[..., :3, 3])
        by_i[..., 2:, 3:] = -np.swapaxes(T_i_j[..., :3, :3], -1, -2)
        return Linearised(g, by_unknowns, by_i, by_j)

    def step(self, unknowns: Unknowns, step_Nu: np.ndarray) -> Unknowns:
        axis = _turned(unknowns.axis_j_N3, step_Nu[:, 6:])
        T = moved(unknowns.T_i_j_N44, step_Nu[:, :6])
        return replace(unknowns, axis_j_N3=axis, T_i_j_N44=T)


class BallModel:
    """A point of j stays in i: 3 constraints."""

    freedoms = 3
    kind = 'ball'

    def linearise(self, T_i_j: np.ndarray, unknowns: Unknowns) -> Linearised:
        R = T_i_j[..., :3, :3]
        point_j = np.broadcast_to(unknowns.point_j_N3[:, None], (*R.shape[:2], 3))
        seen = (R @ point_j[..., None])[..., 0] + T_i_j[..., :3, 3]
        minus = np.broadcast_to(-np.eye(3), R.shape)
        return Linearised(
            seen - unknowns.point_i_N3[:, None],
            np.concatenate([minus, R], axis=-1),
            np.concatenate([minus, skews(seen)], axis=-1),
            np.concatenate([R, -R @ skews(point_j)], axis=-1),
        )

    def step(self, unknowns: Unknowns, step_Nu: np.ndarray) -> Unknowns:
        return replace(
            unknowns,
            point_i_N3=unknowns.point_i_N3 + step_Nu[:, :3],
            point_j_N3=unknowns.point_j_N3 + step_Nu[:, 3:6],
        )


class RevoluteModel(BallModel):
    """A point and an axis of j stay in i: 5 constraints."""

    freedoms = 1
    kind = 'revolute'

    def linearise(self, T_i_j: np.ndarray, unknowns: Unknowns) -> Linearised:
        of_point = super().linearise(T_i_j, unknowns)
        R = T_i_j[..., :3, :3]
        axis_j = np.broadcast_to(unknowns.axis_j_N3[:, None], (*R.shape[:2], 3))
        seen = (R @ axis_j[..., None])[..., 0]
        across = np.swapaxes(tangents(unknowns.axis_i_N3), -1, -2)[:, None]
        g = (across @ seen[..., None])[..., 0]
        zeros = np.zeros((*g.shape, 3))
        by_i = np.concatenate([zeros, across @ skews(seen)], axis=-1)
        by_j = np.concatenate([zeros, -across @ R @ skews(axis_j)], axis=-1)
        by_axes = np.concatenate(
            [
                np.broadcast_to(-np.eye(2), (*g.shape, 2)),
                across @ R @ tangents(unknowns.axis_j_N3)[:, None],
            ],
            axis=-1,
        )
        return _stacked(of_point, Linearised(g, by_axes, by_i, by_j))

    def step(self, unknowns: Unknowns, step_Nu: np.ndarray) -> Unknowns:
        return replace(
            super().step(unknowns, step_Nu[:, :6]),
            axis_i_N3=_turned(unknowns.axis_i_N3, step_Nu[:, 6:8]),
            axis_j_N3=_turned(unknowns.axis_j_N3, step_Nu[:, 8:]),
        )


class UniversalModel(BallModel):
    """A point of j stays in i, and an axis of j keeps its angle to an axis of i: 4 constraints.

    The motion of two revolute joints in series whose axes meet.
    """

    freedoms = 2
    kind = 'universal'

    def linearise(self, T_i_j: np.ndarray, unknowns: Unknowns) -> Linearised:
        of_point = super().linearise(T_i_j, unknowns)
        R = T_i_j[..., :3, :3]
        axis_j = np.broadcast_to(unknowns.axis_j_N3[:, None], (*R.shape[:2], 3))
        seen = (R @ axis_j[..., None])[..., 0]
        row_i = unknowns.axis_i_N3[:, None, None]
        g = (row_i @ seen[..., None])[..., 0] - unknowns.cosine_N[:, None, None]
        zeros = np.zeros((*g.shape, 3))
        by_i = np.concatenate([zeros, row_i @ skews(seen)], axis=-1)
        by_j = np.concatenate([zeros, -row_i @ R @ skews(axis_j)], axis=-1)
        by_axes = np.concatenate(
            [
                seen[..., None, :] @ tangents(unknowns.axis_i_N3)[:, None],
                row_i @ R @ tangents(unknowns.axis_j_N3)[:, None],
                np.full((*g.shape, 1), -1.0),
            ],
            axis=-1,
        )
        return _stacked(of_point, Linearised(g, by_axes, by_i, by_j))

    def step(self, unknowns: Unknowns, step_Nu: np.ndarray) -> Unknowns:
        return replace(
            super().step(unknowns, step_Nu[:, :6]),
            axis_i_N3=_turned(unknowns.axis_i_N3, step_Nu[:, 6:8]),
            axis_j_N3=_turned(unknowns.axis_j_N3, step_Nu[:, 8:10]),
            cosine_N=unknowns.cosine_N + step_Nu[:, 10],
        )


Model = FixedModel | PrismaticModel | RevoluteModel | UniversalModel | BallModel


def _turned(axes_N3: np.ndarray, by_N2: np.ndarray) -> np.ndarray:
    axes = axes_N3 + (tangents(axes_N3) @ by_N2[..., None])[..., 0]
    return axes / np.linalg.norm(axes, axis=-1, keepdims=True)


def _stacked(first: Linearised, second: Linearised) -> Linearised:
    """Return both sets of constraints, with the unknowns of the first before the second's."""
    pairs, frames, m, u = first.by_unknowns_NFmu.shape
    more, extra = second.by_unknowns_NFmu.shape[2:]
    by_unknowns = np.zeros((pairs, frames, m + more, u + extra))
    by_unknowns[:, :, :m, :u] = first.by_unknowns_NFmu
    by_unknowns[:, :, m:, u:] = second.by_unknowns_NFmu
    return Linearised(
        np.concatenate([first.g_NFm, second.g_NFm], axis=-1),
        by_unknowns,
        np.concatenate([first.by_i_NFm6, second.by_i_NFm6], axis=-2),
        np.concatenate([first.by_j_NFm6, second.by_j_NFm6], axis=-2),
    )
