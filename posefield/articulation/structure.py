"""From parts in motion to links and joints."""

from dataclasses import asdict, dataclass, replace

import numpy as np

from posefield.articulation.kinematics import Skeleton
from posefield.articulation.merging import MergeLevel, merge
from posefield.articulation.parts import PartMotion
from posefield.articulation.rigid_bodies import Bodies, bodies_of_parts, rotation_lengths
from posefield.articulation.skeleton_building import build_skeleton
from posefield.articulation.tree_search import search_tree, steadiest
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.errors import ArticulationError

MAX_SEARCH_FRAMES = 120


@dataclass(frozen=True)
class StructureConfig:
    """How joints are found.

    Attributes:
        root_part: the part whose link becomes the root; the one that moves least when None.
        max_search_frames: frames, evenly over all, that the search for the tree uses.
    """

    root_part: int | None = None
    max_search_frames: int = MAX_SEARCH_FRAMES

    def __post_init__(self):
        if self.max_search_frames < 3:
            raise ArticulationError(
                f'max_search_frames must be at least 3, found {self.max_search_frames}.'
            )


@dataclass(frozen=True)
class JointReport:
    """How sure a joint is.

    Attributes:
        name: of the joint.
        kind: of it.
        evidence: what freezing it would cost, in units of the noise of one coordinate in every
            frame; chance would give about 1.
        fixed_point_residual: how far, root mean square, the joint's centre is from staying in
            both links; scene units.
        candidate_residual: the same of the midpoint of the nearest candidates of the parts.
    """

    name: str
    kind: str
    evidence: float
    fixed_point_residual: float
    candidate_residual: float


@dataclass(frozen=True)
class StructureReport:
    """What was decided.

    Attributes:
        noise: standard deviation of a part's position, scene units.
        levels: merges in the order made; the last one is the runner-up that was not made, if its
            motion is not below 1.
        joints: of every movable joint.
    """

    noise: float
    levels: tuple[MergeLevel, ...]
    joints: tuple[JointReport, ...]

    def to_dict(self) -> dict:
        """Return what JSON holds."""
        return asdict(self)


@dataclass(frozen=True)
class Structure:
    """Links, joints and how they moved, in the frame and units of the scene (or of the world).

    Attributes:
        skeleton: links and joints; all positions are 0 in the first frame.
        T_link_part_P44: pose of every part in its link.
        positions_FD: of the movable joints in every learned frame.
        T_scene_root_F44: pose of the root link in every learned frame.
        report: how it was found.
    """

    skeleton: Skeleton
    T_link_part_P44: np.ndarray
    positions_FD: np.ndarray
    T_scene_root_F44: np.ndarray
    report: StructureReport

    @property
    def link_of_part(self) -> np.ndarray:
        """Index of the link of every part (P,)."""
        links = np.zeros(len(self.T_link_part_P44), dtype=int)
        for index, link in enumerate(self.skeleton.links):
            links[list(link.parts)] = index
        return links

    def part_poses(
        self, positions: np.ndarray | dict[str, float], T_scene_root: np.ndarray
    ) -> np.ndarray:
        """Return the poses T_scene_part (..., P, 4, 4) at positions (..., D) and root poses."""
        T_scene_link = self.skeleton.forward(positions, T_scene_root)
        return T_scene_link[..., self.link_of_part, :, :] @ self.T_link_part_P44

    def to_world(self, normalisation: SceneNormalisation) -> 'Structure':
        """Return all of it in world units and the world frame."""
        factor = 1.0 / normalisation.scale
        T_link_part = self.T_link_part_P44.copy()
        T_link_part[:, :3, 3] *= factor
        slides = [self.skeleton.joint(name).kind == 'prismatic' for name in self.skeleton.movable]
        return replace(
            self,
            skeleton=self.skeleton.scaled(factor),
            T_link_part_P44=T_link_part,
            positions_FD=self.positions_FD * np.where(slides, factor, 1.0),
            T_scene_root_F44=normalisation.pose_to_world(self.T_scene_root_F44),
        )


def find_structure(motion: PartMotion, config: StructureConfig | None = None) -> Structure:
    """Return the links and joints that explain how parts move.

    Raises:
        ArticulationError: for poses that are not finite, no part, fewer than 3 frames, or a root
            part that does not exist.
    """
    config = config or StructureConfig()
    _check(motion, config)
    T_FP44, lengths = motion.T_scene_part_FP44, rotation_lengths(motion.radii_P3)
    merged = merge(bodies_of_parts(_some_frames(motion, config.max_search_frames)))
    root = _root(merged.bodies, config.root_part)
    found = search_tree(merged, root, T_FP44, lengths)
    built = build_skeleton(found.fit.tree, found.fit.squares_FP)
    return Structure(
        built.skeleton,
        built.T_link_part_P44,
        built.positions_FD,
        built.T_scene_root_F44,
        StructureReport(float(np.sqrt(merged.noise)), merged.levels, ()),
    )


def _check(motion: PartMotion, config: StructureConfig) -> None:
    frames, parts = motion.T_scene_part_FP44.shape[:2]
    if parts < 1 or frames < 3:
        raise ArticulationError(
            f'Joints are found from at least 1 part in 3 frames, found {parts} in {frames}.'
        )
    if not np.isfinite(motion.T_scene_part_FP44).all() or not np.isfinite(motion.radii_P3).all():
        bad = ~np.isfinite(motion.T_scene_part_FP44).all(axis=(0, 2, 3))
        raise ArticulationError(
            f'The poses and radii of parts must be finite, found others in '
            f'{int(bad.sum())} of {parts} parts.'
        )
    if config.root_part is not None and not 0 <= config.root_part < parts:
        raise ArticulationError(
            f'root_part must be one of the {parts} parts, found {config.root_part}.'
        )


def _some_frames(motion: PartMotion, most: int) -> PartMotion:
    """Return the motion in at most so many frames, evenly over all."""
    frames = len(motion.frames_F)
    if frames <= most:
        return motion
    chosen = np.linspace(0, frames - 1, most).round().astype(int)
    return replace(
        motion,
        T_scene_part_FP44=motion.T_scene_part_FP44[chosen],
        frames_F=tuple(motion.frames_F[index] for index in chosen),
    )


def _root(bodies: Bodies, part: int | None) -> int:
    if part is None:
        return steadiest(bodies)
    return next(body for body, members in enumerate(bodies.members) if part in members)
