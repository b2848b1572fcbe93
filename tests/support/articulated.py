"""A made-up articulated thing: every kind of joint, odd names, links of several parts."""

import numpy as np
from scipy.spatial.transform import Rotation

from posefield.articulation.kinematics import Joint, Link, Skeleton
from posefield.articulation.link_geometry import LinkGeometry, link_geometries

RADII_P3 = np.array(
    [[0.3, 0.2, 0.1], [0.1, 0.1, 0.3], [0.1, 0.1, 0.3], [0.08, 0.12, 0.3], [0.05, 0.05, 0.1]]
)
COLOURS_P3 = np.array([[0.2, 0.2, 0.2], [1, 0.5, 0], [1, 0.4, 0], [0.1, 0.8, 0.2], [0.2, 0.2, 1]])


def pose(rotvec_3, translation_3) -> np.ndarray:
    """Return a (4, 4) transform."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(rotvec_3).as_matrix()
    T[:3, 3] = translation_3
    return T


def arm() -> Skeleton:
    """A base of two parts, an arm, a ball joint, a forearm and a gripper that slides."""
    diagonal = np.array([1.0, 2.0, 0.5]) / np.linalg.norm([1.0, 2.0, 0.5])
    links = (
        Link('base', (0, 1)),
        Link('arm 1', (2,)),
        Link('ball.a'),
        Link('ball.b'),
        Link('arm_1', (3,)),
        Link('gripper', (4,)),
        Link('tip', ()),
    )
    turn = pose([0, 0, 0], [0, 0, 0])
    x, y, z = np.eye(3)
    # Pitched by 90 degrees, where roll and yaw turn about one axis.
    upright = pose([0, np.pi / 2, 0], [0, 0.2, 0.3])
    joints = (
        Joint('1', 'revolute', 'base', 'arm 1', pose([0.5, 1, 2], [0, 0, 0.4]), diagonal, -1, 2),
        Joint('b', 'revolute', 'arm 1', 'ball.a', pose([1, -1, 0], [0.3, 0.1, 0.4]), x, -1, 1),
        Joint('b_y', 'revolute', 'ball.a', 'ball.b', turn, y, -1, 1),
        Joint('b_z', 'continuous', 'ball.b', 'arm_1', turn, z, -4, 4),
        Joint('slide', 'prismatic', 'arm_1', 'gripper', upright, -z, 0, 0.1),
        Joint('tip', 'fixed', 'gripper', 'tip', pose([0.1, 0.2, 0.3], [0, 0, 0.1]), z),
    )
    return Skeleton(links, joints, 'base')


def arm_geometries() -> dict[str, LinkGeometry]:
    """The ellipsoids of `arm`."""
    T_link_part_P44 = np.stack(
        [
            pose([0, 0, 0], [0, 0, 0]),
            pose([0, 0, 0], [0, 0, 0.2]),
            pose([1, 0, 0.5], [0.1, 0.05, 0.2]),
            pose([0, 2, 1], [0, 0.1, 0.1]),
            pose([0, 0, 0], [0, 0, 0.1]),
        ]
    )
    return link_geometries(arm(), RADII_P3, T_link_part_P44, COLOURS_P3)
