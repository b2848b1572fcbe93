"""Joints between pairs of bodies, written as a tree of joints that turn or slide one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from posefield.articulation.joint_fitting import MODELS, fit_model, pair_motions
from posefield.articulation.pair_constraints import Unknowns
from posefield.articulation.rigid_bodies import Bodies, mean_poses
from posefield.articulation.tree_fitting import Tree, axis_rotations, joint_motions
from posefield.geometry.poses import invert

Z_AXIS = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Edge:
    """Two bodies held together.

    Attributes:
        i, j: their indices.
        kind: of a pair model: prismatic, revolute, universal or ball.
    """

    i: int
    j: int
    kind: str


@dataclass(frozen=True)
class SeriesJoint:
    """One joint of a series between two bodies.

    Attributes:
        prismatic: or it turns.
        T_before_joint: (4, 4) from the joint before it, or from the parent body.
        axis_3: in its frame.
        positions_F: in every frame.
    """

    prismatic: bool
    T_before_joint: np.ndarray
    axis_3: np.ndarray
    positions_F: np.ndarray


def tree_of(
    bodies: Bodies, edges: Sequence[Edge], root: int, T_scene_part_FP44: np.ndarray
) -> Tree:
    """Return the tree that hangs from a root body, with joints in series for every edge.

    A body's link is that of the last joint that leads to it; the links before are massless.
    """
    joints = [SeriesJoint(False, np.eye(4), np.array(Z_AXIS), np.zeros(len(T_scene_part_FP44)))]
    parents = [-1]
    link_of_body, T_link_body = {root: 0}, {root: np.eye(4)}
    for edge in outwards(edges, root):
        link, T_before = link_of_body[edge.i], T_link_body[edge.i]
        found, T_last_j = _series(bodies, edge)
        for joint in found:
            joints.append(replace(joint, T_before_joint=T_before @ joint.T_before_joint))
            parents.append(link)
            link, T_before = len(parents) - 1, np.eye(4)
        link_of_body[edge.j], T_link_body[edge.j] = link, T_last_j
    link_of_part = np.zeros(T_scene_part_FP44.shape[1], dtype=int)
    for body, members in enumerate(bodies.members):
        link_of_part[list(members)] = link_of_body[body]
    tree = Tree(
        tuple(parents),
        np.array([joint.prismatic for joint in joints]),
        np.array([joint.T_before_joint for joint in joints]),
        np.array([joint.axis_3 for joint in joints]),
        np.stack([joint.positions_F for joint in joints], axis=1),
        bodies.T_scene_body_BF44[root],
        True,
        link_of_part,
        np.tile(np.eye(4), (len(link_of_part), 1, 1)),
    )
    return with_parts_placed(tree, T_scene_part_FP44)


def with_parts_placed(tree: Tree, T_scene_part_FP44: np.ndarray) -> Tree:
    """Return the tree with every part where it is on its link on average."""
    T_scene_link = tree.poses()[0][:, tree.link_of_part]
    seen = np.swapaxes(invert(T_scene_link) @ T_scene_part_FP44, 0, 1)
    return replace(tree, T_link_part_P44=mean_poses(seen, np.ones(seen.shape[:2])))


def without_joint(tree: Tree, joint: int) -> Tree:
    """Return the tree with a joint frozen in the middle: its link's content moves to the parent's.

    A massless parent becomes the link of the parts.
    """
    parent = tree.parents[joint]
    middle = np.median(tree.positions_FL[:, joint])
    T_parent_link = tree.T_parent_joint_L44[joint] @ joint_motions(
        middle, tree.axes_L3[joint], tree.prismatic_L[joint]
    )
    T_parent_joint = tree.T_parent_joint_L44.copy()
    hanging = np.array(tree.parents) == joint
    T_parent_joint[hanging] = T_parent_link @ T_parent_joint[hanging]
    T_link_part = tree.T_link_part_P44.copy()
    sitting = tree.link_of_part == joint
    T_link_part[sitting] = T_parent_link @ T_link_part[sitting]
    kept = [link for link in range(len(tree.parents)) if link != joint]
    index = {link: n for n, link in enumerate(kept)} | {joint: kept.index(parent), -1: -1}
    return replace(
        tree,
        parents=tuple(index[tree.parents[link]] for link in kept),
        prismatic_L=tree.prismatic_L[kept],
        T_parent_joint_L44=T_parent_joint[kept],
        axes_L3=tree.axes_L3[kept],
        positions_FL=tree.positions_FL[:, kept],
        link_of_part=np.array([index[link] for link in tree.link_of_part]),
        T_link_part_P44=T_link_part,
    )


def outwards(edges: Sequence[Edge], root: int) -> list[Edge]:
    """Return the edges of a tree from the root on, each from the parent i to the child j."""
    found, reached, left = [], {root}, list(edges)
    while left:
        near = next(edge for edge in left if edge.i in reached or edge.j in reached)
        left.remove(near)
        if near.j in reached:
            near = Edge(near.j, near.i, near.kind)
        reached.add(near.j)
        found.append(near)
    return found


def _series(bodies: Bodies, edge: Edge) -> tuple[list[SeriesJoint], np.ndarray]:
    """Return the joints between two bodies, and T_last_j (4, 4) from the last one to body j."""
    motions = pair_motions(bodies, [(edge.i, edge.j)])
    model = next(model for model in MODELS if model.kind == edge.kind)
    unknowns = fit_model(model, motions).unknowns
    if edge.kind == 'ball':
        # Its outer axes are the ones that a universal joint would have, so that it bends little.
        universal = next(model for model in MODELS if model.kind == 'universal')
        axes = fit_model(universal, motions).unknowns
        unknowns = replace(unknowns, axis_i_N3=axes.axis_i_N3, axis_j_N3=axes.axis_j_N3)
    unknowns, T_i_j_F44 = unknowns.at(0), motions.T_i_j_NF44[0]
    if edge.kind == 'prismatic':
        slides = (invert(unknowns.T_i_j_N44) @ T_i_j_F44)[:, :3, 3] @ unknowns.axis_j_N3
        return [SeriesJoint(True, unknowns.T_i_j_N44, unknowns.axis_j_N3, slides)], np.eye(4)
    joints = []
    for n, (R_before, axis, angles) in enumerate(_turns(edge.kind, unknowns, T_i_j_F44)):
        T = np.eye(4)
        T[:3, :3] = R_before
        T[:3, 3] = unknowns.point_i_N3 if n == 0 else 0.0
        joints.append(SeriesJoint(False, T, axis, np.unwrap(angles)))
    T_last_j = np.eye(4)
    T_last_j[:3, 3] = -unknowns.point_j_N3
    return joints, T_last_j


def _turns(kind: str, unknowns: Unknowns, T_i_j_F44: np.ndarray):
    """Return rotation before the joint, axis and angles of the turns whose product is R_i_j."""
    R = T_i_j_F44[:, :3, :3]
    a, b = unknowns.axis_i_N3, unknowns.axis_j_N3
    R_rest = R[len(R) // 2]
    if kind == 'revolute':
        R_rest = _least_rotation(R_rest @ b, a) @ R_rest
        return [(R_rest, b, _twists(R_rest.T @ R, b))]
    middle = _across(a, R_rest @ b)
    bends = _angles(a, R @ b) - _angles(a, R_rest @ b)
    if kind == 'universal':
        bends = np.zeros_like(bends)
    bent = axis_rotations(middle, bends) @ R_rest
    yaws = _signed_angles(a, bent @ b, R @ b)
    rests = np.swapaxes(axis_rotations(a, yaws) @ bent, -1, -2) @ R
    last = (R_rest, b, _twists(rests, b))
    first = (np.eye(3), a, yaws)
    return [first, last] if kind == 'universal' else [first, (np.eye(3), middle, bends), last]


def _least_rotation(from_3: np.ndarray, to_3: np.ndarray) -> np.ndarray:
    """Return the smallest rotation (3, 3) that turns one unit vector to another."""
    angle = _angles(from_3, to_3)
    return axis_rotations(_across(from_3, to_3), angle)


def _across(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a unit vector orthogonal to a, and to b where they are not parallel."""
    normal = np.cross(a, b)
    if np.linalg.norm(normal) < 1e-6:
        normal = np.cross(a, np.eye(3)[np.abs(a).argmin()])
    return normal / np.linalg.norm(normal)


def _angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(axis=-1))


def _signed_angles(axis: np.ndarray, from_F3: np.ndarray, to_F3: np.ndarray) -> np.ndarray:
    """Return the angles (F,) about a unit axis from one set of vectors to the other."""
    return np.arctan2(
        np.cross(from_F3, to_F3) @ axis,
        (from_F3 * to_F3).sum(axis=-1) - (from_F3 @ axis) * (to_F3 @ axis),
    )


def _twists(R_F33: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return the angles (F,) about an axis of the rotations nearest to R."""
    skew_part = R_F33 - np.swapaxes(R_F33, -1, -2)
    sines = 0.5 * np.stack([skew_part[:, 2, 1], skew_part[:, 0, 2], skew_part[:, 1, 0]], axis=-1)
    along = np.einsum('i,fij,j->f', axis, R_F33, axis)
    return np.arctan2(sines @ axis, 0.5 * (np.einsum('fii->f', R_F33) - along))
