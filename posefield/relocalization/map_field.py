"""Learning the field of a map: guided by sparse points, or in the stages of NeFeS."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from posefield.data.paper_scenes import paper_scene
from posefield.data.scene import Frame, Scene
from posefield.errors import DataError
from posefield.features.extractors import DenseExtractor
from posefield.features.gradient import GradientFeatures
from posefield.fields.act import luminance_histogram
from posefield.fields.exposed_field import field_of
from posefield.fields.feature_synthesizer import FeatureSynthesizer
from posefield.fields.mlp_field import MlpFieldConfig
from posefield.fields.radiance import RadianceField
from posefield.fields.scene_transform import SceneTransform
from posefield.learning import distributed
from posefield.relocalization.field_stage import FieldStage
from posefield.relocalization.map_budget import StageLength
from posefield.relocalization.mapping_run import MappingRun
from posefield.relocalization.nefes_config import NefesStageConfig
from posefield.relocalization.nefes_data import (
    NefesPhoto,
    NefesViews,
    image_tensor,
    prepare_nefes_photo,
)
from posefield.relocalization.nefes_training import train_nefes
from posefield.relocalization.photos import Photo
from posefield.relocalization.presets import MappingPreset
from posefield.relocalization.sparse_map import SparseMap


@dataclass(frozen=True)
class FieldSources:
    """What a field is learned from.

    Attributes:
        frames: of the photos, in their order.
        photos: at their working sizes.
        keyframe_rows: index of each keyframe in `photos`.
        sparse: points of the keyframes.
        transform: to the field frame.
    """

    frames: Sequence[Frame]
    photos: Sequence[Photo]
    keyframe_rows: Sequence[int]
    sparse: SparseMap
    transform: SceneTransform


class FieldLearner(Protocol):
    """A field that is learned in two parts, with regressor and features between them.

    Attributes:
        synthesizer: the field, with exposure and fusion where it has them.
        histogram_10: mean luminance histogram of the photos.
    """

    synthesizer: FeatureSynthesizer
    histogram_10: torch.Tensor

    def begin(self) -> None:
        """Learn colours and shapes."""

    def finish(self, extractor: DenseExtractor) -> None:
        """Learn what needs dense features."""

    def poses(self) -> np.ndarray:
        """Return T_map_cam (N, 4, 4) of the photos that the field agrees with."""


def rendered_field(learner: FieldLearner) -> RadianceField:
    """Return what the learner has so far, to be rendered at the mean exposure."""
    return field_of(learner.synthesizer, learner.histogram_10)


def field_learner(run: MappingRun, sources: FieldSources) -> FieldLearner:
    """Return the learner that the preset asks for."""
    learner = GuidedLearner if run.preset.nefes is None else NefesLearner
    return learner(run, sources)


def check_units(preset: MappingPreset, scene: Scene) -> None:
    """Refuse the settings of a scene of the paper for a scene that is not in metres.

    Raises:
        DataError: when it is not.
    """
    if preset.paper_scene is not None and scene.units != 'metres':
        raise DataError(
            f'The settings of the scene {preset.paper_scene} are for metres, found {scene.root} '
            f'in {scene.units} units.'
        )


def map_transform(
    preset: MappingPreset, poses: np.ndarray, points_N3: np.ndarray
) -> SceneTransform:
    """Return the transform into the frame of the preset's field, with its range of depths.

    Args:
        preset: with the field, and perhaps a scene of the paper whose transform is taken.
        poses: T_map_cam (N, 4, 4) of the photos.
        points_N3: what they see, map frame.
    """
    if preset.paper_scene is not None:
        published = paper_scene(preset.paper_scene)
        centre = published.centre_in_map(published.recentring(poses))
        return SceneTransform(
            tuple(centre.tolist()), published.scale, published.near, published.far
        )
    transform = SceneTransform.from_content(poses, points_N3)
    if isinstance(preset.field, MlpFieldConfig):
        # Without contraction, rays must end behind what the photos show.
        return replace(transform, far=transform.bounded_far(poses, points_N3))
    return transform


class GuidedLearner:
    """A GridField of colours and depth, guided by the sparse points; all in the first part."""

    def __init__(self, run: MappingRun, sources: FieldSources):
        self._run = run
        self._sources = sources
        preset = run.preset
        self._stage = FieldStage(
            sources.photos,
            sources.keyframe_rows,
            sources.sparse,
            sources.transform,
            preset.field,
            preset.field_stage,
            run.generator,
            run.device,
        )
        self.synthesizer = FeatureSynthesizer(self._stage.field)
        self.histogram_10 = _mean_histogram(
            [photo.training_u8 for photo in sources.photos], run.device
        )

    def begin(self) -> None:
        """Learn everything."""
        run = self._run
        # Processes that stopped at different times would wait for each other for ever.
        spent_s = distributed.largest([run.spent_s], run.device)[0]
        run.train(self._stage, run.budget.field(spent_s))

    def finish(self, extractor: DenseExtractor) -> None:
        """Nothing of this field needs features."""

    def poses(self) -> np.ndarray:
        """Return T_map_cam (N, 4, 4) as given."""
        return np.stack([photo.T_map_cam for photo in self._sources.photos])


class NefesLearner:
    """Any field with a feature head, trained photometrically first (nefes.md section 4)."""

    def __init__(self, run: MappingRun, sources: FieldSources):
        self._run = run
        self._transform = sources.transform
        preset = run.preset
        self.synthesizer = FeatureSynthesizer.from_config(
            {
                'kind': 'mlp' if isinstance(preset.field, MlpFieldConfig) else 'grid',
                'field': preset.field.to_dict(),
                'act': preset.nefes.act,
                'fusion': None if preset.fusion is None else preset.fusion.to_dict(),
            },
            run.generator,
        ).to(run.device)
        self._photos = self._prepared(sources.frames)
        self.histogram_10 = _mean_histogram([p.image_u8 for p in self._photos], run.device)

    def begin(self) -> None:
        """Learn from colours alone."""
        # The photometric stage looks at no labels; these cost nothing until they are asked for.
        self._train(self._run.preset.nefes.stages[:1], GradientFeatures())

    def finish(self, extractor: DenseExtractor) -> None:
        """Learn the features, and the fusion where there is one."""
        stages = self._run.preset.nefes.stages[1:]
        if self._run.preset.fusion is None:
            stages = tuple(stage for stage in stages if stage.fusion_weight == 0.0)
        self._train(stages, extractor)

    def poses(self) -> np.ndarray:
        """Return T_map_cam (N, 4, 4), corrected where poses are learned."""
        return np.stack([photo.T_map_cam for photo in self._photos])

    def _prepared(self, frames: Sequence[Frame]) -> list[NefesPhoto]:
        check_stop = self._run.stopper('photos')
        photos = []
        for frame in frames:
            check_stop()
            photos.append(prepare_nefes_photo(frame, self._run.preset.sizes.labels))
        return photos

    def _train(self, stages: Sequence[NefesStageConfig], extractor: DenseExtractor) -> None:
        run, recipe = self._run, self._run.preset.nefes
        views = NefesViews(
            self._photos, self._transform, run.preset.sizes.field, extractor, run.device
        )
        length = self._length(stages)
        result = train_nefes(
            self.synthesizer,
            views,
            stages,
            seed=run.seed,
            generator=run.generator,
            steps=length.steps,
            seconds=length.seconds,
            learn_poses=recipe.learn_poses,
            progress=run.progress,
            stop=run.stop,
            checkpoints=run.store,
        )
        if recipe.learn_poses:
            corrected = self._transform.camera_to_map(result.T_field_cam_N44)
            self._photos = [
                replace(photo, T_map_cam=T)
                for photo, T in zip(self._photos, corrected, strict=True)
            ]

    def _length(self, stages: Sequence[NefesStageConfig]) -> StageLength:
        """Return these stages' part, by their epochs, of the field's time or steps."""
        whole = self._run.budget.field(0.0)
        epochs = sum(stage.epochs for stage in self._run.preset.nefes.stages)
        share = sum(stage.epochs for stage in stages) / epochs
        if whole.steps is not None:
            return StageLength(steps=max(len(stages), round(share * whole.steps)))
        return StageLength(seconds=None if whole.seconds is None else share * whole.seconds)


def _mean_histogram(images_u8: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """Return the mean luminance histogram (10,) of photos, in percent."""
    histograms = [luminance_histogram(image_tensor(image, device)) for image in images_u8]
    return torch.cat(histograms).to(torch.float32).mean(dim=0)
