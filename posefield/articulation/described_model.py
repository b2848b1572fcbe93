"""A learned model under the names that its URDF gives to links and joints, and its poses.

Other programs see links and joints only through the URDF, so everything that goes out to them or
comes in from them uses its names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.kinematics import Joint, Link, Skeleton
from posefield.articulation.urdf import URDF_NAME, UrdfNames, robot_description, urdf_names
from posefield.errors import BundleError


@dataclass(frozen=True, eq=False)
class ModelPose:
    """Where a model is.

    Attributes:
        positions_D: of the movable joints.
        T_world_root: (4, 4).
    """

    positions_D: np.ndarray
    T_world_root: np.ndarray


@dataclass(frozen=True, eq=False)
class DescribedModel:
    """A model with its URDF.

    Attributes:
        folder: of the model.
        model: itself, with the names of its structure.
        skeleton: links and joints under the names of the URDF, in the order of the model's.
        description: the text of the URDF, with absolute places of its meshes.
    """

    folder: Path
    model: ArticulatedModel
    skeleton: Skeleton
    description: str

    @classmethod
    def load(cls, folder: str | Path, device: str = 'cpu') -> 'DescribedModel':
        """Read a model with its URDF.

        Raises:
            BundleError: when it is damaged, unsafe, of a newer version, or has no URDF.
            LearningError: when there is no such device.
        """
        folder = Path(folder)
        model = ArticulatedModel.load(folder, device)
        try:
            description = robot_description(folder / URDF_NAME)
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(
                f'The model {folder} has no {URDF_NAME} that can be read; save the model again.'
            ) from error
        skeleton = renamed(model.structure, urdf_names(model.structure))
        return cls(folder, model, skeleton, description)

    @property
    def learned_pose(self) -> ModelPose:
        """The pose in the first learned frame."""
        first = self.model.frames[0]
        return ModelPose(self.model.joint_positions(first), self.model.root_pose(first))

    def link_poses(self, pose: ModelPose) -> np.ndarray:
        """Return T_world_link (L, 4, 4) in the order of the skeleton's links."""
        return self.skeleton.forward(pose.positions_D, pose.T_world_root)

    def part_poses(self, pose: ModelPose) -> np.ndarray:
        """Return T_world_part (P, 4, 4)."""
        return self.model.found.part_poses(pose.positions_D, pose.T_world_root)


def renamed(skeleton: Skeleton, names: UrdfNames) -> Skeleton:
    """Return a skeleton whose links and joints have the names of its URDF."""
    links: Sequence[Link] = [replace(link, name=names.links[link.name]) for link in skeleton.links]
    joints: Sequence[Joint] = [
        replace(
            joint,
            name=names.joints[joint.name],
            parent=names.links[joint.parent],
            child=names.links[joint.child],
        )
        for joint in skeleton.joints
    ]
    return Skeleton(tuple(links), tuple(joints), names.links[skeleton.root])
