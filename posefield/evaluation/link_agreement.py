"""Found links against true ones: overlap in images, and whether the trees are the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import DisjointSet
from scipy.optimize import linear_sum_assignment

from posefield.articulation.kinematics import Skeleton


@dataclass(frozen=True)
class LinkGroups:
    """Links that move as one, and what joins them.

    Attributes:
        members: names of the links of every group.
        edges: (parent, child) indices of groups.
    """

    members: tuple[tuple[str, ...], ...]
    edges: tuple[tuple[int, int], ...]

    def index_of(self, link: str) -> int:
        """Return the group of a link."""
        return next(index for index, names in enumerate(self.members) if link in names)


def group_links(links: Sequence[str], joints: Iterable[tuple[str, str, bool]]) -> LinkGroups:
    """Return the links with those put together that a joint does not part.

    Args:
        links: names.
        joints: (parent, child, whether it parts them).
    """
    sets, parting = DisjointSet(links), []
    for parent, child, parts in joints:
        if parts:
            parting.append((parent, child))
        else:
            sets.merge(parent, child)
    members = tuple(tuple(name for name in links if name in subset) for subset in sets.subsets())
    index = {name: group for group, names in enumerate(members) for name in names}
    return LinkGroups(members, tuple((index[parent], index[child]) for parent, child in parting))


def found_groups(skeleton: Skeleton) -> LinkGroups:
    """Return what moves as one: behind fixed joints, and the massless links of a ball joint."""
    massless = {link.name for link in skeleton.links if not link.parts}
    return group_links(
        [link.name for link in skeleton.links],
        [
            (joint.parent, joint.child, joint.movable and joint.child not in massless)
            for joint in skeleton.joints
        ],
    )


def overlap_counts(
    found_HW: np.ndarray, true_HW: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Return how many pixels each found group shares with each true one, (G + 1, H + 1).

    Args:
        found_HW, true_HW: groups of the pixels; -1 is the background, which comes last.
        shape: G and H.
    """
    found, true = (
        np.where(image < 0, size, image)
        for image, size in zip((found_HW, true_HW), shape, strict=True)
    )
    counts = np.zeros((shape[0] + 1, shape[1] + 1), dtype=np.int64)
    np.add.at(counts, (found.ravel(), true.ravel()), 1)
    return counts


def part_iou(counts_GH: np.ndarray) -> float | None:
    """Return the mean over visible true groups of their overlap with the group matched to them.

    The matching is one-to-one with the largest sum; a true group without a match counts 0.

    Args:
        counts_GH: of `overlap_counts`, summed over images.
    """
    shared = counts_GH[:-1, :-1]
    found, true = counts_GH.sum(axis=1)[:-1], counts_GH.sum(axis=0)[:-1]
    visible = np.flatnonzero(true)
    if not len(visible):
        return None
    unions = found[:, None] + true[None] - shared
    overlaps = (shared / np.maximum(unions, 1))[:, visible]
    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    return float(overlaps[rows, columns].sum()) / len(visible)


def tree_agreement(found: LinkGroups, true: LinkGroups, counts_GH: np.ndarray) -> float | None:
    """Return how far two trees agree once links are merged: 1 when they are the same tree.

    A found group is the true group with which it shares most pixels.  Found groups of one true
    group are merged, and so is a true group that no found group stands for with the one whose
    pixels cover it.  Of what is left the edges are compared: 2 * common / (found + true), where
    a connection that was found twice counts twice.  0 when nothing is left to agree on; None
    when the truth has no edge.
    """
    if not true.edges:
        return None
    shared = counts_GH[:-1, :-1]
    label = _found_labels(found, shared)
    merged = _true_labels(true, shared, label)
    found_edges = [
        pair
        for i, j in found.edges
        if len(pair := frozenset((merged[label[i]], merged[label[j]]))) == 2
    ]
    true_edges = {
        pair for i, j in true.edges if len(pair := frozenset((merged[i], merged[j]))) == 2
    }
    if not found_edges or not true_edges:
        return 0.0
    common = len(set(found_edges) & true_edges)
    return 2.0 * common / (len(found_edges) + len(true_edges))


def _found_labels(found: LinkGroups, shared_GH: np.ndarray) -> list[int]:
    """Return the true group of every found one; one that nobody sees goes with its neighbour."""
    votes = shared_GH.astype(np.float64)
    sets = DisjointSet(range(len(found.members)))
    for group in np.flatnonzero(votes.sum(axis=1) == 0):
        neighbours = _neighbours(found, int(group))
        if neighbours:
            sets.merge(int(group), neighbours[0])
    labels = [0] * len(found.members)
    for subset in sets.subsets():
        members = sorted(subset)
        for group in members:
            labels[group] = int(votes[members].sum(axis=0).argmax())
    return labels


def _true_labels(true: LinkGroups, shared_GH: np.ndarray, label: Sequence[int]) -> list[int]:
    """Return into which true group each is merged: itself where a found group stands for it."""
    merged = list(range(len(true.members)))
    sets = DisjointSet(merged)
    for group in merged:
        if group in label:
            continue
        pixels = shared_GH[:, group]
        neighbours = _neighbours(true, group)
        if pixels.sum() > 0:
            sets.merge(group, label[int(pixels.argmax())])
        elif neighbours:
            sets.merge(group, neighbours[0])
    return [sets[group] for group in merged]


def _neighbours(groups: LinkGroups, group: int) -> list[int]:
    """Return the parent of a group, then its children."""
    above = [parent for parent, child in groups.edges if child == group]
    return above + [child for parent, child in groups.edges if parent == group]
