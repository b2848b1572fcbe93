"""Which nodes a rig file asks for; launch/multi_camera.launch.py starts them. Needs no ROS."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posefield.data.rig_file import RigFile, RigFileCamera

PACKAGE = 'posefield'


@dataclass(frozen=True)
class RigNode:
    """A node to start.

    Attributes:
        package, executable, name: of the node.
        namespace: below that of the launch file; empty for none.
        parameters: by name.
        parameter_files: read before `parameters`, which win.
        remaps: from and to.
    """

    package: str
    executable: str
    name: str
    namespace: str = ''
    parameters: Mapping[str, Any] = field(default_factory=dict)
    parameter_files: tuple[str, ...] = ()
    remaps: tuple[tuple[str, str], ...] = ()


def rig_nodes(
    rig_path: Path | str,
    rig: RigFile,
    users: Mapping[str, str],
    parameters: Mapping[str, Any] | None = None,
) -> list[RigNode]:
    """Return the drivers of a rig, what tells where its cameras stand, and who sees through them.

    Args:
        rig_path: the rig file.
        rig: what it says.
        users: nodes with several cameras to start (`capture`, `articulation`), by name, with
            their parameter files (empty for none).
        parameters: of all nodes of this package, such as use_sim_time.
    """
    shared = dict(parameters or {})
    nodes = [_driver(camera) for camera in rig.cameras if camera.driver is not None]
    if any(camera.T_world_cam is not None for camera in rig.cameras):
        nodes.append(
            RigNode(PACKAGE, 'rig_frames_node', 'rig_frames', '', {'rig': str(rig_path), **shared})
        )
    for user, file in users.items():
        nodes.append(
            RigNode(
                PACKAGE,
                f'{user}_node',
                user,
                '',
                {
                    'cameras': list(rig.names),
                    'world_frame': rig.world_frame,
                    'image_transport': rig.image_transport,
                    **shared,
                },
                (file,) if file else (),
                tuple(remap for camera in rig.cameras for remap in _remaps(camera)),
            )
        )
    return nodes


def _driver(camera: RigFileCamera) -> RigNode:
    driver = camera.driver
    return RigNode(
        driver.package,
        driver.executable,
        'driver',
        camera.name,
        driver.parameters,
        (),
        tuple(driver.remaps.items()),
    )


def _remaps(camera: RigFileCamera) -> list[tuple[str, str]]:
    """Return where a node finds the topics of a camera that come from elsewhere."""
    return [(f'{camera.name}/{topic}', source) for topic, source in camera.topics.items()]
