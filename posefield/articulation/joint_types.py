"""Which kind of joint holds two bodies: the one that explains their motion with least freedom.

A kind costs its misfit in units of the poses' noise, plus a price for the freedom it leaves: the
positions that it may choose anew in every frame would explain noise as well.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from posefield.articulation.joint_fitting import MODELS, fit_model, pair_motions
from posefield.articulation.rigid_bodies import Bodies

# Per frame, in units of the noise's variance.  Chance alone would be paid for by 2 a freedom;
# errors that last over frames look like motion, so more is asked.  Sliding joints are rare.
PRICES = {'fixed': 0.0, 'revolute': 6.0, 'prismatic': 12.0, 'universal': 13.0, 'ball': 20.0}
FREEDOMS = {model.kind: model.freedoms for model in MODELS}
# These are fitted fast, and one of them leaves little more than the best one does.
FAST_KINDS = ('fixed', 'revolute', 'ball')
# Cost of a gap of one scene unit between two bodies.
GAP_PRICE = 4.0
# The best of several models looks better than it is.
NOISE_CORRECTION = 1.5

Misfits = dict[tuple[int, int], dict[str, float]]


@dataclass(frozen=True)
class RatedPair:
    """A pair of bodies and its cheapest joint.

    Attributes:
        i, j: the bodies.
        kind: of the cheapest model.
        cost: of it, in units of the noise's variance.
        motion: how much more a joint explains than none, in units of its price.
    """

    i: int
    j: int
    kind: str
    cost: float
    motion: float


def pair_misfits(
    bodies: Bodies, pairs: Sequence[tuple[int, int]], kinds: Collection[str] = tuple(PRICES)
) -> Misfits:
    """Return the mean squared misfit of each of these kinds of joint to every pair."""
    if not pairs:
        return {}
    motions = pair_motions(bodies, list(pairs))
    by_kind = {
        model.kind: fit_model(model, motions).misfits_N for model in MODELS if model.kind in kinds
    }
    return {
        pair: {kind: float(misfits[n]) for kind, misfits in by_kind.items()}
        for n, pair in enumerate(pairs)
    }


def noise_variances(misfits: Misfits, count: int, least_noise: float) -> np.ndarray:
    """Return the variance (B,) of one coordinate of each body's pose.

    Every body has a neighbour to which some joint holds it, so what that leaves is noise; its
    standard deviation is `least_noise` at least.
    """
    least = np.full(count, np.inf)
    for pair, by_kind in misfits.items():
        left = min(misfit / (6 - FREEDOMS[kind]) for kind, misfit in by_kind.items())
        for body in pair:
            least[body] = min(least[body], left)
    least = np.where(np.isfinite(least), least, 0.0)
    return np.maximum(NOISE_CORRECTION * least, least_noise**2)


def rated(bodies: Bodies, misfits: Misfits, noise_B: np.ndarray) -> list[RatedPair]:
    """Return every pair with its cheapest joint, the cheapest pair first."""
    found = []
    centres = bodies.T_scene_body_BF44[..., :3, 3]
    for (i, j), by_kind in misfits.items():
        distance = np.linalg.norm(centres[i] - centres[j], axis=-1).mean()
        gap = max(0.0, distance - bodies.extents_B[i] - bodies.extents_B[j])
        noise = max(noise_B[i], noise_B[j])
        costs = {kind: misfit / noise + PRICES[kind] for kind, misfit in by_kind.items()}
        kind = min(costs, key=costs.__getitem__)
        gains = [
            (by_kind['fixed'] - misfit) / noise / PRICES[other]
            for other, misfit in by_kind.items()
            if other != 'fixed'
        ]
        found.append(RatedPair(i, j, kind, costs[kind] + GAP_PRICE * gap, max(gains)))
    return sorted(found, key=lambda pair: pair.cost)


def spanning_tree(pairs: Sequence[RatedPair], count: int) -> list[RatedPair]:
    """Return the cheapest pairs that hold all bodies together (Kruskal)."""
    group = list(range(count))
    chosen = []
    for pair in sorted(pairs, key=lambda pair: pair.cost):
        one, other = group[pair.i], group[pair.j]
        if one != other:
            group = [one if value == other else value for value in group]
            chosen.append(pair)
    return chosen
