"""The tree of joints that explains how the parts move with as little freedom as it can."""

from dataclasses import dataclass, replace

import numpy as np

from posefield.articulation.joint_series import Edge, tree_of, without_joint
from posefield.articulation.joint_types import noise_variances, pair_misfits, rated, spanning_tree
from posefield.articulation.merging import grouped, near_pairs
from posefield.articulation.rigid_bodies import Bodies, mean_poses, offsets
from posefield.articulation.tree_fitting import Tree, TreeFit, fit_tree, freezing_costs
from posefield.geometry.poses import invert

# A joint stays if freezing it costs more than this, see `freezing_costs`.
LEAST_EVIDENCE = 9.0
ROUNDS = 3
# Of a fit after one joint was frozen.
REFIT_ITERATIONS = 6
# Bodies that stray this many times as far as the steadiest are as still as it.
STILL = 2.0
# A root that strays less than this many times the noise stands.
STANDS = 4.0


@dataclass(frozen=True)
class Observed:
    """What the search explains.

    Attributes:
        parts: every part as a body of its own.
        T_scene_part_FP44: their poses.
        lengths_P3: see `rotation_lengths`.
        root_part: the part whose link is the root, or None.
        least_noise: see `StructureConfig`.
    """

    parts: Bodies
    T_scene_part_FP44: np.ndarray
    lengths_P3: np.ndarray
    root_part: int | None
    least_noise: float


def search_tree(observed: Observed, bodies: Bodies) -> TreeFit:
    """Return a tree of joints between bodies, fitted, without joints that explain only noise.

    What freezing joints puts together is seen better, so that the tree is then built anew.
    """
    found = _pruned(observed, _fitted(observed, bodies))
    for _ in range(ROUNDS - 1):
        groups = _groups(found.tree)
        if len(groups) == len(bodies):
            break
        bodies = grouped(observed.parts, groups)
        again = _pruned(observed, _fitted(observed, bodies))
        noise = max(coordinate_noise(found), observed.least_noise**2)
        if _price(again, noise) >= _price(found, noise):
            break
        found = again
    return found


def _fitted(observed: Observed, bodies: Bodies) -> TreeFit:
    """Return the cheapest tree of joints between bodies, fitted to the poses of all parts."""
    misfits = pair_misfits(bodies, near_pairs(bodies))
    noise_B = noise_variances(misfits, len(bodies), observed.least_noise)
    pairs = spanning_tree(rated(bodies, misfits, noise_B), len(bodies))
    # Bodies that seem to move as one may do so about an axis that only the whole tree shows.
    edges = [
        Edge(pair.i, pair.j, 'revolute' if pair.kind == 'fixed' else pair.kind) for pair in pairs
    ]
    root = steadiest(bodies) if observed.root_part is None else _holder(bodies, observed.root_part)
    tree = tree_of(bodies, edges, root, observed.T_scene_part_FP44)
    if unrest(bodies)[root] < STANDS * np.sqrt(np.median(noise_B)):
        tree = _standing(tree)
    return fit_tree(tree, observed.T_scene_part_FP44, observed.lengths_P3)


def _pruned(observed: Observed, fit: TreeFit) -> TreeFit:
    """Return the tree without the joints whose freezing costs too little, one after the other."""
    seen = observed.T_scene_part_FP44, observed.lengths_P3
    while True:
        costs, _ = freezing_costs(fit.tree, *seen, observed.least_noise)
        weakest = int(costs.argmin())
        if costs[weakest] >= LEAST_EVIDENCE:
            return fit_tree(fit.tree, *seen)
        fit = fit_tree(without_joint(fit.tree, weakest), *seen, REFIT_ITERATIONS)


def _price(found: TreeFit, noise: float) -> float:
    """Return misfit in units of the noise's variance, and freedom, a frame."""
    parts = len(found.tree.link_of_part)
    return found.misfit * parts / noise + LEAST_EVIDENCE * found.tree.freedoms


def _groups(tree: Tree) -> list[list[int]]:
    """Return the parts of every link that has any."""
    return [
        np.flatnonzero(tree.link_of_part == link).tolist()
        for link in sorted(set(tree.link_of_part.tolist()))
    ]


def _holder(bodies: Bodies, part: int) -> int:
    return next(body for body, members in enumerate(bodies.members) if part in members)


def unrest(bodies: Bodies) -> np.ndarray:
    """Return how far bodies (B,) stray from their mean poses, root mean square, as lengths."""
    T = bodies.T_scene_body_BF44
    away = offsets(invert(mean_poses(T, np.ones(T.shape[:2])))[:, None] @ T)
    informations = np.linalg.inv(bodies.covariances_B66)
    informations /= bodies.members_B[:, None, None]
    squares = np.einsum('bfi,bij,bfj->bf', away, informations, away)
    return np.sqrt(np.median(squares, axis=1) / 6.0)


def steadiest(bodies: Bodies) -> int:
    """Return the index of the body that moves least; of several that hardly do, the largest."""
    strays = unrest(bodies)
    still = strays <= STILL * strays.min() + 1e-9
    return int(np.where(still, bodies.extents_B, 0.0).argmax())


def coordinate_noise(fit: TreeFit) -> float:
    """Return the variance of one coordinate of a part's pose that the tree leaves."""
    parts = len(fit.tree.link_of_part)
    frames = len(fit.squares_FP)
    left = 6.0 - (fit.tree.freedoms + 6.0 * fit.tree.root_moves) / parts
    left -= 6.0 * (parts + fit.tree.freedoms) / (parts * frames)
    return fit.misfit / max(left, 1.0)


def _standing(tree: Tree) -> Tree:
    """Return the tree with its root in one place for all frames."""
    T = tree.T_scene_root_F44
    mean = mean_poses(T[None], np.ones((1, len(T))))
    return replace(tree, T_scene_root_F44=np.repeat(mean, len(T), axis=0), root_moves=False)
