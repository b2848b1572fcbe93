"""Joints of every kind fitted to the motions of two bodies, all pairs at once."""

from dataclasses import dataclass

import numpy as np

from posefield.articulation.pair_constraints import (
    BallModel,
    FixedModel,
    Model,
    PrismaticModel,
    RevoluteModel,
    UniversalModel,
    Unknowns,
)
from posefield.articulation.rigid_bodies import OUTLIER, Bodies, mean_poses
from posefield.geometry.poses import invert

MODELS = (FixedModel(), PrismaticModel(), RevoluteModel(), UniversalModel(), BallModel())
# Of each start, and then of the best.
ITERATIONS, MORE_ITERATIONS = 5, 10
# Information per frame that draws an undetermined centre to where the bodies meet.
CENTRE_PRIOR = 1e-3
AXIS_PRIOR = 1e-6
# Share of the frames, the worst, that a misfit leaves out.
TRIMMED = 0.1


@dataclass(frozen=True)
class Fits:
    """A model fitted to N pairs.

    Attributes:
        model: which.
        unknowns: of each pair.
        squares_NF: squared misfit of every frame, in units of a squared length.
        misfits_N: their mean without the worst frames.
    """

    model: Model
    unknowns: Unknowns
    squares_NF: np.ndarray
    misfits_N: np.ndarray

    def at(self, index: np.ndarray) -> 'Fits':
        return Fits(
            self.model, self.unknowns.at(index), self.squares_NF[index], self.misfits_N[index]
        )


@dataclass(frozen=True)
class PairMotions:
    """Motions of N pairs of bodies.

    Attributes:
        T_i_j_NF44: pose of the second body in the first.
        covariances_i_N66, covariances_j_N66: of their body twists.
        meeting_i_N3, meeting_j_N3: where they meet, as far as their extents tell, in each frame.
    """

    T_i_j_NF44: np.ndarray
    covariances_i_N66: np.ndarray
    covariances_j_N66: np.ndarray
    meeting_i_N3: np.ndarray
    meeting_j_N3: np.ndarray

    def at(self, index: np.ndarray) -> 'PairMotions':
        return PairMotions(**{name: value[index] for name, value in vars(self).items()})


def pair_motions(bodies: Bodies, pairs: list[tuple[int, int]]) -> PairMotions:
    """Return the relative motions of pairs (i, j)."""
    i, j = np.array(pairs, dtype=int).reshape(-1, 2).T
    T_i, T_j = bodies.T_scene_body_BF44[i], bodies.T_scene_body_BF44[j]
    share = bodies.extents_B[i] / (bodies.extents_B[i] + bodies.extents_B[j])
    meeting = T_i[..., :3, 3] + share[:, None, None] * (T_j[..., :3, 3] - T_i[..., :3, 3])
    return PairMotions(
        invert(T_i) @ T_j,
        bodies.covariances_B66[i],
        bodies.covariances_B66[j],
        np.median(_seen_from(T_i, meeting), axis=1),
        np.median(_seen_from(T_j, meeting), axis=1),
    )


def fit_model(model: Model, motions: PairMotions) -> Fits:
    """Return the model's best fit to every pair, over its starting values."""
    everyone = np.arange(len(motions.T_i_j_NF44))
    fits = [_fit_from(model, motions, start, ITERATIONS) for start in _starts(model, motions)]
    best = np.argmin([fit.misfits_N for fit in fits], axis=0)
    start = Unknowns(
        **{
            name: np.stack([getattr(fit.unknowns, name) for fit in fits])[best, everyone]
            for name in vars(fits[0].unknowns)
        }
    )
    return _fit_from(model, motions, start, MORE_ITERATIONS)


def _fit_from(model: Model, motions: PairMotions, unknowns: Unknowns, iterations: int) -> Fits:
    """Gauss-Newton on the constraints, each frame weighed by its covariance and its misfit."""
    for _ in range(iterations):
        linearised, squares, solved = _misfits(model, motions, unknowns)
        scale = np.median(squares, axis=1, keepdims=True) + 1e-12
        weights = 1.0 / (1.0 + squares / (OUTLIER**2 * scale))
        J = linearised.by_unknowns_NFmu
        weighted = np.swapaxes(weights[..., None, None] * J, -1, -2)
        information = (weighted @ solved[..., 1:]).sum(axis=1)
        pull = (weighted @ solved[..., :1]).sum(axis=1)[..., 0]
        prior, away = _prior(model, motions, unknowns, J.shape[-1])
        frames = squares.shape[1]
        information += frames * prior[:, None] * np.eye(J.shape[-1])
        pull += frames * prior * away
        unknowns = model.step(unknowns, -np.linalg.solve(information, pull[..., None])[..., 0])
    squares = _misfits(model, motions, unknowns)[1]
    kept = np.sort(squares, axis=1)[:, : max(1, round((1.0 - TRIMMED) * squares.shape[1]))]
    return Fits(model, unknowns, squares, kept.mean(axis=1))


def _misfits(model: Model, motions: PairMotions, unknowns: Unknowns):
    """Return constraints, squared misfits (N, F) and covariance^-1 [g | J] (N, F, m, 1 + u)."""
    linearised = model.linearise(motions.T_i_j_NF44, unknowns)
    J_i, J_j = linearised.by_i_NFm6, linearised.by_j_NFm6
    covariance = J_i @ motions.covariances_i_N66[:, None] @ np.swapaxes(J_i, -1, -2)
    covariance += J_j @ motions.covariances_j_N66[:, None] @ np.swapaxes(J_j, -1, -2)
    covariance += 1e-6 * np.eye(covariance.shape[-1])
    right = np.concatenate([linearised.g_NFm[..., None], linearised.by_unknowns_NFmu], axis=-1)
    solved = np.linalg.solve(covariance, right)
    squares = np.einsum('nfm,nfm->nf', linearised.g_NFm, solved[..., 0])
    return linearised, squares, solved


def _prior(model: Model, motions: PairMotions, unknowns: Unknowns, count: int):
    """Return informations (N, u) and distances (N, u) from where the unknowns are drawn."""
    pairs = len(unknowns.cosine_N)
    prior = np.full((pairs, count), AXIS_PRIOR)
    away = np.zeros((pairs, count))
    if isinstance(model, BallModel):
        prior[:, :6] = CENTRE_PRIOR
        away[:, :3] = unknowns.point_i_N3 - motions.meeting_i_N3
        away[:, 3:6] = unknowns.point_j_N3 - motions.meeting_j_N3
    return prior, away


def _starts(model: Model, motions: PairMotions) -> list[Unknowns]:
    T = motions.T_i_j_NF44
    pairs, frames = T.shape[:2]
    z = np.broadcast_to(np.array([0.0, 0.0, 1.0]), (pairs, 3))
    plain = Unknowns(
        motions.meeting_i_N3,
        motions.meeting_j_N3,
        z,
        z,
        np.zeros(pairs),
        mean_poses(T, np.ones((pairs, frames))),
    )
    if model.kind == 'prismatic':
        moves = _seen_from(plain.T_i_j_N44[:, None], T[..., :3, 3])
        axis = np.linalg.svd(moves - moves.mean(axis=1, keepdims=True))[2][:, 0]
        return [_with_axes(plain, axis, axis)]
    if model.kind == 'revolute':
        return [_with_axes(plain, *axes) for axes in _one_axis_starts(T)]
    if model.kind == 'universal':
        starts = [_with_axes(plain, *axes) for axes in _two_axis_starts(T)]
        return [
            Unknowns(**{**vars(start), 'cosine_N': _cosines(T, start).mean(axis=1)})
            for start in starts
        ]
    return [plain]


def _one_axis_starts(T: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return axes (in i, in j), (N, 3) each, that may stay on each other: R axis_j = axis_i.

    The pair that the mean rotation keeps best, and every axis of either body.
    """
    R = T[..., :3, :3].mean(axis=1)
    U, _, Vt = np.linalg.svd(R)
    starts = [(U[:, :, 0], Vt[:, 0])]
    for k in range(3):
        unit = np.broadcast_to(np.eye(3)[k], (len(R), 3))
        starts.append((unit, _normalised(R[:, k, :])))
        starts.append((_normalised(R[:, :, k]), unit))
    return starts


def _two_axis_starts(T: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return axes (in i, in j) whose angle may stay: all axes of both, and what suits those."""
    R = T[..., :3, :3]
    starts = []
    for k in range(3):
        unit = np.broadcast_to(np.eye(3)[k], (len(R), 3))
        starts.append((_steadiest(R[..., :, k]), unit))
        starts.append((unit, _steadiest(R[..., k, :])))
        starts.extend((unit, np.broadcast_to(np.eye(3)[n], (len(R), 3))) for n in range(3))
    return starts


def _steadiest(vectors_NF3: np.ndarray) -> np.ndarray:
    """Return the direction (N, 3) along which vectors vary least."""
    centred = vectors_NF3 - vectors_NF3.mean(axis=1, keepdims=True)
    return np.linalg.eigh(np.einsum('nfi,nfj->nij', centred, centred))[1][:, :, 0]


def _with_axes(unknowns: Unknowns, axis_i: np.ndarray, axis_j: np.ndarray) -> Unknowns:
    return Unknowns(**{**vars(unknowns), 'axis_i_N3': axis_i, 'axis_j_N3': axis_j})


def _cosines(T: np.ndarray, unknowns: Unknowns) -> np.ndarray:
    R = T[..., :3, :3]
    return np.einsum('ni,nfij,nj->nf', unknowns.axis_i_N3, R, unknowns.axis_j_N3)


def _normalised(vectors: np.ndarray) -> np.ndarray:
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-12)


def _seen_from(T: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return points (..., 3) of the scene in frames T_scene_frame (..., 4, 4)."""
    return (np.swapaxes(T[..., :3, :3], -1, -2) @ (points - T[..., :3, 3])[..., None])[..., 0]
