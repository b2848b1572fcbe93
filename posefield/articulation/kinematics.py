"""Links and joints as a tree, with the forward kinematics of URDF.

The frame of a child link is `T_parent_joint . motion(q)` seen from its parent: a rotation by q
radians about the joint's axis, or a translation by q along it, both through the joint's origin.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
import math

import numpy as np
from scipy.spatial.transform import Rotation

from posefield.errors import ArticulationError
from posefield.geometry.poses import as_rigid

KINDS = ('fixed', 'revolute', 'continuous', 'prismatic')
UNIT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Link:
    """A rigid body.

    Attributes:
        name: unique among the links.
        parts: indices of the parts that move with it; a massless link has none.
    """

    name: str
    parts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Joint:
    """What holds a child link to its parent.

    Attributes:
        name: unique among the joints.
        kind: one of `KINDS`.
        parent, child: names of links.
        T_parent_joint: (4, 4), the child's frame in the parent's at position 0.
        axis_3: unit vector in the child's (joint's) frame.
        lower, upper: limits in radians or units of length; of a continuous joint, the range seen;
            0 and 0 for a fixed one.
    """

    name: str
    kind: str
    parent: str
    child: str
    T_parent_joint: np.ndarray
    axis_3: np.ndarray
    lower: float = 0.0
    upper: float = 0.0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ArticulationError(
                f'The kind of joint {self.name!r} must be one of {", ".join(KINDS)}, '
                f'found {self.kind!r}.'
            )
        T = as_rigid(self.T_parent_joint, f'T_parent_joint of joint {self.name!r}')
        axis = np.asarray(self.axis_3, dtype=np.float64)
        if axis.shape != (3,) or not abs(np.linalg.norm(axis) - 1.0) <= UNIT_TOLERANCE:
            raise ArticulationError(
                f'The axis of joint {self.name!r} must be a unit vector of 3 numbers, '
                f'found {axis.tolist()}.'
            )
        if not (math.isfinite(self.lower) and math.isfinite(self.upper)) or (
            self.lower > self.upper
        ):
            raise ArticulationError(
                f'The limits of joint {self.name!r} must be finite and in order, '
                f'found {self.lower} and {self.upper}.'
            )
        object.__setattr__(self, 'T_parent_joint', T)
        object.__setattr__(self, 'axis_3', axis)

    @property
    def movable(self) -> bool:
        return self.kind != 'fixed'

    def motion(self, positions: np.ndarray) -> np.ndarray:
        """Return the motions (..., 4, 4) of positions (...)."""
        positions = np.asarray(positions, dtype=np.float64)
        T = np.broadcast_to(np.eye(4), (*positions.shape, 4, 4)).copy()
        if self.kind == 'prismatic':
            T[..., :3, 3] = positions[..., None] * self.axis_3
        elif self.kind != 'fixed':
            rotvecs = positions[..., None] * self.axis_3
            R = Rotation.from_rotvec(rotvecs.reshape(-1, 3)).as_matrix()
            T[..., :3, :3] = R.reshape(*positions.shape, 3, 3)
        return T


@dataclass(frozen=True)
class Skeleton:
    """A tree of links.

    Attributes:
        links: in any order; results follow it.
        joints: one for every link but the root; results follow the order of the movable ones.
        root: name of the link that has no parent.
    """

    links: tuple[Link, ...]
    joints: tuple[Joint, ...]
    root: str

    def __post_init__(self):
        _check_names('link', [link.name for link in self.links])
        _check_names('joint', [joint.name for joint in self.joints])
        _check_tree(self)

    @property
    def movable(self) -> tuple[str, ...]:
        """Names of the joints that have a position, in the order of `joints`."""
        return tuple(joint.name for joint in self.joints if joint.movable)

    def link_index(self, name: str) -> int:
        for index, link in enumerate(self.links):
            if link.name == name:
                return index
        raise ArticulationError(f'There is no link named {name!r} among {self._listed("links")}.')

    def joint(self, name: str) -> Joint:
        for joint in self.joints:
            if joint.name == name:
                return joint
        raise ArticulationError(
            f'There is no joint named {name!r} among {self._listed("joints")}.'
        )

    def joint_above(self, link: str) -> Joint | None:
        """Return the joint whose child is this link; None for the root."""
        return next((joint for joint in self.joints if joint.child == link), None)

    def subtree(self, link: str) -> tuple[str, ...]:
        """Return the names of a link and all links below it, parents before children."""
        found = [self.links[self.link_index(link)].name]
        for name in found:
            found.extend(joint.child for joint in self.joints if joint.parent == name)
        return tuple(found)

    def positions_array(self, positions: Mapping[str, float] | np.ndarray) -> np.ndarray:
        """Return positions (..., D) in the order of `movable`; joints a dict leaves out are at 0.

        Raises:
            ArticulationError: for a name that no movable joint has, a wrong count, or a NaN.
        """
        names = self.movable
        if isinstance(positions, Mapping):
            unknown = sorted(set(positions) - set(names))
            if unknown:
                raise ArticulationError(
                    f'There is no movable joint named {unknown[0]!r} among {", ".join(names)}.'
                )
            positions = np.array([float(positions.get(name, 0.0)) for name in names])
        positions = np.asarray(positions, dtype=np.float64)
        if positions.ndim < 1 or positions.shape[-1] != len(names):
            raise ArticulationError(
                f'Joint positions must hold {len(names)} numbers ({", ".join(names)}), '
                f'found shape {positions.shape}.'
            )
        if not np.isfinite(positions).all():
            raise ArticulationError('Joint positions must be finite, found NaN or infinity.')
        return positions

    def forward(
        self,
        positions: Mapping[str, float] | np.ndarray,
        T_frame_root: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the poses T_frame_link (..., L, 4, 4) of all links.

        Args:
            positions: by joint name, or (..., D) in the order of `movable`.
            T_frame_root: (4, 4) or (..., 4, 4) pose of the root; the identity when None.
        """
        positions = self.positions_array(positions)
        column = {name: i for i, name in enumerate(self.movable)}
        index = {link.name: i for i, link in enumerate(self.links)}
        T = np.empty((*positions.shape[:-1], len(self.links), 4, 4))
        T[..., index[self.root], :, :] = np.eye(4) if T_frame_root is None else T_frame_root
        for joint in self.ordered_joints():
            T_joint = T[..., index[joint.parent], :, :] @ joint.T_parent_joint
            if joint.movable:
                T_joint = T_joint @ joint.motion(positions[..., column[joint.name]])
            T[..., index[joint.child], :, :] = T_joint
        return T

    def ordered_joints(self) -> tuple[Joint, ...]:
        """Return the joints, each after those above it."""
        above = {joint.child: joint for joint in self.joints}
        return tuple(above[name] for name in self.subtree(self.root) if name in above)

    def scaled(self, factor: float) -> 'Skeleton':
        """Return the skeleton with all lengths times a factor."""
        return replace(self, joints=tuple(_scaled_joint(joint, factor) for joint in self.joints))

    def to_dict(self) -> dict:
        """Return what structure.json holds."""
        return {
            'root': self.root,
            'links': [{'name': link.name, 'parts': list(link.parts)} for link in self.links],
            'joints': [
                {
                    'name': joint.name,
                    'kind': joint.kind,
                    'parent': joint.parent,
                    'child': joint.child,
                    'T_parent_joint': joint.T_parent_joint.tolist(),
                    'axis': joint.axis_3.tolist(),
                    'lower': joint.lower,
                    'upper': joint.upper,
                }
                for joint in self.joints
            ],
        }

    @classmethod
    def from_dict(cls, content: dict) -> 'Skeleton':
        """Return the skeleton of `to_dict`.

        Raises:
            ArticulationError: for missing or wrong entries.
        """
        try:
            links = tuple(
                Link(str(entry['name']), tuple(int(part) for part in entry['parts']))
                for entry in content['links']
            )
            joints = tuple(_joint_from_dict(entry) for entry in content['joints'])
            root = str(content['root'])
        except (KeyError, TypeError, ValueError) as error:
            raise ArticulationError(
                f'A skeleton must have root, links and joints with all their entries, '
                f'found a fault at {error}.'
            ) from error
        return cls(links, joints, root)

    def _listed(self, what: str) -> str:
        return ', '.join(item.name for item in getattr(self, what)) or 'none'


def _scaled_joint(joint: Joint, factor: float) -> Joint:
    T = joint.T_parent_joint.copy()
    T[:3, 3] *= factor
    of_limits = factor if joint.kind == 'prismatic' else 1.0
    return replace(
        joint, T_parent_joint=T, lower=joint.lower * of_limits, upper=joint.upper * of_limits
    )


def _joint_from_dict(entry: dict) -> Joint:
    return Joint(
        str(entry['name']),
        str(entry['kind']),
        str(entry['parent']),
        str(entry['child']),
        np.array(entry['T_parent_joint'], dtype=np.float64),
        np.array(entry['axis'], dtype=np.float64),
        float(entry['lower']),
        float(entry['upper']),
    )


def _check_names(what: str, names: Iterable[str]) -> None:
    seen = set()
    for name in names:
        if not name:
            raise ArticulationError(f'Every {what} must have a name, found an empty one.')
        if name in seen:
            raise ArticulationError(f'Names must be unique, found two {what}s named {name!r}.')
        seen.add(name)


def _check_tree(skeleton: Skeleton) -> None:
    names = {link.name for link in skeleton.links}
    if skeleton.root not in names:
        raise ArticulationError(f'The root must be a link, found {skeleton.root!r}.')
    children = set()
    for joint in skeleton.joints:
        for end in (joint.parent, joint.child):
            if end not in names:
                raise ArticulationError(
                    f'Joint {joint.name!r} must hold links that exist, found {end!r}.'
                )
        if joint.child in children or joint.child == skeleton.root:
            raise ArticulationError(
                f'A link must have one parent and the root none, found another for '
                f'{joint.child!r} in joint {joint.name!r}.'
            )
        children.add(joint.child)
    reached = set(skeleton.subtree(skeleton.root))
    if reached != names:
        raise ArticulationError(
            f'All links must hang from the root {skeleton.root!r}, found '
            f'{sorted(names - reached)[0]!r} that does not.'
        )
