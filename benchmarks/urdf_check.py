"""Whether other programs move an exported URDF as the model moves."""

from pathlib import Path

import numpy as np
import pybullet
from scipy.spatial.transform import Rotation
import yourdfpy

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.urdf import UrdfExport

POSES, SEED = 10, 0


def kinematics_errors(model: ArticulatedModel, folder: Path) -> dict[str, float]:
    """Export a model and return the largest difference of any entry of a part's pose.

    Poses are those of `repose` with the root at the origin, at random joint positions within the
    limits; lengths are in world units.

    Returns:
        by the name of the program that loaded the URDF.
    """
    export = model.export_urdf(folder)
    generator = np.random.default_rng(SEED)
    joints = [model.structure.joint(name) for name in model.structure.movable]
    poses = [
        {joint.name: float(generator.uniform(joint.lower, joint.upper)) for joint in joints}
        for _ in range(POSES)
    ]
    expected = [model.repose(positions, np.eye(4)) for positions in poses]
    T_link_part = model.found.T_link_part_P44
    links = [model.structure.links[index].name for index in model.found.link_of_part]
    programs = {'yourdfpy': _in_yourdfpy, 'pybullet': _in_pybullet}
    return {
        name: max(
            float(np.abs(T_links @ T_link_part - wanted).max())
            for T_links, wanted in zip(
                moved(export, model.structure.root, links, poses), expected, strict=True
            )
        )
        for name, moved in programs.items()
    }


def _in_yourdfpy(
    export: UrdfExport, root: str, links: list[str], poses: list[dict[str, float]]
) -> list[np.ndarray]:
    """Return T_root_link (P, 4, 4) of the links of all parts, for every pose."""
    robot, found = yourdfpy.URDF.load(str(export.path)), []
    for positions in poses:
        robot.update_cfg({export.joints[name]: value for name, value in positions.items()})
        found.append(
            np.stack(
                [robot.get_transform(export.links[name], export.links[root]) for name in links]
            )
        )
    return found


def _in_pybullet(
    export: UrdfExport, root: str, links: list[str], poses: list[dict[str, float]]
) -> list[np.ndarray]:
    """See `_in_yourdfpy`."""
    client, found = pybullet.connect(pybullet.DIRECT), []
    try:
        body = pybullet.loadURDF(str(export.path), useFixedBase=True, physicsClientId=client)
        count = pybullet.getNumJoints(body, physicsClientId=client)
        about = [pybullet.getJointInfo(body, i, physicsClientId=client) for i in range(count)]
        joint_index = {info[1].decode(): info[0] for info in about}
        link_index = {info[12].decode(): info[0] for info in about}
        for positions in poses:
            for name, value in positions.items():
                pybullet.resetJointState(
                    body, joint_index[export.joints[name]], value, physicsClientId=client
                )
            found.append(
                np.stack(
                    [
                        np.eye(4)
                        if name == root
                        else _link_pose(body, link_index[export.links[name]], client)
                        for name in links
                    ]
                )
            )
    finally:
        pybullet.disconnect(client)
    return found


def _link_pose(body: int, index: int, client: int) -> np.ndarray:
    state = pybullet.getLinkState(body, index, computeForwardKinematics=1, physicsClientId=client)
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat(state[5]).as_matrix()
    T[:3, 3] = state[4]
    return T
