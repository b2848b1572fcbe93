"""From parts in motion to links and joints."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from posefield.articulation.joint_reports import JointReport, report_joints
from posefield.articulation.kinematics import Skeleton
from posefield.articulation.merging import MergeLevel, merge
from posefield.articulation.parts import PartMotion
from posefield.articulation.rigid_bodies import bodies_of_parts, rotation_lengths
from posefield.articulation.skeleton_building import UNMOVED, build_skeleton
from posefield.articulation.tree_fitting import Tree, TreeFit, fit_tree, freezing_costs
from posefield.articulation.tree_search import Observed, coordinate_noise, search_tree
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.errors import ArticulationError
from posefield.geometry.poses import invert

MAX_SEARCH_FRAMES = 120
LEAST_NOISE = 1e-4
# Of a fit to poses that the tree explains already.
POLISHING_ITERATIONS = 8


@dataclass(frozen=True)
class StructureConfig:
    """How joints are found.

    Attributes:
        root_part: the part whose link becomes the root; the one that moves least when None.
        max_search_frames: frames, evenly over all, that the search for the tree uses.
        least_noise: standard deviation of a part's position, at least, scene units; less is taken
            for no motion.
    """

    root_part: int | None = None
    max_search_frames: int = MAX_SEARCH_FRAMES
    least_noise: float = LEAST_NOISE

    def __post_init__(self):
        if self.max_search_frames < 3:
            raise ArticulationError(
                f'max_search_frames must be at least 3, found {self.max_search_frames}.'
            )
        if not self.least_noise > 0:
            raise ArticulationError(f'least_noise must be positive, found {self.least_noise}.')


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


@dataclass(frozen=True)
class ProposedTree:
    """What the motion of parts alone suggests.

    Attributes:
        tree: in all frames.
        levels: see `StructureReport`.
    """

    tree: Tree
    levels: tuple[MergeLevel, ...]


def find_structure(motion: PartMotion, config: StructureConfig | None = None) -> Structure:
    """Return the links and joints that explain how parts move.

    Raises:
        ArticulationError: for poses that are not finite, no part, fewer than 3 frames, or a root
            part that does not exist.
    """
    return structure_of(propose_tree(motion, config), motion)


def propose_tree(motion: PartMotion, config: StructureConfig | None = None) -> ProposedTree:
    """Return the tree of joints that explains how parts move.

    Raises:
        ArticulationError: as `find_structure`.
    """
    config = config or StructureConfig()
    _check(motion, config)
    chosen = _search_frames(motion, config.max_search_frames)
    observed = _observed(motion, chosen, config)
    bodies, levels = merge(observed.parts, config.least_noise)
    found = search_tree(observed, bodies)
    return ProposedTree(_in_all_frames(found, motion, chosen).tree, levels)


def structure_of(proposed: ProposedTree, motion: PartMotion) -> Structure:
    """Return a tree as a structure, fitted to parts whose motion it explains already.

    Joints that have not moved stay: motion says nothing of them.
    """
    lengths_P3 = rotation_lengths(motion.radii_P3)
    seen = motion.T_scene_part_FP44, lengths_P3
    unmoved_L = np.abs(proposed.tree.positions_FL).max(axis=0) < UNMOVED
    held = (np.flatnonzero(unmoved_L[1:]) + 1).tolist()
    fit = fit_tree(proposed.tree, *seen, POLISHING_ITERATIONS, held)
    fit = replace(fit, tree=_with_joints_as_in(fit.tree, proposed.tree, held))
    built = build_skeleton(fit.tree, fit.squares_FP)
    evidence_L, _ = freezing_costs(fit.tree, *seen)
    joints = report_joints(built, fit.tree, evidence_L, bodies_of_parts(motion), motion.radii_P3)
    return Structure(
        built.skeleton,
        built.T_link_part_P44,
        built.positions_FD,
        built.T_scene_root_F44,
        StructureReport(float(np.sqrt(coordinate_noise(fit))), proposed.levels, joints),
    )


def _with_joints_as_in(tree: Tree, before: Tree, links: Sequence[int]) -> Tree:
    """Return a tree with joints at 0 where they were in the first part that each carries."""
    T_joint, T_part = tree.T_parent_joint_L44.copy(), tree.T_link_part_P44.copy()
    for link in links:
        parts = np.flatnonzero(tree.link_of_part == link)
        if not len(parts):
            continue
        shift = T_part[parts[0]] @ invert(before.T_link_part_P44[parts[0]])
        T_joint[link] = T_joint[link] @ shift
        T_part[parts] = invert(shift) @ T_part[parts]
        below = [child for child, parent in enumerate(tree.parents) if parent == link]
        T_joint[below] = invert(shift) @ T_joint[below]
    return replace(tree, T_parent_joint_L44=T_joint, T_link_part_P44=T_part)


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


def _search_frames(motion: PartMotion, most: int) -> np.ndarray:
    """Return the indices of at most so many frames, evenly over all."""
    frames = len(motion.frames_F)
    return np.linspace(0, frames - 1, min(frames, most)).round().astype(int)


def _observed(motion: PartMotion, chosen: np.ndarray, config: StructureConfig) -> Observed:
    some = replace(
        motion,
        T_scene_part_FP44=motion.T_scene_part_FP44[chosen],
        frames_F=tuple(motion.frames_F[index] for index in chosen),
    )
    return Observed(
        bodies_of_parts(some),
        some.T_scene_part_FP44,
        rotation_lengths(motion.radii_P3),
        config.root_part,
        config.least_noise,
    )


def _in_all_frames(fit: TreeFit, motion: PartMotion, chosen: np.ndarray) -> TreeFit:
    """Return the tree fitted to all frames, started between those that it was found in."""
    frames = len(motion.frames_F)
    if frames == len(chosen):
        return fit
    everyone = np.arange(frames)
    positions = [np.interp(everyone, chosen, column) for column in fit.tree.positions_FL.T]
    nearest = np.abs(everyone[:, None] - chosen).argmin(axis=1)
    tree = replace(
        fit.tree,
        positions_FL=np.stack(positions, axis=1),
        T_scene_root_F44=fit.tree.T_scene_root_F44[nearest],
    )
    return fit_tree(tree, motion.T_scene_part_FP44, rotation_lengths(motion.radii_P3))
