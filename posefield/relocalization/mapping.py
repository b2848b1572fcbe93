"""Learning a map from a scene: the order of the work."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
import threading

import numpy as np
import torch

from posefield.data.scene import Frame, Scene
from posefield.errors import DataError
from posefield.features.extractors import DenseExtractor, load_extractor
from posefield.fields.radiance import RadianceField
from posefield.fields.scene_transform import SceneTransform, scene_scale
from posefield.geometry.camera import Camera
from posefield.learning import distributed
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.devices import select_device
from posefield.learning.progress import Progress, QuietProgress
from posefield.learning.randomness import global_randomness
from posefield.relocalization.calibration import calibrate, neutral_calibration
from posefield.relocalization.features_stage import FeaturesStage
from posefield.relocalization.keyframes import Keyframe, render_keyframe
from posefield.relocalization.map_budget import MapBudget
from posefield.relocalization.map_bundle import MAP_KIND, Calibration, MapBundle, camera_to_dict
from posefield.relocalization.map_field import (
    FieldLearner,
    FieldSources,
    check_units,
    field_learner,
    map_transform,
    rendered_field,
)
from posefield.relocalization.map_regressor import (
    RegressorSources,
    check_scenes,
    coarse_errors,
    frame_views,
    learn_regressor,
    other_views,
    scene_name,
    validation_views,
)
from posefield.relocalization.mapping_run import MappingRun
from posefield.relocalization.photos import (
    Photo,
    SizedImage,
    prepare_photos,
    spread_over_poses,
    to_u8,
)
from posefield.relocalization.presets import PresetOptions, preset_named
from posefield.relocalization.reference_view import reference_camera, to_reference_view
from posefield.relocalization.regressors.dfnet import DFNet
from posefield.relocalization.regressors.regressor import PoseRegressor
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
    options: PresetOptions | None = None,
    also: Sequence[Scene] = (),
    seed: int = 0,
    resume: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> MapBundle:
    """Learn a map from the `train` split of a scene and save it.

    In a distributed run every process calls this; the first one saves.

    Args:
        scene: posed photos.
        preset: `auto` or a name in PRESETS.
        out: map folder; an older map there is replaced when the new one is whole.
        device: `auto`, `cpu` or `cuda`.
        minutes: time to learn; the preset's by default.
        steps: of the field, instead of a time; the other stages take their part of it.  The
            same seed then gives the same map, however fast the machine is.
        options: what to change in the preset; nothing by default.
        also: other scenes, which an ms-transformer learns to tell apart from this one.
        seed: of everything random.
        resume: go on from the checkpoint of a stopped run.
        progress: who to tell.
        stop: when set, a checkpoint is saved and LearningInterrupted raised.

    Raises:
        LearningError: for minutes together with steps, a name that is not known, or parts that
            do not go together.
        DataError: when the scene has too few posed training photos or no knowable scale.
        BundleError: when `out` is something else than a map, or cannot be written.
        LearningInterrupted: when stopped.
    """
    ensure_replaceable(out, MAP_KIND)
    chosen = select_device(device)
    options = options or PresetOptions()
    settings = options.applied(preset_named(preset, chosen.type))
    store = CheckpointStore.beside(
        out,
        {
            'preset': preset,
            'seed': seed,
            'scene': str(scene.root),
            'also': [str(other.root) for other in also],
            'minutes': minutes,
            'steps': steps,
            'options': asdict(options),
        },
    )
    run = MappingRun(
        seed,
        chosen,
        progress or QuietProgress(),
        stop or threading.Event(),
        store,
        preset=settings,
        budget=MapBudget.of(settings, minutes, steps),
    )
    builder = _MapBuilder(run, scene, also)
    if not resume and distributed.rank() == 0:
        store.clear()
    distributed.wait_for_all()
    try:
        bundle = builder.build()
    finally:
        run.progress.close()
    if distributed.rank() == 0:
        bundle.save(out)
        store.clear()
    distributed.wait_for_all()
    return bundle


class _MapBuilder:
    """The steps of mapping, each in the order of what it needs."""

    def __init__(self, run: MappingRun, scene: Scene, also: Sequence[Scene]):
        self.run = run
        self.preset = run.preset
        self.scene = scene
        self.also = also
        self.device = run.device
        check_units(run.preset, scene)
        check_scenes(run.preset.regressor.config, scene, also)
        self.frames, self.keyframe_rows = self._chosen_frames()

    def build(self) -> MapBundle:
        """Return the map."""
        photos = self._photos()
        keyframe_photos = [photos[row] for row in self.keyframe_rows]
        views = [View(photo.sparse_camera, photo.T_map_cam) for photo in keyframe_photos]
        sparse = self._sparse(views, keyframe_photos)
        poses = np.stack([photo.T_map_cam for photo in photos])
        transform = map_transform(self.preset, poses, sparse.points_N3)
        scale = viewing_distance(sparse, views, poses) * transform.scale
        learner = field_learner(
            self.run, FieldSources(self.frames, photos, self.keyframe_rows, sparse, transform)
        )
        learner.begin()
        photos = _with_poses(photos, learner.poses())
        camera = reference_camera([p.training_camera for p in photos], REFERENCE_SHORT_SIDE)
        real = _reference_views(photos, transform, camera)
        rendered = self._synthesised(real, rendered_field(learner), transform, camera, scale)
        short_side, regressor_camera = self.preset.regressor.short_side, camera
        if short_side != REFERENCE_SHORT_SIDE:
            cameras = [frame.camera for frame in self.frames]
            regressor_camera = reference_camera(cameras, short_side)
        regressor = self._regressor(
            learner, transform, scale, photos, real, rendered, regressor_camera
        )
        extractor = self._extractor(regressor, learner, photos, transform)
        learner.finish(extractor)
        photos = _with_poses(photos, learner.poses())
        field = rendered_field(learner)
        unseen = self._random_poses(real, COARSE_TRIALS, scale)
        bundle = MapBundle(
            info=self._info(photos, sparse),
            sizes=self.preset.sizes,
            transform=transform,
            scene_scale=scale,
            synthesizer=learner.synthesizer.eval().requires_grad_(False),
            histogram_10=learner.histogram_10,
            extractor_name=self.preset.features,
            extractor=extractor,
            keyframes=self._keyframes(photos, field, transform),
            sparse=sparse_index(sparse, transform),
            regressor=regressor,
            regressor_camera=regressor_camera,
            reference_camera=camera,
            reference_descriptors_ND=_descriptors(real, rendered),
            T_field_reference_N44=np.concatenate([real.T_field_cam_N44, rendered.T_field_cam_N44]),
            calibration=neutral_calibration(
                *coarse_errors(self.run, regressor, regressor_camera, field, transform, unseen)
            ),
        )
        calibration = self._calibrated(bundle, sparse, views)
        info = {**bundle.info, 'seconds_to_learn': round(self.run.spent_s, 1)}
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

    def _photos(self) -> list[Photo]:
        names = frozenset(self.frames[row].name for row in self.keyframe_rows)
        return prepare_photos(
            self.frames,
            names,
            self.preset.sizes,
            self.run.stopper('photos'),
            self.run.reporter('photos'),
        )

    def _sparse(self, views: list[View], photos: list[Photo]) -> SparseMap:
        return build_sparse_map(
            views,
            [photo.keypoints for photo in photos],
            self.preset.sparse,
            self.run.stopper('sparse'),
            self.run.reporter('sparse'),
        )

    def _synthesised(
        self,
        real: ReferenceViews,
        field: RadianceField,
        transform: SceneTransform,
        camera: Camera,
        scale: float,
    ) -> ReferenceViews:
        run = self.run
        poses = self._random_poses(real, run.budget.synthesised(), scale)
        return synthesise_views(
            field,
            transform,
            camera,
            poses,
            run.stopper('synthesise'),
            run.reporter('synthesise'),
        )

    def _random_poses(self, real: ReferenceViews, count: int, scale: float) -> np.ndarray:
        poses = real.T_field_cam_N44
        return random_poses(poses, count, scale, self.preset.synthesis, self.run.random)

    def _regressor(
        self,
        learner: FieldLearner,
        transform: SceneTransform,
        scale: float,
        photos: list[Photo],
        real: ReferenceViews,
        rendered: ReferenceViews,
        camera: Camera,
    ) -> PoseRegressor:
        if self.preset.regressor.short_side == REFERENCE_SHORT_SIDE:
            views = real
        else:
            poses = np.stack([photo.T_map_cam for photo in photos])
            views = frame_views(self.frames, camera, transform, poses)
        sources = RegressorSources(
            camera=camera,
            photos=views,
            validation=validation_views(self.scene, camera, transform),
            rendered=rendered,
            synthesizer=learner.synthesizer.eval(),
            transform=transform,
            scene_scale=scale,
            others=other_views(self.also, camera),
            scene=scene_name(self.scene),
        )
        return learn_regressor(self.run, sources)

    def _extractor(
        self,
        regressor: PoseRegressor,
        learner: FieldLearner,
        photos: list[Photo],
        transform: SceneTransform,
    ) -> DenseExtractor:
        if isinstance(regressor, DFNet) and self.preset.features == 'dfnet':
            return regressor.extractor()
        if self.preset.features == 'gradient':
            return load_extractor('gradient', {}, self.device)
        keyframes = self._keyframes(photos, rendered_field(learner), transform)
        with global_randomness(self.run.generator):
            stage = FeaturesStage(keyframes, self.preset.features_stage, self.device)
        self.run.train(stage, self.run.budget.features())
        stage.features.network.requires_grad_(False)
        return stage.features

    def _keyframes(
        self, photos: list[Photo], field: RadianceField, transform: SceneTransform
    ) -> list[Keyframe]:
        report, check_stop = self.run.reporter('keyframes'), self.run.stopper('keyframes')
        keyframes = []
        for done, row in enumerate(self.keyframe_rows):
            check_stop()
            keyframes.append(
                render_keyframe(photos[row], field, transform, self.preset.sizes.depth)
            )
            report((done + 1) / len(self.keyframe_rows))
        return keyframes

    def _calibrated(self, bundle: MapBundle, sparse: SparseMap, views: list[View]) -> Calibration:
        if distributed.rank() > 0:
            return bundle.calibration  # only the first process saves the map
        count = self.preset.validation_photos
        photos = split_photos(bundle, self.scene, count, self.device) or held_out_photos(
            bundle, self.frames, self.keyframe_rows, sparse, views, count, self.device
        )
        return calibrate(
            bundle,
            photos,
            self.device,
            self.run.random,
            self.run.stopper('calibrate'),
            self.run.reporter('calibrate'),
        )

    def _info(self, photos: list[Photo], sparse: SparseMap) -> dict:
        cameras = {frame.camera for frame in self.frames}
        info = {
            'units': self.scene.units,
            'seed': self.run.seed,
            **self.run.budget.to_dict(),
            'photos': len(photos),
            'keyframes': len(self.keyframe_rows),
            'points': len(sparse.points_N3),
            'localizer': {'rungs': list(self.preset.rungs), 'refiner': self.preset.refiner},
        }
        if len(cameras) == 1:
            info['camera'] = camera_to_dict(cameras.pop())
        return info


def _with_poses(photos: list[Photo], T_map_cam_N44: np.ndarray) -> list[Photo]:
    """Return the photos with the poses that the field agrees with."""
    return [replace(photo, T_map_cam=T) for photo, T in zip(photos, T_map_cam_N44, strict=True)]


def _reference_views(
    photos: list[Photo], transform: SceneTransform, camera: Camera
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


def _descriptors(real: ReferenceViews, rendered: ReferenceViews) -> torch.Tensor:
    """Return the descriptors of retrieval, of photos and of renders."""
    return torch.cat(
        [
            GlobalDescriptor()(views.images_NHW3.astype(np.float32) / 255.0)
            for views in (real, rendered)
            if len(views.images_NHW3)
        ]
    )
