"""Measuring an articulated model against the recording it was learned from, and the truth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from posefield.articulation.kinematics import Skeleton
from posefield.articulation.regression import part_points
from posefield.data.articulation_truth import TRUTH_FILE, ArticulationTruth
from posefield.data.multiview import Multiview
from posefield.data.rig_camera import RigCamera
from posefield.data.visual_hull import spread
from posefield.errors import DataError
from posefield.evaluation.articulation_metrics import JointScore
from posefield.evaluation.articulation_truth_scores import (
    FoundMotion,
    LinkScorer,
    score_motion,
)
from posefield.evaluation.image_metrics import ImageScore, Lpips, summarise_images
from posefield.evaluation.photo_comparison import (
    Photos,
    Rendered,
    choose_photos,
    compare_photos,
    read_links,
    segmentation_path,
)
from posefield.evaluation.pose_transfer import PoseTransfer
from posefield.geometry.camera import Camera
from posefield.learning.progress import Progress

PHOTOS_PER_CAMERA = 20
# What is known only with a ground truth.
TRUTH_KEYS = (
    'joint_error',
    'joint_error_static',
    'axis_error_deg',
    'max_axis_error_deg',
    'joint_type_accuracy',
    'joints_moved',
    'joints_identified',
    'a10_joint_error',
    'a10_joint_error_static',
    'part_iou',
    'tree_agreement',
    'links_true',
)


class EvaluatedModel(Protocol):
    """The part of an articulated model that evaluation reads; all lengths in world units."""

    info: Mapping[str, Any]
    structure: Skeleton
    frames: tuple[int, ...]
    radii_P3: np.ndarray

    def joint_positions(self, frame: int) -> np.ndarray:
        """Return the positions (D,) of the movable joints in a learned frame."""

    def root_pose(self, frame: int) -> np.ndarray:
        """Return T_world_root (4, 4) in a learned frame."""

    def part_poses(self, frame: int) -> np.ndarray:
        """Return T_world_part (P, 4, 4) in a learned frame, as learned."""

    def repose(self, joint_positions: np.ndarray, T_world_root: np.ndarray) -> np.ndarray:
        """Return T_world_part (P, 4, 4) at joint positions."""

    def render(
        self, camera: Camera, T_world_cam: np.ndarray, T_world_part_P44: np.ndarray
    ) -> Rendered:
        """Return what a camera sees of parts at these poses."""


@dataclass(frozen=True)
class DrivenParts:
    """Where the parts of a model are taken in a frame that it never saw.

    Attributes:
        T_world_part_P44: their poses.
        residual: how far they are from where they should be, root mean square, world units;
            None where nobody knows where that is.
    """

    T_world_part_P44: np.ndarray
    residual: float | None = None


@dataclass(frozen=True)
class HeldOutPoses:
    """Where the poses of held-out frames come from.

    Attributes:
        source: `truth` (links of the ground truth), `smpl` or `images`.
        drive: gives the parts in a frame.
    """

    source: str
    drive: Callable[[int], DrivenParts]


@dataclass(frozen=True)
class ArticulationEvaluation:
    """What was measured.

    Attributes:
        summary: figures for `--json`.
        joints: one for every true joint that moved.
        views, poses: one for every photo.
        driven: poses of the held-out frames.
        photos: that were compared.
    """

    summary: dict[str, Any]
    joints: Sequence[JointScore]
    views: Sequence[ImageScore]
    poses: Sequence[ImageScore]
    driven: dict[int, DrivenParts]
    photos: Photos


def load_truth(multiview: Multiview) -> ArticulationTruth | None:
    """Return the truth of a recording, where it has one.

    Raises:
        BundleError, DataError: when the file is damaged or of another number of frames.
    """
    if not (multiview.root / TRUTH_FILE).is_file():
        return None
    truth = ArticulationTruth.load(multiview.root)
    if truth.num_frames != multiview.num_frames:
        raise DataError(
            f'The {TRUTH_FILE} of {multiview.root} has {truth.num_frames} frames, expected '
            f'{multiview.num_frames} as in multiview.json.'
        )
    return truth


def found_motion(model: EvaluatedModel) -> FoundMotion:
    """Return what a model says about the frames that it learned."""
    frames = model.frames
    return FoundMotion(
        model.structure,
        frames,
        np.stack([model.joint_positions(frame) for frame in frames]),
        np.stack([model.root_pose(frame) for frame in frames]),
        np.stack([model.part_poses(frame) for frame in frames]),
        part_points(model.radii_P3),
    )


def poses_from_truth(model: EvaluatedModel, truth: ArticulationTruth) -> HeldOutPoses:
    """Return held-out poses in which the model's joints follow the true links."""
    transfer = PoseTransfer(found_motion(model), truth.T_world_link_FL44[list(model.frames)])

    def drive(frame: int) -> DrivenParts:
        pose = transfer.drive(truth.T_world_link_FL44[frame])
        return DrivenParts(model.repose(pose.positions_D, pose.T_world_root), pose.residual)

    return HeldOutPoses('truth', drive)


def evaluate_model(
    model: EvaluatedModel,
    multiview: Multiview,
    truth: ArticulationTruth | None,
    held_out_poses: HeldOutPoses | None,
    progress: Progress,
    *,
    per_camera: int = PHOTOS_PER_CAMERA,
    lpips: Lpips | None = None,
) -> ArticulationEvaluation:
    """Measure a model.

    Args:
        model: learned from `multiview`.
        multiview: with photos held out.
        truth: of a simulated recording.
        held_out_poses: None leaves held-out frames out.
        progress: told after every photo.
        per_camera: photos of each camera, in each set.
        lpips: of `lpips_metric`.
    """
    motion = found_motion(model)
    photos = choose_photos(multiview, motion.frames, per_camera)
    if held_out_poses is None:
        photos = Photos(photos.views, ())
    figures: dict[str, Any] = dict.fromkeys(TRUTH_KEYS)
    joints = []
    counter = _Counter(progress, len(photos.views) + len(photos.poses))
    progress.start('evaluate', True)
    try:
        views = compare_photos(multiview, photos.views, show_learned(model), lpips, counter.watch)
        driven = {frame: held_out_poses.drive(frame) for frame in _frames(photos.poses)}
        show = show_driven(model, driven)
        poses = compare_photos(multiview, photos.poses, show, lpips, counter.watch)
    finally:
        progress.close()
    if truth is not None:
        scored, joints = score_motion(motion, truth)
        figures.update(scored)
        figures.update(score_links(model, multiview, truth, per_camera))
    figures.update(_about(model, joints))
    figures['held_out_views'] = summarise_images(views)
    figures['held_out_poses'] = _with_source(
        summarise_images(poses), held_out_poses, driven, truth.scene_radius if truth else 1.0
    )
    return ArticulationEvaluation(figures, joints, views, poses, driven, photos)


def score_links(
    model: EvaluatedModel, multiview: Multiview, truth: ArticulationTruth, per_camera: int
) -> dict[str, Any]:
    """Return part_iou and tree_agreement, from held-out cameras or else from those for training.

    Where the recording has no segmentation there is nothing to compare with.
    """
    show, scorer = show_learned(model), LinkScorer(model.structure, truth, model.frames)
    for view in multiview.held_out_views or multiview.training_views:
        for frame in spread(model.frames, per_camera):
            if segmentation_path(multiview, view, frame).is_file():
                rendered = show(multiview.cameras[view], frame)
                scorer.add(rendered.parts_HW, read_links(multiview, view, frame))
    return scorer.summary() if scorer.images else {}


class _Counter:
    """Tells the progress how many photos are done."""

    def __init__(self, progress: Progress, total: int):
        self._progress, self._total = progress, total
        self._done = 0

    def watch(self, view: int, frame: int, rendered: Rendered) -> None:
        self._done += 1
        self._progress.update('evaluate', self._done / self._total, {}, None)


def show_learned(model: EvaluatedModel) -> Callable[[RigCamera, int], Rendered]:
    """Return what a model shows of frames that it learned."""
    return lambda rig, frame: model.render(rig.camera, rig.T_world_cam, model.part_poses(frame))


def show_driven(
    model: EvaluatedModel, driven: Mapping[int, DrivenParts]
) -> Callable[[RigCamera, int], Rendered]:
    """Return what a model shows with its parts taken elsewhere."""
    return lambda rig, frame: model.render(
        rig.camera, rig.T_world_cam, driven[frame].T_world_part_P44
    )


def _frames(photos: Sequence[tuple[int, int]]) -> list[int]:
    return sorted({frame for _, frame in photos})


def _about(model: EvaluatedModel, joints: Sequence[JointScore]) -> dict[str, Any]:
    skeleton = model.structure
    kinds = [joint.kind for joint in skeleton.joints]
    return {
        'parts': len(model.radii_P3),
        'joints_found': {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        'seconds_to_learn': model.info.get('seconds_to_learn'),
        'joints': [{**asdict(joint), 'type_is_right': joint.type_is_right} for joint in joints],
    }


def _with_source(
    summary: dict[str, Any] | None,
    source: HeldOutPoses | None,
    driven: Mapping[int, DrivenParts],
    length: float,
) -> dict[str, Any] | None:
    if summary is None or source is None:
        return None
    residuals = [parts.residual for parts in driven.values() if parts.residual is not None]
    residual = float(np.mean(residuals)) / length if residuals else None
    return {**summary, 'poses_from': source.source, 'residual': residual}
