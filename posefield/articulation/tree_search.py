"""The tree of joints that explains how the parts move with as little freedom as it can."""

from dataclasses import dataclass

import numpy as np

from posefield.articulation.joint_series import Edge, tree_of, without_joint
from posefield.articulation.merging import Merged
from posefield.articulation.rigid_bodies import Bodies
from posefield.articulation.tree_fitting import Tree, TreeFit, fit_tree, part_motions

# A joint stays if freezing it costs more than this, see `evidence`.
LEAST_EVIDENCE = 4.0
TRIAL_ITERATIONS = 8
# Joints that, all else still, move the parts by more than this many times what they must need no
# trial.
PLAIN_MOTION = 50.0


@dataclass(frozen=True)
class FoundTree:
    """A tree fitted to the poses.

    Attributes:
        fit: the tree.
        evidence_L: of each joint, how much freezing it would cost: squared misfit a frame, in
            units of the variance of one coordinate.  Infinite where no trial was needed.
    """

    fit: TreeFit
    evidence_L: np.ndarray


def search_tree(
    merged: Merged, root: int, T_scene_part_FP44: np.ndarray, lengths_P3: np.ndarray
) -> FoundTree:
    """Return the tree of the merged bodies, fitted, without the joints that explain only noise.

    Args:
        merged: bodies and which of them hold together.
        root: index of the body that is the root.
        T_scene_part_FP44: observed poses.
        lengths_P3: see `rotation_lengths`.
    """
    edges = [Edge(pair.i, pair.j, pair.kind) for pair in merged.tree]
    tree = tree_of(merged.bodies, edges, root, T_scene_part_FP44)
    fit = fit_tree(tree, T_scene_part_FP44, lengths_P3)
    while True:
        found = _with_evidence(fit, T_scene_part_FP44, lengths_P3)
        weakest = int(found.evidence_L.argmin())
        if found.evidence_L[weakest] >= LEAST_EVIDENCE:
            return found
        frozen = without_joint(fit.tree, weakest)
        fit = fit_tree(frozen, T_scene_part_FP44, lengths_P3)


def steadiest(bodies: Bodies) -> int:
    """Return the index of the body whose surface moves least about its own mean."""
    T = bodies.T_scene_body_BF44
    points = T[..., :3, :3] * bodies.extents_B[:, None, None, None] + T[..., :3, 3:]
    return int(points.std(axis=1).mean(axis=(1, 2)).argmin())


def coordinate_noise(fit: TreeFit) -> float:
    """Return the variance of one coordinate of a part's pose that the tree leaves."""
    parts = len(fit.tree.link_of_part)
    frames = len(fit.squares_FP)
    left = 6.0 - (fit.tree.freedoms + 6.0 * fit.tree.root_moves) / parts
    left -= 6.0 * (parts + fit.tree.freedoms) / (parts * frames)
    return fit.misfit / max(left, 1.0)


def _with_evidence(
    fit: TreeFit, T_scene_part_FP44: np.ndarray, lengths_P3: np.ndarray
) -> FoundTree:
    tree, noise = fit.tree, coordinate_noise(fit)
    parts = len(tree.link_of_part)
    evidence = np.full(len(tree.parents), np.inf)
    motions = _visible_motions(tree, lengths_P3)
    for joint in range(1, len(tree.parents)):
        if motions[joint] > PLAIN_MOTION * LEAST_EVIDENCE * noise:
            continue
        frozen = without_joint(tree, joint)
        trial = fit_tree(frozen, T_scene_part_FP44, lengths_P3, TRIAL_ITERATIONS)
        evidence[joint] = (trial.misfit - fit.misfit) * parts / noise
    return FoundTree(fit, evidence)


def _visible_motions(tree: Tree, lengths_P3: np.ndarray) -> np.ndarray:
    """Return the mean squared motion (L,) of all parts that each joint causes on its own."""
    per_position = part_motions(tree, lengths_P3)
    spread = tree.positions_FL - np.median(tree.positions_FL, axis=0)
    motions = (per_position**2).sum(axis=(1, 3)) * spread[:, 1:] ** 2
    return np.concatenate([[np.inf], motions.mean(axis=0)])
