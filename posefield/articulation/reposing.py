"""New poses of a structure: turns about joints, and the joint positions nearest to part poses."""

from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from posefield.articulation.kinematics import Skeleton
from posefield.articulation.structure import Structure
from posefield.articulation.tree_fitting import Tree, fit_positions
from posefield.errors import ArticulationError


def turn_about_joints(
    skeleton: Skeleton, T_scene_link_L44: np.ndarray, turns: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return the poses T_scene_link (L, 4, 4) after turns about joints (watch_it_move 8.1).

    A joint's child and all below it turn about the joint's centre, by any rotation: what the
    joint itself allows is not asked.  All turns are given as if the others had not been made, and
    those above carry those below along, so that their order does not matter.

    Args:
        skeleton: links and joints.
        T_scene_link_L44: poses of the links before.
        turns: rotation vector (3,) in scene axes, radians, by name of joint.

    Raises:
        ArticulationError: for an unknown joint, or a rotation vector that is none.
    """
    T_new = np.array(T_scene_link_L44, dtype=np.float64)
    names = {joint.name for joint in skeleton.joints}
    for name, turn in turns.items():
        if name not in names:
            raise ArticulationError(
                f'There is no joint named {name!r} among {", ".join(sorted(names)) or "none"}.'
            )
        if np.shape(turn) != (3,) or not np.isfinite(turn).all():
            raise ArticulationError(
                f'The turn about joint {name!r} must be 3 finite numbers, found {turn}.'
            )
    # From the leaves to the root, so that every centre is still where it was.
    for joint in reversed(skeleton.ordered_joints()):
        if joint.name not in turns:
            continue
        centre = T_new[skeleton.link_index(joint.child), :3, 3].copy()
        carried = [skeleton.link_index(link) for link in skeleton.subtree(joint.child)]
        R = Rotation.from_rotvec(turns[joint.name]).as_matrix()
        T_new[carried, :3, :3] = R @ T_new[carried, :3, :3]
        T_new[carried, :3, 3] = (T_new[carried, :3, 3] - centre) @ R.T + centre
    return T_new


def turned_part_poses(
    structure: Structure, T_scene_link_L44: np.ndarray, turns: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return the poses T_scene_part (P, 4, 4) after turns; see `turn_about_joints`."""
    T_scene_link = turn_about_joints(structure.skeleton, T_scene_link_L44, turns)
    return T_scene_link[structure.link_of_part] @ structure.T_link_part_P44


def nearest_positions(
    structure: Structure, T_scene_part_FP44: np.ndarray, lengths_P3: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return joint positions (F, D) and root poses (F, 4, 4) that come nearest to part poses.

    Each frame starts at the learned frame that is nearest to it.

    Args:
        structure: links and joints.
        T_scene_part_FP44: asked for, in the structure's frame and units.
        lengths_P3: what a radian about each axis of each part counts, see `rotation_lengths`.

    Raises:
        ArticulationError: for another number of parts, or poses that are not finite.
    """
    expected = (*structure.T_link_part_P44.shape,)
    if T_scene_part_FP44.ndim != 4 or T_scene_part_FP44.shape[1:] != expected:
        raise ArticulationError(
            f'Part poses must have shape (F, {expected[0]}, 4, 4), found '
            f'{T_scene_part_FP44.shape}.'
        )
    if not np.isfinite(T_scene_part_FP44).all():
        raise ArticulationError('Part poses must be finite, found NaN or infinity.')
    learned = structure.part_poses(structure.positions_FD, structure.T_scene_root_F44)
    gaps = T_scene_part_FP44[:, None, :, :3, 3] - learned[None, :, :, :3, 3]
    nearest = (gaps**2).sum(axis=(2, 3)).argmin(axis=1)
    tree, columns = _tree(structure, nearest)
    fitted = fit_positions(tree, T_scene_part_FP44, lengths_P3)
    return fitted.positions_FL[:, columns], fitted.T_scene_root_F44


def _tree(structure: Structure, frames: np.ndarray) -> tuple[Tree, list[int]]:
    """Return the structure as a tree in learned frames, and the column of each movable joint."""
    skeleton = structure.skeleton
    order = skeleton.subtree(skeleton.root)
    index = {name: n for n, name in enumerate(order)}
    above = [skeleton.joint_above(name) for name in order]
    columns = [index[skeleton.joint(name).child] for name in skeleton.movable]
    positions = np.zeros((len(frames), len(order)))
    positions[:, columns] = structure.positions_FD[frames]
    names = np.array([index[link.name] for link in skeleton.links])
    tree = Tree(
        tuple(-1 if joint is None else index[joint.parent] for joint in above),
        np.array([joint is not None and joint.kind == 'prismatic' for joint in above]),
        np.array([np.eye(4) if joint is None else joint.T_parent_joint for joint in above]),
        np.array([[0.0, 0.0, 1.0] if joint is None else joint.axis_3 for joint in above]),
        positions,
        structure.T_scene_root_F44[frames],
        bool(np.ptp(structure.T_scene_root_F44, axis=0).max() > 0.0),
        names[structure.link_of_part],
        structure.T_link_part_P44,
    )
    return tree, columns
