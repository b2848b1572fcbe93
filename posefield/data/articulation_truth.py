"""What a simulated articulated object really did: its links, joints and their poses, as a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posefield import __version__
from posefield.errors import BundleError, DataError
from posefield.geometry.poses import as_rigid
from posefield.storage import read_json, write_json

TRUTH_FILE = 'truth.json'
TRUTH_SCHEMA = 1
TRUTH_KIND = 'articulation_truth'
JOINT_KINDS = ('fixed', 'revolute', 'continuous', 'prismatic')


@dataclass(frozen=True, eq=False)
class TrueJoint:
    """A joint as its URDF has it.

    Attributes:
        name: unique among the joints.
        kind: one of `JOINT_KINDS`.
        parent, child: names of links.
        axis_3: unit vector in the parent link's frame; of a fixed joint zeros.
        T_parent_joint: (4, 4), the child's frame in the parent's at position 0.
        lower, upper: limits in radians or metres; both 0 where the URDF has none.
    """

    name: str
    kind: str
    parent: str
    child: str
    axis_3: np.ndarray
    T_parent_joint: np.ndarray
    lower: float = 0.0
    upper: float = 0.0

    def __post_init__(self):
        if self.kind not in JOINT_KINDS:
            raise DataError(
                f'The kind of joint {self.name} must be one of {", ".join(JOINT_KINDS)}, found '
                f'{self.kind!r}.'
            )
        pose = as_rigid(self.T_parent_joint, f'The pose T_parent_joint of joint {self.name}')
        axis_3 = np.asarray(self.axis_3, dtype=np.float64)
        length = 1.0 if self.can_move else 0.0
        if axis_3.shape != (3,) or not abs(np.linalg.norm(axis_3) - length) < 1e-6:
            raise DataError(
                f'The axis_3 of the {self.kind} joint {self.name} must have length {length:g}, '
                f'found {axis_3.tolist()}.'
            )
        object.__setattr__(self, 'T_parent_joint', pose)
        object.__setattr__(self, 'axis_3', axis_3)

    @property
    def can_move(self) -> bool:
        """Whether it has a position."""
        return self.kind != 'fixed'


@dataclass(frozen=True, eq=False)
class ArticulationTruth:
    """The motion of F frames of an object with L links, of which J joints can move.

    Attributes:
        links: names; `segmentation` images hold the index of a link plus 1.
        joints: all of them, fixed ones too.
        T_world_link_FL44: (F, L, 4, 4), the frame of every link.
        positions_FJ: (F, J) in radians or metres, of `movable` in their order.
        scene_radius: largest distance of the object from `scene_centre` over all frames; world
            units.
        scene_centre: (3,), the middle of the axis-aligned box that the object swept.

    Raises:
        DataError: for shapes that do not fit, a joint of an unknown link, or no radius.
    """

    links: tuple[str, ...]
    joints: tuple[TrueJoint, ...]
    T_world_link_FL44: np.ndarray
    positions_FJ: np.ndarray
    scene_radius: float
    scene_centre: np.ndarray

    def __post_init__(self):
        frames = len(self.T_world_link_FL44)
        for name, expected in (
            ('T_world_link_FL44', (frames, len(self.links), 4, 4)),
            ('positions_FJ', (frames, len(self.movable))),
            ('scene_centre', (3,)),
        ):
            found = getattr(self, name).shape
            if found != expected:
                raise DataError(f'The {name} of a truth has shape {found}, expected {expected}.')
        for joint in self.joints:
            for link in (joint.parent, joint.child):
                if link not in self.links:
                    raise DataError(f'The joint {joint.name} names the unknown link {link}.')
        if not self.scene_radius > 0:
            raise DataError(f'The scene_radius must be positive, found {self.scene_radius}.')

    @property
    def num_frames(self) -> int:
        """The number F of frames."""
        return len(self.T_world_link_FL44)

    @property
    def movable(self) -> tuple[TrueJoint, ...]:
        """The joints that can move, in the order of `positions_FJ`."""
        return tuple(joint for joint in self.joints if joint.can_move)

    def poses_of(self, link: str) -> np.ndarray:
        """Return T_world_link (F, 4, 4) of one link.

        Raises:
            DataError: when there is no such link.
        """
        if link not in self.links:
            raise DataError(f'There is no link {link!r}, found {", ".join(self.links)}.')
        return self.T_world_link_FL44[:, self.links.index(link)]

    def positions_of(self, joint: TrueJoint) -> np.ndarray:
        """Return the positions (F,) of a joint that can move, in radians or metres."""
        return self.positions_FJ[:, self.movable.index(joint)]

    def axis_line(self, joint: TrueJoint, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a point and the unit direction, (3,) each, of a joint's axis in the world.

        The point is the joint's origin; the direction of a fixed joint is zeros.
        """
        T_world_parent = self.poses_of(joint.parent)[frame]
        point = T_world_parent[:3, :3] @ joint.T_parent_joint[:3, 3] + T_world_parent[:3, 3]
        return point, T_world_parent[:3, :3] @ joint.axis_3

    def save(self, path: Path | str) -> None:
        """Write the truth as JSON."""
        write_json(
            path,
            {
                'schema': TRUTH_SCHEMA,
                'kind': TRUTH_KIND,
                'posefield_version': __version__,
                'scene_radius': float(self.scene_radius),
                'scene_centre': self.scene_centre.tolist(),
                'links': list(self.links),
                'joints': [_joint_to_json(joint) for joint in self.joints],
                'positions': self.positions_FJ.tolist(),
                'T_world_link': self.T_world_link_FL44.tolist(),
            },
        )

    @classmethod
    def load(cls, path: Path | str) -> 'ArticulationTruth':
        """Read the truth of a recording: its folder, or the file itself.

        Raises:
            BundleError: when the file is missing, damaged or of a newer version.
            DataError, PoseError: when what it says cannot be.
        """
        path = Path(path)
        if path.is_dir():
            path = path / TRUTH_FILE
        about = read_json(path, schema=TRUTH_SCHEMA, kind=TRUTH_KIND)
        try:
            joints = tuple(_joint_from_json(entry) for entry in about['joints'])
            movable = sum(joint.can_move for joint in joints)
            return cls(
                links=tuple(about['links']),
                joints=joints,
                T_world_link_FL44=np.array(about['T_world_link'], dtype=np.float64),
                positions_FJ=np.array(about['positions'], dtype=np.float64).reshape(-1, movable),
                scene_radius=float(about['scene_radius']),
                scene_centre=np.array(about['scene_centre'], dtype=np.float64),
            )
        except KeyError as error:
            raise BundleError(f'The file {path} has no key {error}.') from error
        except (TypeError, ValueError) as error:
            raise BundleError(
                f'The file {path} has a value of the wrong type: {error}.'
            ) from error


def _joint_to_json(joint: TrueJoint) -> dict[str, Any]:
    return {
        'name': joint.name,
        'kind': joint.kind,
        'parent': joint.parent,
        'child': joint.child,
        'axis': joint.axis_3.tolist(),
        'T_parent_joint': joint.T_parent_joint.tolist(),
        'lower': joint.lower,
        'upper': joint.upper,
    }


def _joint_from_json(entry: Mapping[str, Any]) -> TrueJoint:
    return TrueJoint(
        name=entry['name'],
        kind=entry['kind'],
        parent=entry['parent'],
        child=entry['child'],
        axis_3=np.array(entry['axis'], dtype=np.float64),
        T_parent_joint=np.array(entry['T_parent_joint'], dtype=np.float64),
        lower=float(entry['lower']),
        upper=float(entry['upper']),
    )
