"""Which kind of joint holds two bodies: the one that explains their motion with least freedom.

A kind costs its misfit in units of the poses' noise, plus a price for the freedom it leaves: the
positions that it may choose anew in every frame would explain noise as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posefield.articulation.joint_fitting import MODELS, fit_model, pair_motions
from posefield.articulation.rigid_bodies import Bodies

# Per frame, in units of the noise's variance.  Chance alone would be paid for by 2 a freedom;
# errors that last over frames look like motion, so more is asked.  Sliding joints are rare.
PRICES = {'fixed': 0.0, 'revolute': 4.0, 'prismatic': 8.0, 'universal': 9.0, 'ball': 14.0}
# Cost of a gap of one scene unit between two bodies.
GAP_PRICE = 4.0
# The best of several models looks better than it is.
NOISE_CORRECTION = 1.5
LEAST_NOISE = 1e-4


@dataclass(frozen=True)
class RatedPair:
    """A pair of bodies and its cheapest joint.

    Attributes:
        i, j: the bodies.
        kind: of the cheapest model.
        cost: of it, in units of the noise's variance.
        misfits: mean squared misfit of every kind.
    """

    i: int
    j: int
    kind: str
    cost: float
    misfits: dict[str, float]


def pair_misfits(
    bodies: Bodies, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], dict[str, float]]:
    """Return the mean squared misfit of every kind of joint to every pair."""
    if not pairs:
        return {}
    motions = pair_motions(bodies, list(pairs))
    by_kind = {model.kind: fit_model(model, motions).misfits_N for model in MODELS}
    return {
        pair: {kind: float(misfits[n]) for kind, misfits in by_kind.items()}
        for n, pair in enumerate(pairs)
    }


def noise_variance(misfits: dict[tuple[int, int], dict[str, float]], count: int) -> float:
    """Return the variance of one coordinate of a pose, of all bodies in the middle.

    Every body has a neighbour to which it is fixed or hinged, so what that leaves is noise.
    """
    freedoms = {model.kind: model.freedoms for model in MODELS}
    least = np.full(count, np.inf)
    for pair, by_kind in misfits.items():
        left = min(by_kind[kind] / (6 - freedoms[kind]) for kind in ('fixed', 'revolute'))
        for body in pair:
            least[body] = min(least[body], left)
    return max(NOISE_CORRECTION * float(np.median(least)), LEAST_NOISE**2)


def rated(
    bodies: Bodies, misfits: dict[tuple[int, int], dict[str, float]], noise: float
) -> list[RatedPair]:
    """Return every pair with its cheapest joint, the cheapest pair first."""
    found = []
    centres = bodies.T_scene_body_BF44[..., :3, 3]
    for (i, j), by_kind in misfits.items():
        distance = np.linalg.norm(centres[i] - centres[j], axis=-1).mean()
        gap = max(0.0, distance - bodies.extents_B[i] - bodies.extents_B[j])
        costs = {kind: misfit / noise + PRICES[kind] for kind, misfit in by_kind.items()}
        kind = min(costs, key=costs.__getitem__)
        found.append(RatedPair(i, j, kind, costs[kind] + GAP_PRICE * gap, by_kind))
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
