"""Ellipsoids carried by joints: one position per joint and frame, and nothing else moves.

All is written in the scene as it is at rest, where every joint is at 0: a joint is then a line,
and a part's pose is carried by the joints above it one after the other (a product of
exponentials).  To turn a line changes nothing at rest, which keeps joints and parts apart while
they are learned together.
"""

from dataclasses import replace

import numpy as np
import roma
import torch
from torch import nn

from posefield.articulation.ellipsoid_rendering import Appearance
from posefield.articulation.hierarchy import ROOT, Hierarchy
from posefield.articulation.parts import PartMotion
from posefield.articulation.tree_fitting import Tree

# How much the sizes are held to the first ones.
GROWTH_WEIGHT = 0.01
# How much the point of a joint on another parent is drawn to where it was.
POINT_PULL = 1e-3
_PARAMETERS = (
    'axes_J3',
    'points_J3',
    'positions_FJ',
    'root_quaternions_F4',
    'root_centres_F3',
    'rest_quaternions_P4',
    'rest_centres_P3',
    'log_radii_P3',
    'means_P3',
    'textures_P33',
    'light_3',
)
_BUFFERS = ('root_rest_3', 'first_log_radii_P3')
# Those of which every part has one.
PART_VALUES = tuple(name for name in (*_PARAMETERS, *_BUFFERS) if '_P' in name)
# What joints have no part in.
_PAINT = ('log_radii_P3', 'first_log_radii_P3', 'means_P3', 'textures_P33', 'light_3')


class SkeletonTracks(nn.Module):
    """P ellipsoids on J joints over F frames, everything in the scene frame.

    Attributes:
        hierarchy: what hangs on what.
        axes_J3, points_J3: of every joint's line at rest; axes are not of unit length.
        positions_FJ: radians or scene units.
        root_quaternions_F4, root_centres_F3: pose of the root, where it moves; (0, 4) and (0, 3)
            where it stands.
        rest_quaternions_P4, rest_centres_P3: poses of the parts at rest.
        log_radii_P3, means_P3, textures_P33, light_3: shape and colours.
    """

    def __init__(self, hierarchy: Hierarchy, values: dict[str, torch.Tensor]):
        super().__init__()
        self.hierarchy = hierarchy
        for name in _PARAMETERS:
            setattr(self, name, nn.Parameter(values[name].detach().clone()))
        for name in _BUFFERS:
            self.register_buffer(name, values[name].detach().clone())

    @classmethod
    def from_tree(cls, tree: Tree, motion: PartMotion) -> 'SkeletonTracks':
        """Return the ellipsoids of `motion` on the joints of a tree that was found in it."""
        values = {
            **_places(tree),
            'log_radii_P3': np.log(motion.radii_P3),
            'first_log_radii_P3': np.log(motion.radii_P3),
            'means_P3': motion.colours_P3,
            'textures_P33': np.zeros((motion.parts, 3, 3)),
            'light_3': np.zeros(3),
        }
        hierarchy = Hierarchy(
            tuple(parent - 1 for parent in tree.parents[1:]),
            tuple(bool(value) for value in tree.prismatic_L[1:]),
            tuple(int(link) - 1 for link in tree.link_of_part),
        )
        return cls(hierarchy, {name: _tensor(value) for name, value in values.items()})

    def painted_as(self, others: 'SkeletonTracks') -> 'SkeletonTracks':
        """Return the tracks with the shapes, colours and light of others of the same parts."""
        theirs = others.values()
        return SkeletonTracks(self.hierarchy, {**self.values(), **{n: theirs[n] for n in _PAINT}})

    def placed_as(self, tree: Tree) -> 'SkeletonTracks':
        """Return the tracks with the places and positions of a tree of the same hierarchy."""
        places = {name: _tensor(value).to(self.axes_J3) for name, value in _places(tree).items()}
        return SkeletonTracks(self.hierarchy, {**self.values(), **places})

    @property
    def joints(self) -> int:
        """Number of joints J."""
        return len(self.hierarchy.parents)

    @property
    def radii_P3(self) -> torch.Tensor:
        """Semi-axes."""
        return self.log_radii_P3.exp()

    @property
    def rest_rotations_P33(self) -> torch.Tensor:
        """Orientations of the parts at rest."""
        return _rotations(self.rest_quaternions_P4)

    @property
    def unit_axes_J3(self) -> torch.Tensor:
        """Directions of the joints at rest."""
        return nn.functional.normalize(self.axes_J3, dim=-1)

    def appearance(self) -> Appearance:
        """Return the colours."""
        return Appearance(self.means_P3, self.textures_P33, self.light_3)

    def poses(self, frames_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rotations (B, P, 3, 3) and centres (B, P, 3) in some frames."""
        R_BJ, t_BJ = self._carried(frames_B)
        # The root's motion comes last, which is where the index of ROOT leads.
        R, t = R_BJ[:, self.hierarchy.joint_of_part], t_BJ[:, self.hierarchy.joint_of_part]
        return R @ self.rest_rotations_P33, _placed(R, self.rest_centres_P3) + t

    def _carried(self, frames_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what all joints from the root to each do to the scene at rest."""
        angles = self.positions_FJ[frames_B][..., None, None]
        slides = torch.tensor(self.hierarchy.prismatic, device=angles.device)[:, None, None]
        twists = self._twists_J44(slides)
        # The exponential of a twist; the square of a sliding one is 0.
        turned = torch.where(slides, angles, angles.sin()) * twists
        turned = turned + (1.0 - angles.cos()) * (twists @ twists)
        moves = (turned + torch.eye(4, device=angles.device)).unbind(dim=1)
        R_root, t_root = self._root(frames_B)
        # One product a joint: the loop over joints is what takes the time.
        root = _homogeneous(R_root, t_root)
        found = []
        for joint, parent in enumerate(self.hierarchy.parents):
            found.append((root if parent == ROOT else found[parent]) @ moves[joint])
        T = torch.stack([*found, root], dim=1)
        return T[..., :3, :3], T[..., :3, 3]

    def _twists_J44(self, slides_J11: torch.Tensor) -> torch.Tensor:
        axes = self.unit_axes_J3
        eye = torch.eye(3, device=axes.device)
        # The columns of the matrix that turns are axis x e.
        turning = torch.linalg.cross(axes[:, None], eye[None]).mT
        moving = torch.where(slides_J11[:, 0], axes, torch.linalg.cross(self.points_J3, axes))
        top = torch.cat([turning.masked_fill(slides_J11, 0.0), moving[..., None]], dim=-1)
        return nn.functional.pad(top, (0, 0, 0, 1))

    def _root(self, frames_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(self.root_centres_F3) == 0:
            eye = torch.eye(3, device=frames_B.device).expand(len(frames_B), 3, 3)
            return eye, torch.zeros(len(frames_B), 3, device=frames_B.device)
        R = _rotations(self.root_quaternions_F4[frames_B])
        return R, self.root_centres_F3[frames_B] - _placed(R, self.root_rest_3)

    def shape_losses(self) -> torch.Tensor:
        """Return how far sizes are from the first ones, and colours from being colours."""
        growth = (self.log_radii_P3 - self.first_log_radii_P3).square().mean()
        excess = (self.means_P3 - self.means_P3.clamp(0.0, 1.0)).square().sum(dim=1).mean()
        return GROWTH_WEIGHT * growth + excess

    def jerks(self) -> torch.Tensor:
        """Return the squared second differences of the positions, summed, a joint on average."""
        second = self.positions_FJ[2:] - 2 * self.positions_FJ[1:-1] + self.positions_FJ[:-2]
        return second.square().sum() / max(1, self.joints)

    def skewness(self) -> torch.Tensor:
        """Return how far joints in a row are from parallel and from square: sin^2(2 a) / 4 each.

        A slender body turns about itself unseen, so that images alone leave it open how much of a
        turn is whose.  Most things that are made have axes that are parallel or square.
        """
        pairs = [
            (joint, parent)
            for joint, parent in enumerate(self.hierarchy.parents)
            if parent != ROOT
        ]
        if not pairs:
            return self.axes_J3.sum() * 0.0
        below, above = (list(side) for side in zip(*pairs, strict=True))
        cosines = (self.unit_axes_J3[below] * self.unit_axes_J3[above]).sum(dim=-1).square()
        return (cosines * (1.0 - cosines)).sum()

    @torch.no_grad()
    def without(self, joint: int) -> 'SkeletonTracks':
        """Return the tracks with a joint frozen in the middle of its positions."""
        values = self.values()
        middle = self.positions_FJ[:, joint].median()
        axis, point = self.unit_axes_J3[joint], self.points_J3[joint]
        if self.hierarchy.prismatic[joint]:
            R, t = torch.eye(3, device=axis.device), middle * axis
        else:
            R = roma.rotvec_to_rotmat(middle * axis)
            t = point - R @ point
        below = torch.tensor(self.hierarchy.carried_by(joint), device=axis.device)
        parts = torch.cat([below, below.new_zeros(1)])[list(self.hierarchy.joint_of_part)]
        turned = R @ self.rest_rotations_P33
        values['axes_J3'] = torch.where(below[:, None], self.axes_J3 @ R.T, self.axes_J3)
        values['points_J3'] = torch.where(below[:, None], self.points_J3 @ R.T + t, self.points_J3)
        values['rest_quaternions_P4'] = torch.where(
            parts[:, None], roma.rotmat_to_unitquat(turned), self.rest_quaternions_P4
        )
        values['rest_centres_P3'] = torch.where(
            parts[:, None], self.rest_centres_P3 @ R.T + t, self.rest_centres_P3
        )
        hierarchy, kept = self.hierarchy.absorbed(joint, self.hierarchy.parents[joint])
        return SkeletonTracks(hierarchy, _with_joints(values, kept))

    @torch.no_grad()
    def rehung(self, joint: int, parent: int) -> 'SkeletonTracks':
        """Return the tracks with a joint that turns on another one that it does not carry.

        Its line and positions are those that come nearest to how both moved against each other:
        the main direction of the rotation vectors, and the point that stays in place.
        """
        R, t = self._carried(torch.arange(len(self.positions_FJ), device=self.axes_J3.device))
        R_above = R[:, parent].transpose(-1, -2)
        R_between = R_above @ R[:, joint]
        t_between = _placed(R_above, t[:, joint] - t[:, parent])
        turns = roma.rotmat_to_rotvec(R_between)
        axis = torch.linalg.eigh(turns.mT @ turns).eigenvectors[:, -1]
        eye = torch.eye(3, device=axis.device)
        moved = eye - R_between
        normal = (moved.mT @ moved).mean(dim=0) + POINT_PULL * eye
        right = _placed(moved.mT, t_between).mean(dim=0) + POINT_PULL * self.points_J3[joint]
        values = self.values()
        hierarchy, order = self.hierarchy.rehung(joint, parent)
        values['axes_J3'][joint] = axis
        values['points_J3'][joint] = torch.linalg.solve(normal, right)
        angles_F = np.unwrap((turns @ axis).cpu().numpy())
        values['positions_FJ'][:, joint] = torch.from_numpy(angles_F).to(turns)
        return SkeletonTracks(hierarchy, _with_joints(values, order))

    @torch.no_grad()
    def absorbed(self, joint: int, other: int) -> 'SkeletonTracks':
        """Return the tracks without a joint; another, not below it, or ROOT carries its load."""
        hierarchy, kept = self.hierarchy.absorbed(joint, other)
        return SkeletonTracks(hierarchy, _with_joints(self.values(), kept))

    @torch.no_grad()
    def turning_about(self, joint: int, part: int, axis: int) -> 'SkeletonTracks':
        """Return the tracks with a joint that turns about an axis of a part's ellipsoid.

        Its positions are those of the nearest turns about that axis.
        """
        values = self.values()
        direction = self.rest_rotations_P33[part, :, axis]
        halves = self.positions_FJ[:, joint] / 2.0
        along = self.unit_axes_J3[joint] @ direction
        values['axes_J3'][joint] = direction
        values['points_J3'][joint] = self.rest_centres_P3[part]
        values['positions_FJ'][:, joint] = 2.0 * torch.atan2(along * halves.sin(), halves.cos())
        return SkeletonTracks(self.hierarchy, values)

    @torch.no_grad()
    def split(self, part: int, axis: int) -> 'SkeletonTracks':
        """Return the tracks with a part on a joint of its own, about an axis of its ellipsoid."""
        values = self.values()
        direction = self.rest_rotations_P33[part, :, axis]
        values['axes_J3'] = torch.cat([self.axes_J3, direction[None]])
        values['points_J3'] = torch.cat([self.points_J3, self.rest_centres_P3[part][None]])
        still = self.positions_FJ.new_zeros(len(self.positions_FJ), 1)
        values['positions_FJ'] = torch.cat([self.positions_FJ, still], dim=1)
        return SkeletonTracks(self.hierarchy.split(part), values)

    def shaped_as(self, hierarchy: Hierarchy) -> 'SkeletonTracks':
        """Return tracks of other joints and parts over the same frames, to load values into."""
        joints, parts = len(hierarchy.parents), len(hierarchy.joint_of_part)
        values = self.values()
        for name in PART_VALUES:
            values[name] = values[name].new_ones(parts, *values[name].shape[1:])
        for name in ('axes_J3', 'points_J3'):
            values[name] = values[name].new_ones(joints, 3)
        values['positions_FJ'] = self.positions_FJ.new_zeros(len(self.positions_FJ), joints)
        return SkeletonTracks(hierarchy, values)

    def values(self) -> dict[str, torch.Tensor]:
        """Return copies of all numbers."""
        return {name: getattr(self, name).detach().clone() for name in (*_PARAMETERS, *_BUFFERS)}

    @torch.no_grad()
    def tree(self) -> Tree:
        """Return joints, positions and parts as a tree; its links are parallel at rest."""
        axes = self.unit_axes_J3.double().cpu().numpy()
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        positions = self.positions_FJ.double().cpu().numpy()
        frames, joints = positions.shape
        root_rest = self.root_rest_3.double().cpu().numpy()
        origins = np.concatenate([root_rest[None], self.points_J3.double().cpu().numpy()])
        parents = (-1, *(parent + 1 for parent in self.hierarchy.parents))
        T_parent_joint = np.tile(np.eye(4), (joints + 1, 1, 1))
        for link, parent in enumerate(parents[1:], start=1):
            T_parent_joint[link, :3, 3] = origins[link] - origins[parent]
        link_of_part = np.array(self.hierarchy.joint_of_part) + 1
        T_link_part = np.tile(np.eye(4), (len(link_of_part), 1, 1))
        T_link_part[:, :3, :3] = _as_numpy_rotations(self.rest_quaternions_P4)
        rest = self.rest_centres_P3.double().cpu().numpy()
        T_link_part[:, :3, 3] = rest - origins[link_of_part]
        T_root = np.tile(np.eye(4), (frames, 1, 1))
        T_root[:, :3, 3] = root_rest
        moves = len(self.root_centres_F3) > 0
        if moves:
            T_root[:, :3, :3] = _as_numpy_rotations(self.root_quaternions_F4)
            T_root[:, :3, 3] = self.root_centres_F3.double().cpu().numpy()
        return Tree(
            parents,
            np.array([False, *self.hierarchy.prismatic]),
            T_parent_joint,
            np.concatenate([[[0.0, 0.0, 1.0]], axes]),
            np.concatenate([np.zeros((frames, 1)), positions], axis=1),
            T_root,
            moves,
            link_of_part,
            T_link_part,
        )


def _places(tree: Tree) -> dict[str, np.ndarray]:
    """Return the numbers of tracks that a tree says: where all is at rest, and how it moves."""
    rest_L = np.median(tree.positions_FL, axis=0)
    resting = _at_rest(tree, rest_L)
    T_part = resting[tree.link_of_part] @ tree.T_link_part_P44
    root = tree.T_scene_root_F44 if tree.root_moves else tree.T_scene_root_F44[:0]
    turned = root[:, :3, :3] @ resting[0, :3, :3].T
    return {
        'axes_J3': np.einsum('lij,lj->li', resting[1:, :3, :3], tree.axes_L3[1:]),
        'points_J3': resting[1:, :3, 3],
        'positions_FJ': tree.positions_FL[:, 1:] - rest_L[1:],
        'root_quaternions_F4': _quaternions(turned).reshape(-1, 4),
        'root_centres_F3': root[:, :3, 3],
        'root_rest_3': resting[0, :3, 3],
        'rest_quaternions_P4': _quaternions(T_part[:, :3, :3]),
        'rest_centres_P3': T_part[:, :3, 3],
    }


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _with_joints(values: dict[str, torch.Tensor], joints: list[int]) -> dict[str, torch.Tensor]:
    """Return numbers with some of the joints, in their order."""
    return {
        **values,
        'axes_J3': values['axes_J3'][joints],
        'points_J3': values['points_J3'][joints],
        'positions_FJ': values['positions_FJ'][:, joints],
    }


def _at_rest(tree: Tree, positions_L: np.ndarray) -> np.ndarray:
    """Return T_scene_link (L, 4, 4) at positions, with the root as in the first frame."""
    once = replace(
        tree, positions_FL=positions_L[None], T_scene_root_F44=tree.T_scene_root_F44[:1]
    )
    return once.poses()[0][0]


def _quaternions(R_N33: np.ndarray) -> np.ndarray:
    return roma.rotmat_to_unitquat(torch.tensor(R_N33.copy())).numpy()


def _rotations(quaternions_N4: torch.Tensor) -> torch.Tensor:
    return roma.unitquat_to_rotmat(nn.functional.normalize(quaternions_N4, dim=-1))


def _as_numpy_rotations(quaternions_N4: torch.Tensor) -> np.ndarray:
    return _rotations(quaternions_N4.double()).cpu().numpy()


def _placed(R: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    return (R @ vectors[..., None])[..., 0]


def _homogeneous(R: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return matrices (..., 4, 4) of rotations and translations."""
    last = t.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*t.shape[:-1], 1, 4)
    return torch.cat([torch.cat([R, t[..., None]], dim=-1), last], dim=-2)
