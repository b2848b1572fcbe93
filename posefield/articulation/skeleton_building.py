"""A fitted tree of joints written as links and joints with names, kinds, limits and centres.

In the first frame all positions are 0 and the frames of all links are parallel to the scene's.
"""

from dataclasses import dataclass
import math

import numpy as np

from posefield.articulation.kinematics import Joint, Link, Skeleton
from posefield.articulation.tree_fitting import Tree

# Frames in which a part is further off than this many times its usual misfit set no limits.
OUTLIER = 3.0
# A turning joint that moved less than this has not been seen to move; radians.
UNMOVED = 1e-3
# How much the place where parts meet counts next to that where axes meet.
MEETING_SHARE = 1e-3


@dataclass(frozen=True)
class BuiltSkeleton:
    """A skeleton and how it moves.

    Attributes:
        skeleton: links and joints.
        T_link_part_P44: poses of the parts in their links.
        positions_FD: of the movable joints.
        T_scene_root_F44: poses of the root.
    """

    skeleton: Skeleton
    T_link_part_P44: np.ndarray
    positions_FD: np.ndarray
    T_scene_root_F44: np.ndarray


def build_skeleton(tree: Tree, squares_FP: np.ndarray) -> BuiltSkeleton:
    """Return the tree as a skeleton.

    Args:
        tree: fitted.
        squares_FP: squared misfit of every part in every frame.
    """
    T_first = tree.poses()[0][0]
    centres_L3 = _centres(tree, T_first)
    names = _names(tree)
    usable_FL = _usable(tree, squares_FP)
    positions = tree.positions_FL - tree.positions_FL[0]
    joints = []
    for link, parent in enumerate(tree.parents[1:], start=1):
        axis = T_first[parent, :3, :3] @ tree.T_parent_joint_L44[link, :3, :3] @ tree.axes_L3[link]
        if axis[np.abs(axis).argmax()] < 0:
            axis, positions[:, link] = -axis, -positions[:, link]
        T = np.eye(4)
        T[:3, 3] = centres_L3[link] - centres_L3[parent]
        seen = positions[usable_FL[:, link], link]
        lower, upper = float(min(seen.min(), 0.0)), float(max(seen.max(), 0.0))
        kind = _kind(bool(tree.prismatic_L[link]), upper - lower)
        axis /= np.linalg.norm(axis)
        joints.append(
            Joint(f'joint_{link}', kind, names[parent], names[link], T, axis, lower, upper)
        )
    T_scene_link = np.tile(np.eye(4), (len(tree.parents), 1, 1))
    T_scene_link[:, :3, 3] = centres_L3
    links = tuple(
        Link(name, tuple(int(part) for part in np.flatnonzero(tree.link_of_part == link)))
        for link, name in enumerate(names)
    )
    T_part = T_first[tree.link_of_part] @ tree.T_link_part_P44
    back = T_scene_link.copy()
    back[:, :3, 3] *= -1.0
    T_root_link = np.linalg.inv(T_first[0]) @ T_scene_link[0]
    return BuiltSkeleton(
        Skeleton(links, tuple(joints), names[0]),
        back[tree.link_of_part] @ T_part,
        positions[:, 1:],
        tree.T_scene_root_F44 @ T_root_link,
    )


def _kind(prismatic: bool, travel: float) -> str:
    if prismatic:
        return 'prismatic'
    # Nothing is known of the limits of one that has not moved.
    return 'revolute' if UNMOVED < travel <= 2.0 * math.pi else 'continuous'


def _usable(tree: Tree, squares_FP: np.ndarray) -> np.ndarray:
    """Return (F, L) where the parts that a joint carries are not all outliers."""
    usual = np.median(squares_FP, axis=0) + 1e-12
    good_FP = squares_FP <= OUTLIER**2 * usual
    carried_LP = tree.above()[tree.link_of_part].T
    usable = (good_FP[:, None] & carried_LP[None]).any(axis=-1)
    usable |= ~usable.any(axis=0)
    return usable


def _centres(tree: Tree, T_first_L44: np.ndarray) -> np.ndarray:
    """Return the origins (L, 3) of the links' frames in the first frame, scene.

    A joint's centre is where on its axis it is nearest to where its axis meets the others of its
    series, or, on its own, to where the parts on both of its sides meet.
    """
    T_part = T_first_L44[tree.link_of_part] @ tree.T_link_part_P44
    points = T_first_L44[:, :3, 3]
    axes = (T_first_L44[:, :3, :3] @ tree.axes_L3[..., None])[..., 0]
    between = sides(tree)
    centres = points.copy()
    centres[0] = T_part[between[0][1], :3, 3].mean(axis=0)
    for joints in _all_series(tree):
        above, below = between[joints[-1]]
        ends = T_part[:, None, :3, 3][above], T_part[None, :, :3, 3][:, below]
        gaps = np.linalg.norm(ends[0] - ends[1], axis=-1)
        one, other = np.unravel_index(gaps.argmin(), gaps.shape)
        meeting = 0.5 * (ends[0][one, 0] + ends[1][0, other])
        across = np.eye(3) - axes[joints, :, None] * axes[joints, None]
        pulled = MEETING_SHARE * np.eye(3)
        common = np.linalg.solve(
            across.sum(axis=0) + pulled,
            (across @ points[joints, :, None]).sum(axis=0)[:, 0] + pulled @ meeting,
        )
        along = ((common - points[joints]) * axes[joints]).sum(axis=-1, keepdims=True)
        centres[joints] += along * axes[joints]
    return centres


def _all_series(tree: Tree) -> list[list[int]]:
    """Return the joints in series: each ends at a link with parts, or where the tree forks."""
    children = [tree.parents.count(link) for link in range(len(tree.parents))]
    passed = [
        link > 0 and children[link] == 1 and not (tree.link_of_part == link).any()
        for link in range(len(tree.parents))
    ]
    found = []
    for link in range(1, len(tree.parents)):
        if not passed[link]:
            series = [link]
            while passed[tree.parents[series[0]]]:
                series.insert(0, tree.parents[series[0]])
            found.append(series)
    return found


def sides(tree: Tree) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return, for every link, masks (P,) of the parts above and below its joint.

    Those of the nearest link that has any; below a massless one, of all that it carries.
    """
    carried_LP = tree.above()[tree.link_of_part].T
    found = []
    for link in range(len(tree.parents)):
        below = tree.link_of_part == link
        if not below.any():
            below = carried_LP[link]
        parent = tree.parents[link]
        while parent > 0 and not (tree.link_of_part == parent).any():
            parent = tree.parents[parent]
        above = tree.link_of_part == parent
        found.append((above if above.any() else ~carried_LP[link], below))
    return found


def _names(tree: Tree) -> list[str]:
    """Return the names of the links: link_0 is the root, and massless ones are pivots."""
    names, links, pivots = [], 0, 0
    for link in range(len(tree.parents)):
        if link == 0 or (tree.link_of_part == link).any():
            names.append(f'link_{links}')
            links += 1
        else:
            pivots += 1
            names.append(f'pivot_{pivots}')
    return names
