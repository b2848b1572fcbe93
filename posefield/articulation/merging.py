"""Parts that move as one become one body, until what is left between bodies is motion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posefield.articulation.joint_types import (
    FAST_KINDS,
    Misfits,
    noise_variances,
    pair_misfits,
    rated,
    spanning_tree,
)
from posefield.articulation.rigid_bodies import Bodies, merged_body

# Bodies are only compared with this many nearest ones.
NEIGHBOURS = 6


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


def merge(bodies: Bodies, least_noise: float) -> tuple[Bodies, tuple[MergeLevel, ...]]:
    """Return bodies that move against each other, and the merges that made them.

    The last level is the one that would come next; it was not made if its motion is not below 1.

    Args:
        bodies: every part.
        least_noise: see `StructureConfig`.
    """
    misfits = pair_misfits(bodies, near_pairs(bodies), FAST_KINDS)
    levels = []
    while True:
        noise_B = noise_variances(misfits, len(bodies), least_noise)
        tree = spanning_tree(rated(bodies, misfits, noise_B), len(bodies))
        if not tree:
            return bodies, tuple(levels)
        least = min(tree, key=lambda pair: pair.motion)
        members = (bodies.members[least.i], bodies.members[least.j])
        levels.append(MergeLevel(len(bodies), members, least.motion))
        if least.motion >= 1.0:
            return bodies, tuple(levels)
        bodies, misfits = _joined(bodies, misfits, least.i, least.j)


def grouped(bodies: Bodies, groups: Sequence[Sequence[int]]) -> Bodies:
    """Return one body for every group of bodies."""
    merged = [merged_body(bodies, tuple(group)) for group in groups]
    return Bodies(
        np.concatenate([body.T_scene_body_BF44 for body in merged]),
        np.concatenate([body.covariances_B66 for body in merged]),
        tuple(body.members[0] for body in merged),
        np.concatenate([body.extents_B for body in merged]),
    )


def _joined(bodies: Bodies, misfits: Misfits, i: int, j: int) -> tuple[Bodies, Misfits]:
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
    fresh = [pair for pair in near_pairs(joined) if last in pair]
    return joined, kept | pair_misfits(joined, fresh, FAST_KINDS)


def near_pairs(bodies: Bodies) -> list[tuple[int, int]]:
    """Return pairs (i < j) of bodies that are among each other's nearest, surface to surface.

    With them all bodies hang together.
    """
    centres = bodies.T_scene_body_BF44[..., :3, 3]
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1).mean(axis=-1)
    distances -= bodies.extents_B[:, None] + bodies.extents_B[None]
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, : min(NEIGHBOURS, len(bodies) - 1)]
    pairs = {(min(i, int(j)), max(i, int(j))) for i in range(len(bodies)) for j in nearest[i]}
    reached = {0}
    while len(reached) < len(bodies):
        inside = sorted(reached)
        outside = [body for body in range(len(bodies)) if body not in reached]
        grown = {b for a, b in pairs if a in reached} | {a for a, b in pairs if b in reached}
        if grown <= reached:
            between = distances[np.ix_(inside, outside)]
            a, b = np.unravel_index(between.argmin(), between.shape)
            pairs.add((min(inside[a], outside[b]), max(inside[a], outside[b])))
            grown = {outside[b]}
        reached |= grown
    return sorted(pairs)
