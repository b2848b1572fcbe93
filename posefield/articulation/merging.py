"""Parts that move as one become one body, until what is left between bodies is motion."""

from dataclasses import dataclass

import numpy as np

from posefield.articulation.joint_types import (
    PRICES,
    RatedPair,
    noise_variance,
    pair_misfits,
    rated,
    spanning_tree,
)
from posefield.articulation.rigid_bodies import Bodies, merged_body

# Bodies are only compared with this many nearest ones.
NEIGHBOURS = 7


@dataclass(frozen=True)
class MergeLevel:
    """One merge, made or not.

    Attributes:
        bodies: how many there are before it.
        members: the parts of both.
        motion: what a joint between them would explain, in units of what it would have to.
            Below 1 they are one body.
    """

    bodies: int
    members: tuple[tuple[int, ...], tuple[int, ...]]
    motion: float


@dataclass(frozen=True)
class Merged:
    """Bodies that move against each other.

    Attributes:
        bodies: what is left.
        tree: pairs that hold them together.
        noise: variance of a coordinate of a part's pose.
        levels: the merges made, and last the one that would come next, if any.
    """

    bodies: Bodies
    tree: list[RatedPair]
    noise: float
    levels: tuple[MergeLevel, ...]


def motion_of(pair: RatedPair, noise: float) -> float:
    """Return how much more a joint explains than none, in units of its price."""
    gains = {
        kind: (pair.misfits['fixed'] - misfit) / noise / PRICES[kind]
        for kind, misfit in pair.misfits.items()
        if kind != 'fixed'
    }
    return max(gains.values())


def merge(bodies: Bodies) -> Merged:
    """Return the bodies and the tree that are left when all parts that move as one are merged."""
    misfits = pair_misfits(bodies, _near_pairs(bodies))
    noise = noise_variance(misfits, len(bodies))
    levels = []
    while True:
        tree = spanning_tree(rated(bodies, misfits, noise), len(bodies))
        by_motion = sorted(tree, key=lambda pair: motion_of(pair, noise))
        if by_motion:
            least = by_motion[0]
            members = (bodies.members[least.i], bodies.members[least.j])
            levels.append(MergeLevel(len(bodies), members, motion_of(least, noise)))
        if not by_motion or levels[-1].motion >= 1.0:
            return Merged(bodies, tree, noise, tuple(levels))
        bodies, misfits = _joined(bodies, misfits, least.i, least.j)


def _joined(bodies: Bodies, misfits: dict, i: int, j: int) -> tuple[Bodies, dict]:
    """Return the bodies with i and j as one, the last, and the misfits of the pairs."""
    rest = [body for body in range(len(bodies)) if body not in (i, j)]
    new = merged_body(bodies, (i, j))
    joined = Bodies(
        np.concatenate([bodies.T_scene_body_BF44[rest], new.T_scene_body_BF44]),
        np.concatenate([bodies.covariances_B66[rest], new.covariances_B66]),
        (*(bodies.members[body] for body in rest), *new.members),
        np.concatenate([bodies.extents_B[rest], new.extents_B]),
    )
    index = {body: n for n, body in enumerate(rest)}
    kept = {
        (index[a], index[b]): by_kind
        for (a, b), by_kind in misfits.items()
        if a in index and b in index
    }
    last = len(joined) - 1
    fresh = [pair for pair in _near_pairs(joined) if last in pair]
    return joined, kept | pair_misfits(joined, fresh)


def _near_pairs(bodies: Bodies) -> list[tuple[int, int]]:
    """Return pairs (i < j) of bodies that are among each other's nearest, surface to surface."""
    centres = bodies.T_scene_body_BF44[..., :3, 3]
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1).mean(axis=-1)
    distances -= bodies.extents_B[:, None] + bodies.extents_B[None]
    nearest = np.argsort(distances + np.diag(np.full(len(bodies), np.inf)), axis=1)
    pairs = {
        (min(i, int(j)), max(i, int(j)))
        for i in range(len(bodies))
        for j in nearest[i, : min(NEIGHBOURS, len(bodies) - 1)]
    }
    return sorted(pairs)
