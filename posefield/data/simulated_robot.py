"""An articulated object in PyBullet: its links and joints, their poses, and pictures of it.

The base stands still at the origin of the world; z is up; metres.  Worker processes import this:
nothing in it may need torch, which takes seconds to import.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import re
from xml.etree import ElementTree

import cv2
import numpy as np

from posefield.data.tiny_renderer import STANDARD_OUTPUT, GlView, captured, import_pybullet
from posefield.errors import DataError

# Samples per pixel and axis; odd, so that "more than half" favours neither side of an edge.
SUPERSAMPLING = 3
# A warm sun, high at one side; TinyRenderer lights the shaded side with the ambient share alone.
SUN = {
    'lightDirection': [0.6, -0.4, 1.2],
    'lightColor': [1.0, 0.93, 0.8],
    'lightAmbientCoeff': 0.55,
    'lightDiffuseCoeff': 0.45,
    'lightSpecularCoeff': 0.0,
    'shadow': 0,
}
# Pictures of links are 8 bit: 0 is the background, a link its index plus 1.
MOST_LINKS = 255
# The bits of PyBullet's picture of links that hold the body; above them is the link's index + 1.
BODY_BITS = 24
LOADABLE_KINDS = ('fixed', 'revolute', 'continuous', 'prismatic')


@dataclass(frozen=True, eq=False)
class RobotJoint:
    """A joint as PyBullet loaded it.

    Attributes:
        name: of the joint.
        kind: `fixed`, `revolute`, `continuous` or `prismatic`; one whose limits leave it no room
            is fixed.
        parent, child: indices of links, 0 for the base.
        axis_3: unit vector in the child's frame; zeros for a fixed joint.
        lower, upper: limits in radians or metres; 0 and 0 where there are none.
        max_speed: rad/s or m/s; 0 where the URDF has none.
        stretch: what PyBullet multiplies a position by: the length of a sliding joint's axis.
    """

    name: str
    kind: str
    parent: int
    child: int
    axis_3: np.ndarray
    lower: float
    upper: float
    max_speed: float
    stretch: float = 1.0

    @property
    def can_move(self) -> bool:
        """Whether it has a position."""
        return self.kind != 'fixed'


@dataclass(frozen=True)
class VisualShape:
    """One shape that is drawn, as `pybullet.getVisualShapeData` tells it.

    Attributes:
        link: index, 0 for the base.
        geometry: PyBullet's number of its kind.
        size: radius, edges or length and radius, as PyBullet has them; a mesh's scale.
        mesh_file: empty unless it is a mesh.
        position_3, quat_xyzw: its frame in the link's frame.
    """

    link: int
    geometry: int
    size: tuple[float, float, float]
    mesh_file: str
    position_3: tuple[float, float, float]
    quat_xyzw: tuple[float, float, float, float]


class SimulatedRobot:
    """A URDF in PyBullet with a fixed base; use it as a context manager.

    Joints are put at positions, without forces: shapes may pass through each other.

    Args:
        urdf: a file, or the name of one that comes with PyBullet, such as
            `kuka_iiwa/model.urdf`.

    Attributes (in the block):
        links: names, the base first.
        joints: all of them, in PyBullet's order; joint i holds link i + 1.

    Raises:
        DataError: when PyBullet is not installed, when the file is missing or cannot be loaded,
            when it has a joint of another kind than `LOADABLE_KINDS`, or too many links.
    """

    def __init__(self, urdf: Path | str):
        self._bullet = import_pybullet()
        self._path = find_urdf(urdf)
        self._client: int | None = None
        self.links: tuple[str, ...] = ()
        self.joints: tuple[RobotJoint, ...] = ()

    def __enter__(self) -> 'SimulatedRobot':
        self._client = self._bullet.connect(self._bullet.DIRECT)
        try:
            self._load()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._bullet.disconnect(self._client)
        self._client = None

    @property
    def movable(self) -> tuple[RobotJoint, ...]:
        """The joints that can move."""
        return tuple(joint for joint in self.joints if joint.can_move)

    def link_poses(self, positions_J: Sequence[float]) -> np.ndarray:
        """Put the movable joints at positions and return T_world_link (L, 4, 4)."""
        for joint, position in zip(self.movable, positions_J, strict=True):
            self._bullet.resetJointState(
                self._body,
                joint.child - 1,
                position / joint.stretch,
                physicsClientId=self._client,
            )
        poses = [self._T_world_base]
        for link in range(len(self.links) - 1):
            state = self._bullet.getLinkState(
                self._body, link, computeForwardKinematics=True, physicsClientId=self._client
            )
            poses.append(self._matrix(state[4], state[5]))
        return np.stack(poses)

    def render(self, positions_J: Sequence[float], view: GlView) -> tuple[np.ndarray, np.ndarray]:
        """Draw the robot on white.

        Args:
            positions_J: of the movable joints.
            view: with `SUPERSAMPLING` samples per pixel and axis.

        Returns:
            image (H, W, 3) uint8 RGB, blended with white at the edges, and labels (H, W) uint8:
            the index of the link that covers most of the object's share of a pixel plus 1, and 0
            where the object covers half of the pixel or less.
        """
        self.link_poses(positions_J)
        _, _, rgba, _, bodies = self._bullet.getCameraImage(
            view.width,
            view.height,
            viewMatrix=view.view_matrix,
            projectionMatrix=view.projection_matrix,
            renderer=self._bullet.ER_TINY_RENDERER,
            flags=self._bullet.ER_SEGMENTATION_MASK_OBJECT_AND_LINKINDEX,
            physicsClientId=self._client,
            **SUN,
        )
        rgba = np.asarray(rgba, dtype=np.uint8).reshape(view.height, view.width, 4)
        bodies = np.asarray(bodies, dtype=np.int64).reshape(view.height, view.width)
        labels = np.where(bodies < 0, 0, (bodies >> BODY_BITS) + 1)
        size = (view.width // SUPERSAMPLING, view.height // SUPERSAMPLING)
        image = cv2.resize(rgba[..., :3], size, interpolation=cv2.INTER_AREA)
        return image, _most_common(labels)

    def visual_shapes(self) -> tuple[VisualShape, ...]:
        """Return what is drawn of all links."""
        shapes = self._bullet.getVisualShapeData(self._body, physicsClientId=self._client)
        return tuple(
            VisualShape(s[1] + 1, s[2], tuple(s[3]), s[4].decode(), tuple(s[5]), tuple(s[6]))
            for s in shapes
        )

    def _load(self) -> None:
        bullet = self._bullet
        bullet.setAdditionalSearchPath(_bundled_folder(), physicsClientId=self._client)
        with captured(STANDARD_OUTPUT) as printed:
            try:
                self._body = bullet.loadURDF(
                    str(self._path), useFixedBase=True, physicsClientId=self._client
                )
            except bullet.error as error:
                raise DataError(
                    f'PyBullet cannot load {self._path}: {_complaint(printed())}.'
                ) from error
        infos = [
            bullet.getJointInfo(self._body, i, physicsClientId=self._client)
            for i in range(bullet.getNumJoints(self._body, physicsClientId=self._client))
        ]
        base, _ = bullet.getBodyInfo(self._body, physicsClientId=self._client)
        self.links = (base.decode(), *(info[12].decode() for info in infos))
        if len(self.links) >= MOST_LINKS:
            raise DataError(
                f'{self._path} has {len(self.links)} links, expected fewer than {MOST_LINKS}.'
            )
        kinds = _joint_kinds(self._path)
        self.joints = tuple(
            _joint(info, kinds[info[1].decode()], self._T_link_inertia(info[0])) for info in infos
        )
        # PyBullet places the base by its centre of mass.
        placed = bullet.getBasePositionAndOrientation(self._body, physicsClientId=self._client)
        self._T_world_base = self._matrix(*placed) @ np.linalg.inv(self._T_link_inertia(-1))

    def _T_link_inertia(self, link: int) -> np.ndarray:
        """Return the frame (4, 4) of a link's inertia; -1 is the base."""
        known = self._bullet.getDynamicsInfo(self._body, link, physicsClientId=self._client)
        return self._matrix(known[3], known[4])

    def _matrix(self, position_3: Sequence[float], quat_xyzw: Sequence[float]) -> np.ndarray:
        T = np.eye(4)
        T[:3, :3] = np.reshape(self._bullet.getMatrixFromQuaternion(quat_xyzw), (3, 3))
        T[:3, 3] = position_3
        return T


def find_urdf(urdf: Path | str) -> Path:
    """Return the file of a URDF, one's own or one that comes with PyBullet.

    Raises:
        DataError: when there is none.
    """
    own, bundled = Path(urdf), Path(_bundled_folder()) / urdf
    if own.is_file():
        return own.resolve()
    if bundled.is_file():
        return bundled
    raise DataError(
        f'The URDF {urdf} is neither a file nor one that comes with PyBullet, such as '
        'kuka_iiwa/model.urdf.'
    )


def _bundled_folder() -> str:
    import_pybullet()
    import pybullet_data

    return pybullet_data.getDataPath()


def _joint_kinds(path: Path) -> dict[str, str]:
    """Return the type of every joint by name; PyBullet tells no continuous from a revolute one."""
    kinds = {
        joint.get('name', ''): joint.get('type', '')
        for joint in ElementTree.parse(path).getroot().findall('joint')
    }
    for name, kind in kinds.items():
        if kind not in LOADABLE_KINDS:
            raise DataError(
                f'The joint {name} of {path} is of type {kind!r}, expected '
                f'{", ".join(LOADABLE_KINDS)}.'
            )
    return kinds


def _joint(info: Sequence, kind: str, T_link_inertia: np.ndarray) -> RobotJoint:
    """Return a joint from what PyBullet tells, which has the axis in the frame of the inertia."""
    lower, upper = (info[8], info[9]) if info[8] < info[9] else (0.0, 0.0)
    if (kind == 'prismatic' and lower == upper) or (kind == 'revolute' and info[8] == info[9]):
        kind = 'fixed'
    movable = kind != 'fixed'
    length = float(np.linalg.norm(info[13])) if movable else 1.0
    return RobotJoint(
        name=info[1].decode(),
        kind=kind,
        parent=info[16] + 1,
        child=info[0] + 1,
        axis_3=T_link_inertia[:3, :3] @ info[13] / length if movable else np.zeros(3),
        lower=lower if movable and kind != 'continuous' else 0.0,
        upper=upper if movable and kind != 'continuous' else 0.0,
        max_speed=max(info[11], 0.0),
        stretch=length if kind == 'prismatic' else 1.0,
    )


def _most_common(labels: np.ndarray) -> np.ndarray:
    """Return the labels (H, W) uint8 of blocks of samples (H*n, W*n)."""
    n = SUPERSAMPLING
    height, width = labels.shape[0] // n, labels.shape[1] // n
    blocks = labels.reshape(height, n, width, n).transpose(0, 2, 1, 3).reshape(height, width, -1)
    best, most = np.zeros((height, width), np.uint8), np.zeros((height, width), np.int64)
    for label in np.unique(labels[labels > 0]):
        count = (blocks == label).sum(axis=2)
        best[count > most] = label
        most = np.maximum(most, count)
    best[2 * (blocks > 0).sum(axis=2) <= n * n] = 0
    return best


def _complaint(printed: str) -> str:
    """Return what PyBullet said was wrong, in one line."""
    warnings = re.split(r'b3(?:Warning|Error|Printf)\[[^\]]*\]:', printed)
    said = ' '.join(' '.join(warnings).split())
    said = re.sub(r'No inertial data for link.*? inertial frame \S+ ', '', said)
    return said.rstrip('.')[-300:] or 'it does not say why'
