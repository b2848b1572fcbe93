"""Learning a map from a scene: the order of the work and its budget."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import threading
import time

import numpy as np
import torch

from posefield.data.scene import Frame, Scene
from posefield.errors import DataError, LearningError, LearningInterrupted
from posefield.features.extractors import EXTRACTORS, DenseExtractor, load_extractor
from posefield.fields.grid_field import GridField
from posefield.fields.scene_transform import SceneTransform, scene_scale
from posefield.geometry.poses import pose_errors
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.devices import select_device
from posefield.learning.loop import run_stage
from posefield.learning.progress import Progress, QuietProgress
from posefield.learning.randomness import global_randomness
from posefield.learning.stage import Stage
from posefield.relocalization.calibration import calibrate, neutral_calibration
from posefield.relocalization.features_stage import FeaturesStage
from posefield.relocalization.field_stage import FieldStage
from posefield.relocalization.keyframes import Keyframe, render_keyframe
from posefield.relocalization.map_budget import MapBudget, StageLength
from posefield.relocalization.map_bundle import MAP_KIND, Calibration, MapBundle, camera_to_dict
from posefield.relocalization.photos import (
    Photo,
    SizedImage,
    prepare_photos,
    spread_over_poses,
    to_u8,
)
from posefield.relocalization.presets import MappingPreset, preset_named
from posefield.relocalization.reference_view import reference_camera, to_reference_view
from posefield.relocalization.regressors.stage import RegressorStage
from posefield.relocalization.retrieval import GlobalDescriptor
from posefield.relocalization.sparse_map import (
    SparseMap,
    build_sparse_map,
    sparse_index,
    viewing_distance,
)
from posefield.relocalization.triangulation import View
from posefield.relocalization.validation import held_out_photos, split_photos
from posefield.relocalization.view_synthesis import (
    ReferenceViews,
    random_poses,
    synthesise_views,
)
from posefield.storage import ensure_replaceable

REFERENCE_SHORT_SIDE = 32
# Unseen random views on which the regressor's own error is measured.
COARSE_TRIALS = 24


def build_map(
    scene: Scene,
    preset: str,
    out: Path,
    *,
    device: str = 'auto',
    minutes: float | None = None,
    steps: int | None = None,
    features: str | None = None,
    seed: int = 0,
    resume: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> MapBundle:
    """Learn a map from the `train` split of a scene and save it.

    Args:
        scene: posed photos.
        preset: `auto`, `cpu` or `gpu`.
        out: map folder; an older map there is replaced when the new one is whole.
        device: `auto`, `cpu` or `cuda`.
        minutes: time to learn; the preset's by default.
        steps: of the field, instead of a time; the other stages take their part of it.  The
            same seed then gives the same map, however fast the machine is.
        features: `gradient` or `compact`; the preset's by default.
        seed: of everything random.
        resume: go on from the checkpoint of a stopped run.
        progress: who to tell.
        stop: when set, a checkpoint is saved and LearningInterrupted raised.

    Raises:
        LearningError: for minutes together with steps, or a name that is not known.
        DataError: when the scene has too few posed training photos or no knowable scale.
        BundleError: when `out` is something else than a map, or cannot be written.
        LearningInterrupted: when stopped.
    """
    ensure_replaceable(out, MAP_KIND)
    chosen = select_device(device)
    settings = preset_named(preset, chosen.type)
    builder = _MapBuilder(
        scene,
        settings,
        MapBudget.of(settings, minutes, steps),
        features or settings.features,
        seed,
        chosen,
        progress or QuietProgress(),
        stop or threading.Event(),
    )
    store = CheckpointStore.beside(
        out,
        {
            'preset': preset,
            'seed': seed,
            'scene': str(scene.root),
            'minutes': minutes,
            'steps': steps,
            'features': features,
        },
    )
    if not resume:
        store.clear()
    try:
        bundle = builder.build(store)
    finally:
        builder.progress.close()
    bundle.save(out)
    store.clear()
    return bundle


class _MapBuilder:
    """One run of mapping: what all steps share."""

    def __init__(
        self,
        scene: Scene,
        preset: MappingPreset,
        budget: MapBudget,
        features: str,
        seed: int,
        device: torch.device,
        progress: Progress,
        stop: threading.Event,
    ):
        self.scene = scene
        self.preset = preset
        if features not in EXTRACTORS:
            raise LearningError(
                f'Unknown features {features!r}, expected one of {", ".join(EXTRACTORS)}.'
            )
        self.budget = budget
        self.features = features
        self.seed = seed
        self.device = device
        self.progress = progress
        self.stop = stop
        self.begun = time.monotonic()
        self.generator = torch.Generator(device).manual_seed(seed)
        self.random = np.random.default_rng(seed)
        self.frames, self.keyframe_rows = self._chosen_frames()

    def build(self, store: CheckpointStore) -> MapBundle:
        """Return the map; every step is in the order of its needs."""
        photos = self._photos()
        keyframe_photos = [photos[row] for row in self.keyframe_rows]
        views = [View(photo.sparse_camera, photo.T_map_cam) for photo in keyframe_photos]
        sparse = self._sparse(views, keyframe_photos)
        poses = np.stack([photo.T_map_cam for photo in photos])
        transform = SceneTransform.from_content(poses, sparse.points_N3)
        stage = self._learn_field(photos, sparse, transform, store)
        keyframes = self._keyframes(keyframe_photos, stage.field, transform)
        extractor = self._learn_features(keyframes, store)
        camera = reference_camera(
            [photo.training_camera for photo in photos], REFERENCE_SHORT_SIDE
        )
        real = self._reference_views(photos, transform, camera)
        scale = viewing_distance(sparse, views, poses) * transform.scale
        rendered = self._synthesised(real, stage.field, transform, camera, scale)
        regressor = self._learn_regressor(real, rendered, store)
        coarse = self._coarse_errors(real, regressor, stage.field, transform, camera, scale)
        descriptors = [
            GlobalDescriptor()(views.images_NHW3.astype(np.float32) / 255.0)
            for views in (real, rendered)
            if len(views.images_NHW3)
        ]
        bundle = MapBundle(
            info=self._info(photos, sparse),
            sizes=self.preset.sizes,
            transform=transform,
            scene_scale=scale,
            field=stage.field.requires_grad_(False),
            extractor_name=self.features,
            extractor=extractor,
            keyframes=keyframes,
            sparse=sparse_index(sparse, transform),
            regressor=regressor,
            reference_camera=camera,
            reference_descriptors_ND=torch.cat(descriptors),
            T_field_reference_N44=np.concatenate([real.T_field_cam_N44, rendered.T_field_cam_N44]),
            calibration=neutral_calibration(*coarse),
        )
        calibration = self._calibrated(bundle, sparse, views)
        seconds = round(time.monotonic() - self.begun, 1)
        info = {**bundle.info, 'seconds_to_learn': seconds}
        return replace(bundle, calibration=calibration, info=info)

    def _chosen_frames(self) -> tuple[list[Frame], np.ndarray]:
        frames = [f for f in self.scene.split('train') if f.T_map_cam is not None]
        if len(frames) < 2:
            raise DataError(
                f'{self.scene.root} has {len(frames)} posed training photos, expected at least 2.'
            )
        poses = np.stack([frame.T_map_cam for frame in frames])
        scale = scene_scale(poses)
        rows = spread_over_poses(poses, self.preset.max_photos, scale)
        frames = [frames[row] for row in rows]
        keyframe_rows = spread_over_poses(poses[rows], self.preset.max_keyframes, scale)
        return frames, keyframe_rows

    def _reporter(self, stage: str) -> Callable[[float], None]:
        self.progress.start(stage, True)
        begun = time.monotonic()

        def report(fraction: float) -> None:
            left = (time.monotonic() - begun) * (1.0 - fraction) / max(fraction, 1e-6)
            self.progress.update(stage, fraction, {}, left)

        return report

    def _stopper(self, stage: str) -> Callable[[], None]:
        def check_stop() -> None:
            if self.stop.is_set():
                raise LearningInterrupted(f'Learning was stopped in stage {stage}.')

        return check_stop

    def _photos(self) -> list[Photo]:
        names = frozenset(self.frames[row].name for row in self.keyframe_rows)
        return prepare_photos(
            self.frames,
            names,
            self.preset.sizes,
            self._stopper('photos'),
            self._reporter('photos'),
        )

    def _sparse(self, views: list[View], photos: list[Photo]) -> SparseMap:
        return build_sparse_map(
            views,
            [photo.keypoints for photo in photos],
            self.preset.sparse,
            self._stopper('sparse'),
            self._reporter('sparse'),
        )

    def _learn_field(
        self,
        photos: list[Photo],
        sparse: SparseMap,
        transform: SceneTransform,
        store: CheckpointStore,
    ) -> FieldStage:
        preset = self.preset
        stage = FieldStage(
            photos,
            self.keyframe_rows,
            sparse,
            transform,
            preset.field,
            preset.field_stage,
            self.generator,
            self.device,
        )
        self._run(stage, self.budget.field(time.monotonic() - self.begun), store)
        return stage

    def _run(self, stage: Stage, length: StageLength, store: CheckpointStore) -> None:
        run_stage(
            stage,
            generator=self.generator,
            steps=length.steps,
            deadline_s=length.seconds,
            progress=self.progress,
            stop=self.stop,
            checkpoints=store,
        )

    def _keyframes(
        self, photos: list[Photo], field: GridField, transform: SceneTransform
    ) -> list[Keyframe]:
        report, check_stop = self._reporter('keyframes'), self._stopper('keyframes')
        keyframes = []
        for index, photo in enumerate(photos):
            check_stop()
            keyframes.append(render_keyframe(photo, field, transform, self.preset.sizes.depth))
            report((index + 1) / len(photos))
        return keyframes

    def _learn_features(self, keyframes: list[Keyframe], store: CheckpointStore) -> DenseExtractor:
        if self.features == 'gradient':
            return load_extractor('gradient', {}, self.device)
        with global_randomness(self.generator):
            stage = FeaturesStage(keyframes, self.preset.features_stage, self.device)
        self._run(stage, self.budget.features(), store)
        stage.features.network.requires_grad_(False)
        return stage.features

    def _reference_views(
        self, photos: list[Photo], transform: SceneTransform, camera
    ) -> ReferenceViews:
        images = [
            to_reference_view(
                SizedImage(photo.training_u8.astype(np.float32) / 255.0, photo.training_camera),
                camera,
            )
            for photo in photos
        ]
        poses = np.stack([photo.T_map_cam for photo in photos])
        return ReferenceViews(to_u8(np.stack(images)), transform.camera_to_field(poses))

    def _synthesised(self, real, field, transform, camera, scale: float) -> ReferenceViews:
        poses = random_poses(
            real.T_field_cam_N44,
            self.budget.synthesised(),
            scale,
            self.preset.synthesis,
            self.random,
        )
        return synthesise_views(
            field,
            transform,
            camera,
            poses,
            self._stopper('synthesise'),
            self._reporter('synthesise'),
        )

    def _learn_regressor(self, real, rendered, store: CheckpointStore):
        with global_randomness(self.generator):
            stage = RegressorStage(
                real, rendered, self.preset.regressor, self.preset.regressor_stage, self.device
            )
        self._run(stage, self.budget.regressor(), store)
        return stage.network.requires_grad_(False)

    def _coarse_errors(
        self, real, regressor, field, transform, camera, scale: float
    ) -> tuple[float, float]:
        """Return the regressor's rms errors per axis on views it has not seen."""
        poses = random_poses(
            real.T_field_cam_N44, COARSE_TRIALS, scale, self.preset.synthesis, self.random
        )
        unseen = synthesise_views(
            field, transform, camera, poses, self._stopper('synthesise'), lambda fraction: None
        )
        errors = []
        for image, T_true in zip(unseen.images_NHW3, unseen.T_field_cam_N44, strict=True):
            tensor = torch.from_numpy(image).to(self.device, torch.float32) / 255.0
            found = pose_errors(regressor.pose(tensor).numpy(), T_true)
            errors.append([found.translation, np.deg2rad(found.rotation_deg)])
        if not errors:
            return scale, 1.0
        rms = np.sqrt(np.square(errors).mean(axis=0) / 3.0)
        return float(rms[0]), float(rms[1])

    def _calibrated(self, bundle: MapBundle, sparse: SparseMap, views: list[View]) -> Calibration:
        count = self.preset.validation_photos
        photos = split_photos(bundle, self.scene, count, self.device) or held_out_photos(
            bundle, self.frames, self.keyframe_rows, sparse, views, count, self.device
        )
        return calibrate(
            bundle,
            photos,
            self.device,
            self.random,
            self._stopper('calibrate'),
            self._reporter('calibrate'),
        )

    def _info(self, photos: list[Photo], sparse: SparseMap) -> dict:
        cameras = {frame.camera for frame in self.frames}
        info = {
            'units': self.scene.units,
            'seed': self.seed,
            **self.budget.to_dict(),
            'photos': len(photos),
            'keyframes': len(self.keyframe_rows),
            'points': len(sparse.points_N3),
        }
        if len(cameras) == 1:
            info['camera'] = camera_to_dict(cameras.pop())
        return info
