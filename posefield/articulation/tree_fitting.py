"""All joints of a tree fitted at once to the poses of the parts: nonlinear least squares.

Unknown are where every joint and part sits (once), and the joint positions and, where it moves,
the root's pose (in every frame).  Frames touch only each other's shared unknowns, so those of a
frame are eliminated (Schur complement) and the cost grows linearly with the frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from posefield.articulation.rigid_bodies import OUTLIER, moved, offsets
from posefield.geometry.poses import invert

DAMPING, LEAST_DAMPING = 1e-4, 1e-8
MAX_DAMPING = 1e6
# Bounds of a part's error against the typical one.
LEAST_SCALE, GREATEST_SCALE = 0.5, 5.0


@dataclass(frozen=True)
class Tree:
    """Links in the order of the tree, the root first; link l hangs on joint l.

    Attributes:
        parents: index of each link's parent; -1 of the root.
        prismatic_L: whether joint l slides; else it turns.
        T_parent_joint_L44: of every joint; the identity for the root.
        axes_L3: of every joint, in its frame.
        positions_FL: of every joint; zeros for the root.
        T_scene_root_F44: poses of the root.
        root_moves: whether those are unknown, or one pose that is given.
        link_of_part: index of the link of each part.
        T_link_part_P44: poses of the parts in their links.
    """

    parents: tuple[int, ...]
    prismatic_L: np.ndarray
    T_parent_joint_L44: np.ndarray
    axes_L3: np.ndarray
    positions_FL: np.ndarray
    T_scene_root_F44: np.ndarray
    root_moves: bool
    link_of_part: np.ndarray
    T_link_part_P44: np.ndarray

    @property
    def freedoms(self) -> int:
        """Number of joints."""
        return len(self.parents) - 1

    def above(self) -> np.ndarray:
        """Return (L, L) whether link a is carried by joint b, or is its link."""
        carries = np.eye(len(self.parents), dtype=bool)
        for link, parent in enumerate(self.parents):
            if parent >= 0:
                carries[link] |= carries[parent]
        return carries

    def poses(self) -> tuple[np.ndarray, np.ndarray]:
        """Return T_scene_link (F, L, 4, 4), and T_scene_joint before the joints' motions."""
        T = np.empty((*self.positions_FL.shape, 4, 4))
        before = np.empty_like(T)
        T[:, 0] = before[:, 0] = self.T_scene_root_F44
        for link, parent in enumerate(self.parents[1:], start=1):
            before[:, link] = T[:, parent] @ self.T_parent_joint_L44[link]
            T[:, link] = before[:, link] @ joint_motions(
                self.positions_FL[:, link], self.axes_L3[link], self.prismatic_L[link]
            )
        return T, before

    def part_poses(self) -> np.ndarray:
        """Return T_scene_part (F, P, 4, 4)."""
        return self.poses()[0][:, self.link_of_part] @ self.T_link_part_P44


@dataclass(frozen=True)
class TreeFit:
    """A fitted tree.

    Attributes:
        tree: with the best unknowns.
        squares_FP: squared misfit of every part in every frame, a squared length.
        misfit: robust mean of them.
    """

    tree: Tree
    squares_FP: np.ndarray
    misfit: float


def fit_tree(
    tree: Tree,
    T_scene_part_FP44: np.ndarray,
    lengths_P3: np.ndarray,
    iterations: int = 30,
    held: Sequence[int] = (),
) -> TreeFit:
    """Return the tree that explains the poses of the parts best (Levenberg-Marquardt).

    Args:
        tree: where to start.
        T_scene_part_FP44: observed.
        lengths_P3: what a radian about each axis of each part counts, see `rotation_lengths`.
        iterations: at most.
        held: links whose joints stay as they are, with their positions.
    """
    metric = np.concatenate([np.ones_like(lengths_P3), lengths_P3], axis=1)
    errors = _errors(tree, T_scene_part_FP44, metric)
    scales = _scales(errors)
    cost = _cost(errors, scales)
    damping = DAMPING
    for _ in range(iterations):
        weights = 1.0 / (scales + errors**2 / OUTLIER**2)
        step = _normal_equations(tree, T_scene_part_FP44, metric, errors, weights).holding(held)
        while damping < MAX_DAMPING:
            tried = step.applied(tree, damping)
            tried_errors = _errors(tried, T_scene_part_FP44, metric)
            tried_cost = _cost(tried_errors, scales)
            if tried_cost <= cost:
                break
            damping *= 10.0
        else:
            break
        converged = cost - tried_cost < 1e-6 * cost
        tree, errors, damping = tried, tried_errors, max(damping / 10.0, 1e-9)
        scales = _scales(errors)
        cost = _cost(errors, scales)
        if converged:
            break
    return TreeFit(tree, (errors**2).sum(axis=-1), _misfit(errors))


def fit_positions(
    tree: Tree, T_scene_part_FP44: np.ndarray, lengths_P3: np.ndarray, iterations: int = 30
) -> Tree:
    """Return the tree with the joint positions, and root poses if it moves, of other part poses.

    Where joints and parts sit stays.  Every frame is on its own (Levenberg-Marquardt); arguments
    as in `fit_tree`.
    """
    metric = np.concatenate([np.ones_like(lengths_P3), lengths_P3], axis=1)
    errors = _errors(tree, T_scene_part_FP44, metric)
    damping_F = np.full(len(errors), DAMPING)
    for _ in range(iterations):
        step = _normal_equations(tree, T_scene_part_FP44, metric, errors, np.ones_like(errors))
        tried = step.of_frames_alone(tree, damping_F)
        tried_errors = _errors(tried, T_scene_part_FP44, metric)
        better_F = (tried_errors**2).sum(axis=(1, 2)) <= (errors**2).sum(axis=(1, 2))
        damping_F = np.where(better_F, np.maximum(damping_F / 10.0, 1e-9), damping_F * 10.0)
        tree = replace(
            tree,
            positions_FL=np.where(better_F[:, None], tried.positions_FL, tree.positions_FL),
            T_scene_root_F44=np.where(
                better_F[:, None, None], tried.T_scene_root_F44, tree.T_scene_root_F44
            ),
        )
        errors = np.where(better_F[:, None, None], tried_errors, errors)
    return tree


def freezing_costs(
    tree: Tree,
    T_scene_part_FP44: np.ndarray,
    lengths_P3: np.ndarray,
    least_noise: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what freezing each joint (L,) would cost, all else adapting, and if nothing did.

    To first order, per frame, in units of the noise of the parts that would be moved,
    `least_noise` at least; chance gives about 1 where all else adapts.  Infinite for the root.
    """
    metric = np.concatenate([np.ones_like(lengths_P3), lengths_P3], axis=1)
    errors = _errors(tree, T_scene_part_FP44, metric)
    scales = _scales(errors) + least_noise**2
    weights = 1.0 / (scales + errors**2 / OUTLIER**2)
    equations = _normal_equations(tree, T_scene_part_FP44, metric, errors, weights)
    costs_2L = np.full((2, len(tree.parents)), np.inf)
    costs_2L[:, 1:] = equations.freezing_costs(tree.positions_FL[:, 1:])
    return costs_2L[0], costs_2L[1]


def _errors(tree: Tree, T_scene_part: np.ndarray, metric_P6: np.ndarray) -> np.ndarray:
    """Return observed against predicted poses (F, P, 6), as lengths in the parts' frames."""
    return offsets(invert(tree.part_poses()) @ T_scene_part) * metric_P6


def _scales(errors: np.ndarray) -> np.ndarray:
    """Return each part's typical squared error (1, P, 1), not far from that of all."""
    per_part = np.median((errors**2).mean(axis=-1), axis=0) + 1e-12
    typical = np.median(per_part)
    bounded = np.clip(per_part, LEAST_SCALE**2 * typical, GREATEST_SCALE**2 * typical)
    return bounded[None, :, None]


def _cost(errors: np.ndarray, scales: np.ndarray) -> float:
    return float(np.log1p(errors**2 / (OUTLIER**2 * scales)).sum())


def _misfit(errors: np.ndarray) -> float:
    """Return the mean square of a part's error in a frame, with outliers held back."""
    squares = (errors**2).sum(axis=-1)
    bound = OUTLIER**2 * (np.median(squares, axis=0) + 1e-12)
    return float((squares / (1.0 + squares / bound)).mean())


@dataclass(frozen=True)
class _Step:
    """The normal equations: of each frame (d unknowns), between, and shared (s unknowns)."""

    frame_Fdd: np.ndarray
    between_Fds: np.ndarray
    shared_ss: np.ndarray
    frame_pull_Fd: np.ndarray
    shared_pull_s: np.ndarray

    def holding(self, links: Sequence[int]) -> '_Step':
        """Return the equations of all but the joints of some links, which stay."""
        columns = [link - 1 for link in links]
        shared = [6 * column + row for column in columns for row in range(6)]
        found = _Step(*(value.copy() for value in vars(self).values()))
        found.between_Fds[:, columns] = found.between_Fds[:, :, shared] = 0.0
        found.frame_pull_Fd[:, columns] = found.shared_pull_s[shared] = 0.0
        found.frame_Fdd[:, columns] = found.frame_Fdd[:, :, columns] = 0.0
        found.frame_Fdd[:, columns, columns] = 1.0
        found.shared_ss[shared] = found.shared_ss[:, shared] = 0.0
        found.shared_ss[shared, shared] = 1.0
        return found

    def applied(self, tree: Tree, damping: float) -> Tree:
        d, s = self.between_Fds.shape[1:]
        of_frames = np.einsum('fii->fi', self.frame_Fdd)
        floor = 1e-3 * of_frames.sum() / max(of_frames.size, 1) + 1e-12
        damped = self.frame_Fdd + np.eye(d) * (damping * (of_frames + floor))[:, None]
        eliminated = np.linalg.solve(
            damped, np.concatenate([self.between_Fds, self.frame_pull_Fd[..., None]], axis=-1)
        )
        flat = self.between_Fds.reshape(-1, s)
        reduced = self.shared_ss - flat.T @ eliminated[..., :s].reshape(-1, s)
        diagonal = np.diag(self.shared_ss)
        # The least keeps what is not determined, such as a joint's place along its axis, in place.
        reduced += np.diag(damping * diagonal + LEAST_DAMPING * (diagonal.mean() + 1e-12))
        pull = self.shared_pull_s - flat.T @ eliminated[..., s].ravel()
        shared = np.linalg.solve(reduced, pull)
        return _moved_tree(tree, eliminated[..., s] - eliminated[..., :s] @ shared, shared)

    def of_frames_alone(self, tree: Tree, damping_F: np.ndarray) -> Tree:
        """Return the tree after a step of the frames' unknowns; the shared ones stay."""
        d, s = self.between_Fds.shape[1:]
        of_frames = np.einsum('fii->fi', self.frame_Fdd)
        damped = self.frame_Fdd + np.eye(d) * (damping_F[:, None] * of_frames + 1e-12)[:, None]
        step = np.linalg.solve(damped, self.frame_pull_Fd[..., None])[..., 0]
        return _moved_tree(tree, step, np.zeros(s))

    def freezing_costs(self, positions_FJ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rises (J,) of the cost per frame if one column's positions were constant.

        q^T C^-1 q over the frames with C the covariance of the positions that is left when all
        other unknowns adapt, and the constant is chosen best; and the same where none adapts.
        """
        frames, d, s = self.between_Fds.shape
        regular = self.frame_Fdd + np.eye(d) * (LEAST_DAMPING * np.trace(self.frame_Fdd.mean(0)))
        inverse = np.linalg.inv(regular)
        eliminated = inverse @ self.between_Fds
        reduced = self.shared_ss - self.between_Fds.reshape(-1, s).T @ eliminated.reshape(-1, s)
        reduced += np.eye(s) * (LEAST_DAMPING * np.trace(self.shared_ss))
        spread = np.linalg.inv(reduced)
        costs = []
        for joint, positions in enumerate(positions_FJ.T):
            by_shared = eliminated[:, joint]
            covariance = np.diag(inverse[:, joint, joint]) + by_shared @ spread @ by_shared.T
            right = np.stack([positions - positions.mean(), np.ones(frames)], axis=1)
            solved = np.linalg.solve(covariance, right)
            products = right.T @ solved
            costs.append(products[0, 0] - products[0, 1] ** 2 / products[1, 1])
        weights_FJ = np.diagonal(regular, axis1=1, axis2=2)[:, : positions_FJ.shape[1]]
        middle_J = (weights_FJ * positions_FJ).sum(axis=0) / weights_FJ.sum(axis=0)
        alone_J = (weights_FJ * (positions_FJ - middle_J) ** 2).mean(axis=0)
        return np.array(costs) / frames, alone_J


def _moved_tree(tree: Tree, of_frames_Fd: np.ndarray, shared_s: np.ndarray) -> Tree:
    links, parts = len(tree.parents), len(tree.link_of_part)
    positions = tree.positions_FL.copy()
    positions[:, 1:] += of_frames_Fd[:, : links - 1]
    T_parent_joint = tree.T_parent_joint_L44.copy()
    of_joints = shared_s[: 6 * (links - 1)].reshape(-1, 6)
    T_parent_joint[1:] = moved(T_parent_joint[1:], of_joints)
    of_parts = shared_s[6 * (links - 1) :].reshape(parts, 6)
    root = tree.T_scene_root_F44
    if tree.root_moves:
        root = moved(root, of_frames_Fd[:, links - 1 :])
    return replace(
        tree,
        positions_FL=positions,
        T_parent_joint_L44=T_parent_joint,
        T_scene_root_F44=root,
        T_link_part_P44=moved(tree.T_link_part_P44, of_parts),
    )


def _normal_equations(
    tree: Tree,
    T_scene_part: np.ndarray,
    metric_P6: np.ndarray,
    errors: np.ndarray,
    weights: np.ndarray,
) -> _Step:
    T, before = tree.poses()
    carried = tree.above()[tree.link_of_part].astype(float)
    to_part = _to_part_frames(T[:, tree.link_of_part] @ tree.T_link_part_P44, metric_P6)
    points = T_scene_part[..., :3, 3]
    by_positions = _by_positions(tree, before, points) * carried[None, :, 1:, None]
    by_frame = [np.swapaxes(by_positions, -1, -2)]
    if tree.root_moves:
        by_frame.append(_by_frames(T[:, :1], points)[:, :, 0])
    J_frame = -to_part @ np.concatenate(by_frame, axis=-1)
    by_joints = _by_frames(before[:, 1:], points) * carried[None, :, 1:, None, None]
    frames, parts, joints = by_joints.shape[:3]
    J_joints = -to_part @ np.moveaxis(by_joints, 3, 2).reshape(frames, parts, 6, 6 * joints)
    return _assembled(J_frame, J_joints, metric_P6, errors, weights)


def _assembled(
    J_frame: np.ndarray,
    J_joints: np.ndarray,
    metric_P6: np.ndarray,
    errors: np.ndarray,
    weights: np.ndarray,
) -> _Step:
    """Return the normal equations; a part's own place moves nothing but that part, by -metric."""
    frames, parts, _, d = J_frame.shape
    of_joints = J_joints.shape[-1]
    W_frame, W_joints = weights[..., None] * J_frame, weights[..., None] * J_joints
    shared = np.zeros((of_joints + 6 * parts, of_joints + 6 * parts))
    between = np.zeros((frames, d, len(shared)))
    pull = np.zeros(len(shared))
    flat = (frames * parts * 6, of_joints)
    shared[:of_joints, :of_joints] = J_joints.reshape(flat).T @ W_joints.reshape(flat)
    crossed = -np.einsum('fpks,pk->spk', W_joints, metric_P6).reshape(of_joints, 6 * parts)
    shared[:of_joints, of_joints:] = crossed
    shared[of_joints:, :of_joints] = crossed.T
    own = (weights.sum(axis=0) * metric_P6**2).ravel()
    shared[range(of_joints, len(shared)), range(of_joints, len(shared))] = own
    rows = J_frame.reshape(frames, parts * 6, d)
    weighted = W_frame.reshape(frames, parts * 6, d)
    between[..., :of_joints] = np.swapaxes(weighted, 1, 2) @ J_joints.reshape(
        frames, parts * 6, of_joints
    )
    between[..., of_joints:] = -np.einsum('fpkd,pk->fdpk', W_frame, metric_P6).reshape(
        frames, d, 6 * parts
    )
    pull[:of_joints] = -np.einsum('fpks,fpk->s', W_joints, errors)
    pull[of_joints:] = ((weights * errors).sum(axis=0) * metric_P6).ravel()
    return _Step(
        np.swapaxes(weighted, 1, 2) @ rows,
        between,
        shared,
        -np.einsum('fpkd,fpk->fd', W_frame, errors),
        pull,
    )


def _to_part_frames(T_scene_part: np.ndarray, metric_P6: np.ndarray) -> np.ndarray:
    """Return (F, P, 6, 6) that take motions (v, w) in the scene to errors of the parts."""
    turned = np.zeros((*T_scene_part.shape[:2], 6, 6))
    R = np.swapaxes(T_scene_part[..., :3, :3], -1, -2)
    turned[..., :3, :3] = turned[..., 3:, 3:] = R
    return metric_P6[..., None] * turned


def _by_positions(tree: Tree, before: np.ndarray, points_FP3: np.ndarray) -> np.ndarray:
    """Return the motions (F, P, J, 6) at points that joint positions cause, in the scene."""
    axes = (before[:, 1:, :3, :3] @ tree.axes_L3[1:, :, None])[:, None, :, :, 0]
    levers = points_FP3[:, :, None] - before[:, None, 1:, :3, 3]
    slides = tree.prismatic_L[1:, None]
    moves = np.where(slides, axes, np.cross(axes, levers))
    turns = np.broadcast_to(np.where(slides, 0.0, axes), moves.shape)
    return np.concatenate([moves, turns], axis=-1)


def _by_frames(T: np.ndarray, points_FP3: np.ndarray) -> np.ndarray:
    """Return the motions (F, P, K, 6, 6) at points that body twists of frames (F, K) cause."""
    R = T[:, None, :, :3, :3]
    levers = points_FP3[:, :, None] - T[:, None, :, :3, 3]
    motions = np.zeros((*levers.shape[:3], 6, 6))
    motions[..., :3, :3] = motions[..., 3:, 3:] = R
    motions[..., :3, 3:] = np.cross(
        np.swapaxes(np.broadcast_to(R, (*levers.shape[:3], 3, 3)), -1, -2), levers[..., None, :]
    ).swapaxes(-1, -2)
    return motions


def joint_motions(positions: np.ndarray, axis_3: np.ndarray, prismatic: bool) -> np.ndarray:
    """Return the motions (..., 4, 4) of a joint at positions (...)."""
    T = np.broadcast_to(np.eye(4), (*np.shape(positions), 4, 4)).copy()
    if prismatic:
        T[..., :3, 3] = np.asarray(positions)[..., None] * axis_3
    else:
        T[..., :3, :3] = axis_rotations(axis_3, positions)
    return T


def axis_rotations(axes: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return the rotations (..., 3, 3) by angles (...) about unit axes (..., 3)."""
    vectors = np.asarray(angles)[..., None] * axes
    return Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3)
