"""A found motion next to the true one: joints, links and the tree."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from posefield.articulation.kinematics import Skeleton
from posefield.data.articulation_truth import ArticulationTruth
from posefield.evaluation.articulation_metrics import (
    JointScore,
    JointTrack,
    a10_errors,
    score_joints,
    summarise_joints,
)
from posefield.evaluation.link_agreement import (
    LinkGroups,
    found_groups,
    group_links,
    overlap_counts,
    part_iou,
    tree_agreement,
)


@dataclass(frozen=True)
class FoundMotion:
    """What a model says about the frames that it learned, in world units.

    Attributes:
        skeleton: links and joints.
        frames: F indices in the video.
        positions_FD: of the movable joints.
        T_world_root_F44: pose of the root.
        T_world_part_FP44: poses of the parts as learned, before any skeleton.
        part_points_P73: the centre and six points at 3/4 of the radii of every part, in its
            frame.
    """

    skeleton: Skeleton
    frames: tuple[int, ...]
    positions_FD: np.ndarray
    T_world_root_F44: np.ndarray
    T_world_part_FP44: np.ndarray
    part_points_P73: np.ndarray

    @property
    def points_FK3(self) -> np.ndarray:
        """The 7 points of all parts in all frames, world."""
        R, t = self.T_world_part_FP44[..., :3, :3], self.T_world_part_FP44[..., None, :3, 3]
        points = np.einsum('fpij,pkj->fpki', R, self.part_points_P73) + t
        return points.reshape(len(self.frames), -1, 3)


def found_tracks(motion: FoundMotion) -> list[JointTrack]:
    """Return the movable joints of a model: the centre is the origin of the child's frame."""
    skeleton = motion.skeleton
    T_world_link = skeleton.forward(motion.positions_FD, motion.T_world_root_F44)
    column = {name: index for index, name in enumerate(skeleton.movable)}
    tracks = []
    for name in skeleton.movable:
        joint = skeleton.joint(name)
        T_F44 = T_world_link[:, skeleton.link_index(joint.child)]
        tracks.append(
            JointTrack(
                name,
                joint.kind,
                joint.parent,
                joint.child,
                T_F44[:, :3, 3],
                T_F44[:, :3, :3] @ joint.axis_3,
                motion.positions_FD[:, column[name]],
            )
        )
    return tracks


def true_tracks(truth: ArticulationTruth, frames: Iterable[int]) -> list[JointTrack]:
    """Return the true joints that can move, over the given frames."""
    frames = list(frames)
    tracks = []
    for joint in truth.movable:
        lines = [truth.axis_line(joint, frame) for frame in frames]
        tracks.append(
            JointTrack(
                joint.name,
                joint.kind,
                joint.parent,
                joint.child,
                np.array([point for point, _ in lines]),
                np.array([direction for _, direction in lines]),
                truth.positions_of(joint)[frames],
            )
        )
    return tracks


def true_groups(truth: ArticulationTruth, tracks: Sequence[JointTrack]) -> LinkGroups:
    """Return the true links, with those put together that did not move against each other."""
    moved = {track.name for track in tracks if track.has_moved(truth.scene_radius)}
    return group_links(
        truth.links, [(joint.parent, joint.child, joint.name in moved) for joint in truth.joints]
    )


class LinkScorer:
    """Adds up how found links cover true ones, image by image."""

    def __init__(self, skeleton: Skeleton, truth: ArticulationTruth, frames: Sequence[int]):
        """Take both trees; true joints that did not move in these frames part no links."""
        tracks = true_tracks(truth, frames)
        self.found, self.true = found_groups(skeleton), true_groups(truth, tracks)
        self.images = 0
        parts = max((part for link in skeleton.links for part in link.parts), default=-1) + 1
        # One more entry each, which is where the background's index of -1 leads.
        self._group_of_part = np.full(parts + 1, -1)
        for link in skeleton.links:
            self._group_of_part[list(link.parts)] = self.found.index_of(link.name)
        self._group_of_link = np.array([self.true.index_of(name) for name in truth.links] + [-1])
        shape = (len(self.found.members), len(self.true.members))
        self.counts_GH = np.zeros((shape[0] + 1, shape[1] + 1), dtype=np.int64)

    def add(self, parts_HW: np.ndarray, links_HW: np.ndarray) -> None:
        """Count an image: rendered parts and true links, -1 is the background in both."""
        self.images += 1
        self.counts_GH += overlap_counts(
            self._group_of_part[parts_HW],
            self._group_of_link[links_HW],
            (len(self.found.members), len(self.true.members)),
        )

    def summary(self) -> dict[str, float | int | None]:
        """Return part_iou, tree_agreement and the numbers of links that move."""
        return {
            'part_iou': part_iou(self.counts_GH),
            'tree_agreement': tree_agreement(self.found, self.true, self.counts_GH),
            'links': len(self.found.members),
            'links_true': len(self.true.members),
        }


def score_motion(
    motion: FoundMotion, truth: ArticulationTruth
) -> tuple[dict[str, float | int | None], list[JointScore]]:
    """Return the figures of the joints, and the score of every true joint that moved."""
    true = true_tracks(truth, motion.frames)
    scores = score_joints(found_tracks(motion), true, truth.scene_radius)
    targets = [joint.points_F3 for joint in true if joint.has_moved(truth.scene_radius)]
    targets_FJ3 = np.stack(targets, axis=1) if targets else np.zeros((len(motion.frames), 0, 3))
    a10 = a10_errors(motion.points_FK3, targets_FJ3, truth.scene_radius)
    return {**summarise_joints(scores), **a10}, scores
