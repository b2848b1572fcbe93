"""A moving thing that was learned: its parts, joints, surface and colours.

Everything that goes in and out is in world units; inside all is in the scene frame.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posefield.articulation.kinematics import Skeleton
from posefield.articulation.link_geometry import LinkGeometry, LinkSurface, link_geometries
from posefield.articulation.part_group import PartGroup
from posefield.articulation.parts import PartMotion
from posefield.articulation.shell_rendering import render_image
from posefield.articulation.structure import Structure
from posefield.articulation.surface import Surface
from posefield.articulation.tracking import PoseTracker, TrackedPose, TrackedView
from posefield.articulation.urdf import UrdfConfig, UrdfExport, write_urdf
from posefield.data.multiview import BACKGROUND_LEVELS
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.geometry.camera import Camera
from posefield.geometry.poses import invert


@dataclass(frozen=True)
class ArticulatedRender:
    """What a camera sees.

    Attributes:
        colours_HW3: RGB in [0, 1] over the background.
        opacities_HW: in [0, 1].
        depths_HW: along the optical axis, world units; 0 where nothing is seen.
        parts_HW: index of the part that is seen; -1 where none is.
    """

    colours_HW3: np.ndarray
    opacities_HW: np.ndarray
    depths_HW: np.ndarray
    parts_HW: np.ndarray


@dataclass(frozen=True, eq=False)
class ArticulatedModel:
    """Parts, joints and surface; `learn_articulation` makes one, `load_model` reads one.

    Attributes:
        info: provenance and figures for people: preset, seed, seconds, counts.
        normalisation: between the user's world and the scene frame.
        motion: the parts in the learned frames, scene frame.
        found: links, joints and their positions in these frames, world units.
        surface: around the parts, scene frame.
        background: `white` or `black`, as in the images that were learned.
    """

    info: Mapping[str, Any]
    normalisation: SceneNormalisation
    motion: PartMotion
    found: Structure
    surface: Surface
    background: str

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = 'cpu') -> 'ArticulatedModel':
        """Read a model; see `model_bundle.load_model`."""
        from posefield.articulation.model_bundle import load_model

        return load_model(folder, device)

    def save(self, folder: str | Path) -> None:
        """Write the model; see `model_bundle.save_model`."""
        from posefield.articulation.model_bundle import save_model

        save_model(self, folder)

    @property
    def structure(self) -> Skeleton:
        """The links and joints, world units."""
        return self.found.skeleton

    @property
    def frames(self) -> tuple[int, ...]:
        """Indices of the frames of the video that were learned."""
        return self.motion.frames_F

    @property
    def radii_P3(self) -> np.ndarray:
        """Semi-axes of the parts' ellipsoids, world units."""
        return self.motion.radii_P3 / self.normalisation.scale

    def joint_positions(self, frame: int) -> np.ndarray:
        """Return the positions (D,) of `structure.movable` in a learned frame."""
        return self.found.positions_FD[self.motion.frame_index(frame)]

    def root_pose(self, frame: int) -> np.ndarray:
        """Return T_world_root (4, 4) in a learned frame."""
        return self.found.T_scene_root_F44[self.motion.frame_index(frame)]

    def part_poses(self, frame: int) -> np.ndarray:
        """Return T_world_part (P, 4, 4) in a learned frame, as learned without joints."""
        poses = self.motion.T_scene_part_FP44[self.motion.frame_index(frame)]
        return self.normalisation.pose_to_world(poses)

    def repose(
        self,
        joint_positions: Mapping[str, float] | np.ndarray,
        T_world_root: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return T_world_part (P, 4, 4) at joint positions.

        Args:
            joint_positions: by name (a joint left out is at 0), or (D,).
            T_world_root: pose of the root link; that of the first learned frame by default.

        Raises:
            ArticulationError: for unknown names or a wrong number of positions.
        """
        if T_world_root is None:
            T_world_root = self.root_pose(self.frames[0])
        return self.found.part_poses(joint_positions, T_world_root)

    def render(
        self, camera: Camera, T_world_cam: np.ndarray, T_world_part_P44: np.ndarray
    ) -> ArticulatedRender:
        """Render what a camera sees.

        Args:
            camera: a lens's distortion is left out, as in the images that were learned.
            T_world_cam: (4, 4).
            T_world_part_P44: poses of all parts, from `part_poses` or `repose`.
        """
        image = render_image(
            self.surface,
            camera.pinhole(),
            self.normalisation.pose_to_scene(T_world_cam),
            self.normalisation.pose_to_scene(T_world_part_P44),
            BACKGROUND_LEVELS[self.background],
        )
        return ArticulatedRender(
            image.colours_HW3.cpu().numpy(),
            image.opacities_HW.cpu().numpy(),
            image.depths_HW.cpu().numpy() / self.normalisation.scale,
            image.parts_HW.cpu().numpy(),
        )

    @cached_property
    def tracker(self) -> PoseTracker:
        """What `track` needs; making it takes seconds, once."""
        return PoseTracker(self)

    def track(
        self,
        views: Sequence[TrackedView],
        previous: TrackedPose | None = None,
        stamp_s: float | None = None,
    ) -> TrackedPose:
        """Return the pose in images of one moment; see `PoseTracker.track`."""
        return self.tracker.track(views, previous, stamp_s)

    def geometries(self) -> dict[str, LinkGeometry]:
        """Return the geometry of every link in its frame, world units."""
        return link_geometries(
            self.structure,
            self.radii_P3,
            self.found.T_link_part_P44,
            self.motion.colours_P3,
            self._group_surface,
        )

    def export_urdf(
        self, folder: str | Path, name: str = 'robot', config: UrdfConfig | None = None
    ) -> UrdfExport:
        """Write `robot.urdf` and its meshes; see `write_urdf`."""
        return write_urdf(self.structure, self.geometries(), folder, name=name, config=config)

    def _group_surface(self, parts: tuple[int, ...]) -> LinkSurface:
        """Return the surface of parts that move as one, in the frame of the first, world units."""
        scale = self.normalisation.scale
        T_link_part_M44 = self.found.T_link_part_P44[list(parts)].copy()
        T_first_part_M44 = invert(T_link_part_M44[0]) @ T_link_part_M44
        T_first_part_M44[:, :3, 3] *= scale
        group = PartGroup(self.surface, parts, T_first_part_M44)
        return LinkSurface(
            lambda points_N3: group.look(points_N3 * scale).distances_N / scale,
            lambda points_N3: group.look(points_N3 * scale).colours_N3.clip(0.0, 1.0),
            (self.surface.residual + self.surface.inflation) / scale,
        )
