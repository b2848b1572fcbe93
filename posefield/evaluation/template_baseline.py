"""Learning the template baseline on a recording, and measuring it like a model."""

from dataclasses import dataclass
import threading
from typing import Any

import numpy as np
import torch

from posefield.articulation.regression import part_points
from posefield.data.articulation_truth import ArticulationTruth
from posefield.data.multiview import Multiview
from posefield.data.rig_camera import OBJECT, UNRELIABLE, RigCamera
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.data.visual_hull import normalise
from posefield.evaluation.articulation_baselines import image_figures
from posefield.evaluation.articulation_metrics import (
    JointTrack,
    a10_errors,
    score_joints,
    summarise_joints,
)
from posefield.evaluation.articulation_truth_scores import true_tracks
from posefield.evaluation.gaussian_template import (
    BONES,
    Painter,
    TemplatePhotos,
    TemplatePoses,
    TemplateStage,
    Views,
    heat_maps,
)
from posefield.evaluation.image_metrics import Lpips
from posefield.evaluation.photo_comparison import Photos
from posefield.geometry.camera import Camera
from posefield.geometry.images import resize
from posefield.learning.loop import run_stage
from posefield.learning.progress import Progress

SCHMIDTKE = 'Schmidtke*'
# The photos are this wide and high, whatever they were: a camera of the same view, squeezed.
SIDE = 64


@dataclass(frozen=True)
class TemplateRender:
    """What the painter shows; it knows no parts."""

    colours_HW3: np.ndarray
    opacities_HW: np.ndarray
    parts_HW: np.ndarray


class LearnedTemplate:
    """The template after learning."""

    def __init__(
        self,
        poses: TemplatePoses,
        painter: Painter,
        normalisation: SceneNormalisation,
        frames: tuple[int, ...],
    ):
        self._painter, self._poses = painter, poses
        self._normalisation, self.frames = normalisation, frames
        with torch.no_grad():
            rows = torch.arange(len(frames), device=poses.deviations_P3.device)
            self.T_scene_part_FP44 = poses(rows)
            self._ends = poses.anchors(self.T_scene_part_FP44).double().cpu().numpy()
        # Two deviations out is where a Gaussian ends, as far as it ends anywhere.
        deviations = poses.deviations_P3.cpu().numpy()
        self._part_points = part_points(2.0 * deviations)

    @torch.no_grad()
    def render(self, rig: RigCamera, T_scene_part_P44: torch.Tensor) -> TemplateRender:
        """Return what a camera sees of the parts at some pose."""
        small = rig.camera.resized(SIDE, SIDE)
        views = _views([(small, rig.T_world_cam)], self._normalisation, T_scene_part_P44.device)
        maps = heat_maps(views, T_scene_part_P44[None], self._poses.deviations_P3, (SIDE, SIDE))
        colours, logits = self._painter(maps)
        size = (rig.camera.width, rig.camera.height)
        levels = (0.5 * colours[0] + 0.5).permute(1, 2, 0).cpu().numpy()
        opacities = torch.sigmoid(logits[0]).cpu().numpy()
        return TemplateRender(
            resize(np.ascontiguousarray(levels), *size),
            resize(opacities, *size),
            np.full(size[::-1], -1),
        )

    def show(self, rig: RigCamera, frame: int) -> TemplateRender:
        """Return what a camera sees in a learned frame."""
        return self.render(rig, self.T_scene_part_FP44[self.frames.index(frame)])

    def points_FK3(self) -> np.ndarray:
        """Return the 7 points of all parts in all learned frames, world."""
        T = self.T_scene_part_FP44.double().cpu().numpy()
        points = np.einsum('fpij,pkj->fpki', T[..., :3, :3], self._part_points)
        points = points + T[..., None, :3, 3]
        return self._normalisation.point_to_world(points).reshape(len(T), -1, 3)

    def tracks(self) -> list[JointTrack]:
        """Return its 17 joints: points, without an axis of their own."""
        centres = self._normalisation.point_to_world(self._ends.mean(axis=2))
        up = np.tile([0.0, 0.0, 1.0], (len(centres), 1))
        still = np.zeros(len(centres))
        names = [(name, parent) for name, parent, *_ in BONES if parent]
        return [
            JointTrack(name, 'revolute', parent, name, centres[:, index], up, still)
            for index, (name, parent) in enumerate(names)
        ]


def learn_template(
    multiview: Multiview,
    *,
    seed: int,
    device: torch.device,
    seconds: float | None = None,
    steps: int | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> LearnedTemplate:
    """Learn poses and painter from the training views, for some seconds or steps."""
    normalisation = normalise(multiview)
    frames = multiview.training_frames
    generator = torch.Generator().manual_seed(seed)
    poses = TemplatePoses(len(frames), generator=generator).to(device)
    painter = Painter(multiview.background_level, generator=generator).to(device)
    stage = TemplateStage(poses, painter, _read_photos(multiview, normalisation, device))
    run_stage(
        stage,
        generator=torch.Generator(device).manual_seed(seed),
        steps=steps,
        deadline_s=seconds,
        progress=progress,
        stop=stop,
    )
    return LearnedTemplate(poses.eval(), painter.eval(), normalisation, frames)


def template_figures(
    template: LearnedTemplate,
    multiview: Multiview,
    truth: ArticulationTruth | None,
    photos: Photos,
    lpips: Lpips | None = None,
) -> dict[str, Any]:
    """Return the figures of the template.

    Its joints have no axes, and it has no joints that could drive it to held-out poses.
    """
    figures: dict[str, Any] = {'joint_error': None, 'a10_joint_error': None}
    if truth is not None:
        true = true_tracks(truth, template.frames)
        scores = score_joints(template.tracks(), true, truth.scene_radius)
        figures['joint_error'] = summarise_joints(scores)['joint_error']
        moved = [joint.points_F3 for joint in true if joint.has_moved(truth.scene_radius)]
        if moved:
            targets = np.stack(moved, axis=1)
            a10 = a10_errors(template.points_FK3(), targets, truth.scene_radius)
            figures['a10_joint_error'] = a10['a10_joint_error']
    seen = Photos(photos.views, ())
    return {**figures, **image_figures(multiview, seen, template.show, lpips)}


def _read_photos(
    multiview: Multiview, normalisation: SceneNormalisation, device: torch.device
) -> TemplatePhotos:
    levels, reliable = [], []
    for view in multiview.training_views:
        read = [_small(*multiview.read_masked(view, f)) for f in multiview.training_frames]
        levels.append(np.stack([photo for photo, _ in read]))
        reliable.append(np.stack([known for _, known in read]))
    rigs = [multiview.cameras[view] for view in multiview.training_views]
    cameras = [(rig.camera.resized(SIDE, SIDE), rig.T_world_cam) for rig in rigs]
    return TemplatePhotos(
        torch.from_numpy(np.stack(levels)).to(device),
        torch.from_numpy(np.stack(reliable)).to(device),
        _views(cameras, normalisation, device),
    )


def _small(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return colours and mask (4, SIDE, SIDE) as uint8, and where they are known."""
    cover = (mask == OBJECT).astype(np.float32)
    both = np.concatenate([image.astype(np.float32), cover[..., None]], axis=-1)
    small = np.round(255 * resize(both, SIDE, SIDE)).astype(np.uint8)
    unknown = resize((mask == UNRELIABLE).astype(np.float32), SIDE, SIDE) > 0
    return small.transpose(2, 0, 1), ~unknown


def _views(
    cameras: list[tuple[Camera, np.ndarray]],
    normalisation: SceneNormalisation,
    device: torch.device,
) -> Views:
    poses = normalisation.pose_to_scene(np.stack([T for _, T in cameras]))
    intrinsics = [[c.fx, c.fy, c.cx, c.cy] for c, _ in cameras]
    return Views(
        torch.tensor(np.linalg.inv(poses), dtype=torch.float32, device=device),
        torch.tensor(intrinsics, dtype=torch.float32, device=device),
    )
