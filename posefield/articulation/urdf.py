"""URDF files: a skeleton with meshes, collision bodies and masses, as robots are described.

Everything in a URDF is in metres, kilograms and radians.  The frames of its links and joints are
those of the skeleton, so its forward kinematics is `Skeleton.forward`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
import math
from pathlib import Path
import re
from typing import Literal
from xml.etree import ElementTree

import numpy as np

from posefield import __version__
from posefield.articulation.inertia import Inertial, link_inertial
from posefield.articulation.kinematics import Joint, Skeleton
from posefield.articulation.link_geometry import LinkGeometry
from posefield.articulation.meshes import (
    coloured_obj,
    link_mesh,
    plain_obj,
    unit_sphere_mesh,
)
from posefield.errors import ArticulationError
from posefield.storage import atomic_folder, write_json

EXPORT_SCHEMA = 1
EXPORT_KIND = 'urdf_export'
INDEX_NAME = 'export.json'
URDF_NAME = 'robot.urdf'
MESH_FOLDER = 'meshes'
SPHERE = 'unit_sphere'
COLLISIONS = ('ellipsoids', 'hull')
LIMITS = ('max_effort', 'max_force', 'max_turn_rate', 'max_slide_rate')


@dataclass(frozen=True)
class UrdfConfig:
    """How a URDF is made.

    Attributes:
        cells: of marching cubes, along the longest side of a link.
        max_faces: of the visual mesh of a link.
        collision: one body for each ellipsoid, or one convex hull for the visual mesh.
        density: kg / m^3, of all links.
        max_effort, max_force: limit of rotating joints, N m, and of sliding ones, N.
        max_turn_rate, max_slide_rate: rad / s and m / s.
    """

    cells: int = 40
    max_faces: int = 4000
    collision: Literal['ellipsoids', 'hull'] = 'ellipsoids'
    density: float = 1000.0
    max_effort: float = 100.0
    max_force: float = 1000.0
    max_turn_rate: float = math.pi
    max_slide_rate: float = 1.0

    def __post_init__(self):
        if self.collision not in COLLISIONS:
            raise ArticulationError(
                f'collision must be one of {", ".join(COLLISIONS)}, found {self.collision!r}.'
            )
        for name in ('cells', 'max_faces', 'density', *LIMITS):
            if not getattr(self, name) > 0:
                raise ArticulationError(f'{name} must be positive, found {getattr(self, name)!r}.')


@dataclass(frozen=True)
class UrdfExport:
    """A URDF that was written.

    Attributes:
        path: of the .urdf file.
        links: name in the URDF of each link of the skeleton.
        joints: the same of each joint.
    """

    path: Path
    links: dict[str, str]
    joints: dict[str, str]


@dataclass(frozen=True)
class UrdfNames:
    """What links and joints are called in a URDF.

    Attributes:
        links: name in the URDF of each link of the skeleton.
        joints: the same of each joint.
    """

    links: dict[str, str]
    joints: dict[str, str]


def urdf_names(skeleton: Skeleton) -> UrdfNames:
    """Return the names that a skeleton's links and joints get in its URDF, always the same."""
    # Names that are unique over links and joints together can be converted to SDFormat too.
    taken: set[str] = set()
    links = unique_names([link.name for link in skeleton.links], taken)
    return UrdfNames(links, unique_names([joint.name for joint in skeleton.joints], taken))


def write_urdf(
    skeleton: Skeleton,
    geometries: Mapping[str, LinkGeometry],
    out: str | Path,
    *,
    name: str,
    metres: float = 1.0,
    config: UrdfConfig | None = None,
) -> UrdfExport:
    """Make a folder with `robot.urdf`, its meshes and an index; all of it or nothing.

    Args:
        skeleton: links and joints.
        geometries: of every link, by its name.
        out: the folder; one that was there before must be such an export too.
        name: of the robot.
        metres: that one unit of length of skeleton and geometries is long.
        config: how; the defaults when None.

    Raises:
        ArticulationError: when a link has no geometry, or a surface that is not finite.
        BundleError: when the folder cannot be written or holds something else.
    """
    with atomic_folder(out) as folder:
        made = write_urdf_files(
            skeleton, geometries, folder, name=name, metres=metres, config=config
        )
        index = {
            'schema': EXPORT_SCHEMA,
            'kind': EXPORT_KIND,
            'posefield_version': __version__,
            'urdf': URDF_NAME,
            'links': made.links,
            'joints': made.joints,
        }
        write_json(folder / INDEX_NAME, index)
    return UrdfExport(Path(out).resolve() / URDF_NAME, made.links, made.joints)


def write_urdf_files(
    skeleton: Skeleton,
    geometries: Mapping[str, LinkGeometry],
    folder: Path,
    *,
    name: str,
    metres: float = 1.0,
    config: UrdfConfig | None = None,
) -> UrdfExport:
    """Write `robot.urdf` and `meshes/` into a folder that exists; see `write_urdf`."""
    config = config or UrdfConfig()
    absent = [link.name for link in skeleton.links if link.name not in geometries]
    if absent:
        raise ArticulationError(
            f'Every link must have a geometry, found none of {absent[0]!r} among '
            f'{", ".join(geometries) or "none"}.'
        )
    skeleton = skeleton.scaled(metres)
    names = urdf_names(skeleton)
    links, joints = names.links, names.joints
    (folder / MESH_FOLDER).mkdir()
    robot = ElementTree.Element('robot', name=sanitised(name))
    for link in skeleton.links:
        element = ElementTree.SubElement(robot, 'link', name=links[link.name])
        _add_body(element, geometries[link.name].scaled(metres), folder / MESH_FOLDER, config)
    if config.collision == 'ellipsoids':
        (folder / MESH_FOLDER / f'{SPHERE}.obj').write_bytes(plain_obj(unit_sphere_mesh()))
    for joint in skeleton.joints:
        _add_joint(robot, joint, joints[joint.name], links, config)
    ElementTree.indent(robot)
    text = ElementTree.tostring(robot, encoding='unicode', xml_declaration=False)
    (folder / URDF_NAME).write_text(f'<?xml version="1.0"?>\n{text}\n')
    return UrdfExport(folder / URDF_NAME, links, joints)


def robot_description(urdf: str | Path) -> str:
    """Return the text of a URDF with the places of its meshes as `file://` addresses.

    RViz and other nodes get the text alone and could not find meshes that are named relative to
    the file.
    """
    urdf = Path(urdf).resolve()
    return re.sub(
        f'filename="(?={MESH_FOLDER}/)', f'filename="{urdf.parent.as_uri()}/', urdf.read_text()
    )


def sanitised(name: str) -> str:
    """Return a name of letters, digits and `_` that begins with a letter."""
    name = re.sub(r'[^A-Za-z0-9_]+', '_', name).strip('_')
    return name if re.match('[A-Za-z]', name) else f'n{name}'


def unique_names(names: Iterable[str], taken: set[str]) -> dict[str, str]:
    """Return sanitised names that differ from each other and from those taken; adds to these."""
    unique = {}
    for name in names:
        base = sanitised(name)
        candidate, number = base, 2
        while candidate in taken:
            candidate, number = f'{base}_{number}', number + 1
        taken.add(candidate)
        unique[name] = candidate
    return unique


def rpy(R: np.ndarray) -> np.ndarray:
    """Return roll, pitch, yaw with R = Rz(yaw) Ry(pitch) Rx(roll), exact at +-90 deg pitch too."""
    yaw = math.atan2(R[1, 0], R[0, 0])
    s, c = math.sin(yaw), math.cos(yaw)
    pitch = math.atan2(-R[2, 0], c * R[0, 0] + s * R[1, 0])
    roll = math.atan2(s * R[0, 2] - c * R[1, 2], c * R[1, 1] - s * R[0, 1])
    return np.array([roll, pitch, yaw])


def _add_body(
    link: ElementTree.Element, geometry: LinkGeometry, meshes: Path, config: UrdfConfig
) -> None:
    _add_inertial(link, link_inertial(geometry.ellipsoids, config.density))
    if not geometry.ellipsoids:
        return
    name = link.get('name')
    mesh = link_mesh(name, geometry, config.cells, config.max_faces)
    for file, content in coloured_obj(mesh, name).items():
        (meshes / file).write_bytes(content)
    visual = ElementTree.SubElement(link, 'visual')
    _add_origin(visual, np.eye(4))
    _add_mesh(visual, name)
    # White leaves the colours of the mesh as they are where a viewer multiplies the two.
    material = ElementTree.SubElement(visual, 'material', name=f'{name}_material')
    ElementTree.SubElement(material, 'color', rgba='1 1 1 1')
    if config.collision == 'hull':
        (meshes / f'{name}_hull.obj').write_bytes(plain_obj(mesh.to_trimesh().convex_hull))
        collision = ElementTree.SubElement(link, 'collision')
        _add_origin(collision, np.eye(4))
        _add_mesh(collision, f'{name}_hull')
        return
    for ellipsoid in geometry.ellipsoids:
        collision = ElementTree.SubElement(link, 'collision')
        _add_origin(collision, ellipsoid.T_link_part)
        _add_mesh(collision, SPHERE, ellipsoid.radii_3)


def _add_inertial(link: ElementTree.Element, inertial: Inertial) -> None:
    element = ElementTree.SubElement(link, 'inertial')
    T = np.eye(4)
    T[:3, 3] = inertial.centre_3
    _add_origin(element, T)
    ElementTree.SubElement(element, 'mass', value=_numbers(inertial.mass))
    entries = {
        f'i{"xyz"[a]}{"xyz"[b]}': _numbers(inertial.inertia_33[a, b])
        for a in range(3)
        for b in range(a, 3)
    }
    ElementTree.SubElement(element, 'inertia', entries)


def _add_joint(
    robot: ElementTree.Element,
    joint: Joint,
    name: str,
    links: Mapping[str, str],
    config: UrdfConfig,
) -> None:
    element = ElementTree.SubElement(robot, 'joint', name=name, type=joint.kind)
    _add_origin(element, joint.T_parent_joint)
    ElementTree.SubElement(element, 'parent', link=links[joint.parent])
    ElementTree.SubElement(element, 'child', link=links[joint.child])
    if not joint.movable:
        return
    ElementTree.SubElement(element, 'axis', xyz=_numbers(*joint.axis_3))
    slides = joint.kind == 'prismatic'
    limits = {
        'effort': _numbers(config.max_force if slides else config.max_effort),
        'velocity': _numbers(config.max_slide_rate if slides else config.max_turn_rate),
    }
    if joint.kind != 'continuous':
        limits |= {'lower': _numbers(joint.lower), 'upper': _numbers(joint.upper)}
    ElementTree.SubElement(element, 'limit', limits)


def _add_origin(element: ElementTree.Element, T: np.ndarray) -> None:
    angles = _numbers(*rpy(T[:3, :3]))
    ElementTree.SubElement(element, 'origin', xyz=_numbers(*T[:3, 3]), rpy=angles)


def _add_mesh(element: ElementTree.Element, name: str, scale_3: np.ndarray | None = None) -> None:
    geometry = ElementTree.SubElement(element, 'geometry')
    mesh = ElementTree.SubElement(geometry, 'mesh', filename=f'{MESH_FOLDER}/{name}.obj')
    if scale_3 is not None:
        mesh.set('scale', _numbers(*scale_3))


def _numbers(*values: float) -> str:
    return ' '.join(f'{float(value) + 0.0:.12g}' for value in values)
