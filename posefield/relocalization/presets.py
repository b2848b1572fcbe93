"""Sizes and budgets of maps: `cpu` for a laptop, `gpu` for a graphics card, `paper` for NeFeS."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from posefield.data.paper_scenes import paper_scene
from posefield.errors import LearningError
from posefield.features.extractors import EXTRACTORS
from posefield.features.gradient import GradientFeatures
from posefield.fields.fusion import FusionConfig
from posefield.fields.grid_field import GridFieldConfig
from posefield.fields.mlp_field import MlpFieldConfig
from posefield.learning.schedules import Cosine
from posefield.relocalization.features_stage import FeaturesStageConfig
from posefield.relocalization.field_stage import FieldStageConfig
from posefield.relocalization.localizer_config import RUNGS
from posefield.relocalization.nefes_config import PUBLISHED_STAGES, NefesStageConfig
from posefield.relocalization.photos import WorkingSizes
from posefield.relocalization.regressors.dfnet import DFNetConfig
from posefield.relocalization.regressors.dfnet_stage import DFNetStageConfig
from posefield.relocalization.regressors.epoch_stage import EpochStageConfig
from posefield.relocalization.regressors.ms_transformer import MsTransformerConfig
from posefield.relocalization.regressors.ms_transformer_stage import MsTransformerStageConfig
from posefield.relocalization.regressors.posenet import CompactPoseNetConfig
from posefield.relocalization.regressors.posenet12 import PoseNetConfig
from posefield.relocalization.regressors.regressor import RegressorConfig
from posefield.relocalization.regressors.stage import RegressorStageConfig
from posefield.relocalization.sparse_map import SparseMapConfig
from posefield.relocalization.view_synthesis import SynthesisConfig

FIELDS = ('grid', 'mlp')


@dataclass(frozen=True)
class RegressorRecipe:
    """A regressor and how it is trained.

    Attributes:
        config: of the network; its type says which.
        stage: of the training.
        short_side: of the images that it is shown, pixels.
        epochs: passes over the photos when neither a time nor a number of steps is given.
    """

    config: RegressorConfig = CompactPoseNetConfig()
    stage: (
        RegressorStageConfig | EpochStageConfig | DFNetStageConfig | MsTransformerStageConfig
    ) = RegressorStageConfig()
    short_side: int = 32
    epochs: int = 2000


REGRESSOR_RECIPES = {
    'compact': RegressorRecipe(),
    'posenet': RegressorRecipe(PoseNetConfig(), EpochStageConfig(), 240),
    'ms-transformer': RegressorRecipe(
        MsTransformerConfig(), MsTransformerStageConfig(), 256, epochs=30
    ),
    'dfnet': RegressorRecipe(DFNetConfig(), DFNetStageConfig(), 240),
}


@dataclass(frozen=True)
class NefesRecipe:
    """How a feature synthesizer is trained (nefes.md section 4).

    Attributes:
        act: whether it has exposure.
        fusion: whether it has the fusion network.
        stages: in their order; the regressor is trained after the first.
        learn_poses: whether the poses of the photos are learned too (section 6).
    """

    act: bool = True
    fusion: bool = True
    stages: tuple[NefesStageConfig, ...] = PUBLISHED_STAGES
    learn_poses: bool = False


@dataclass(frozen=True)
class MappingPreset:
    """How a map is made.

    Attributes:
        minutes: default time to learn; None for the published numbers of epochs.
        features: dense features, `gradient`, `compact` or `dfnet`.
        max_photos: training photos used at most, spread over the poses.
        max_keyframes: of them, photos that are matched and kept in the map.
        field_share, features_share, regressor_share: of the time, spent on each stage.
        synthesised_per_minute: random views rendered for regressor and retrieval.
        features_steps, regressor_steps: steps of these stages for each step of the field, when
            a map is learned by steps.
        synthesised_per_step: random views for each step of the field, likewise.
        validation_photos: photos that calibrate covariances and scores.
        sizes, sparse, field, field_stage, features_stage, synthesis, regressor: settings of
            the parts.
        small_parts: whether fields and regressors that are chosen in place of these are those
            for laptops.
        nefes: trains the field with features in the stages of NeFeS; None trains it for colours
            and depth, guided by the sparse points.
        rungs: that a localizer of the map uses by default.
        refiner: of that localizer; None for all of the rungs.
        paper_scene: takes scale, shift and depths from the NeFeS paper's table of this scene;
            None computes them from cameras and points.
    """

    minutes: float | None = 4.0
    features: str = 'gradient'
    max_photos: int = 300
    max_keyframes: int = 120
    field_share: float = 0.5
    features_share: float = 0.1
    regressor_share: float = 0.08
    synthesised_per_minute: int = 100
    features_steps: float = 0.1
    regressor_steps: float = 0.4
    synthesised_per_step: float = 0.5
    validation_photos: int = 15
    sizes: WorkingSizes = WorkingSizes()
    sparse: SparseMapConfig = SparseMapConfig()
    field: GridFieldConfig | MlpFieldConfig = GridFieldConfig()
    field_stage: FieldStageConfig = FieldStageConfig()
    features_stage: FeaturesStageConfig = FeaturesStageConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    regressor: RegressorRecipe = RegressorRecipe()
    small_parts: bool = False
    nefes: NefesRecipe | None = None
    rungs: tuple[str, ...] = RUNGS
    refiner: str | None = None
    paper_scene: str | None = None

    @property
    def regressors(self) -> Mapping[str, RegressorRecipe]:
        """Return what may take the regressor's place, by name."""
        return SMALL_REGRESSOR_RECIPES if self.small_parts else REGRESSOR_RECIPES

    @property
    def feature_channels(self) -> int:
        """Return the channels of the dense features."""
        if self.features == 'dfnet':
            return self.regressor.config.channels
        # The learned compact features are a correction of the hand-made ones.
        return GradientFeatures().channels

    @property
    def fusion(self) -> FusionConfig | None:
        """Return the fusion network, or None."""
        if self.nefes is None or not self.nefes.fusion:
            return None
        return FusionConfig(channels=self.feature_channels)


# One step with the published field takes a laptop half a minute.
SMALL_MLP_FIELD = MlpFieldConfig(width=64, depth=4, skip=2, coarse_samples=24, fine_samples=24)
_SHORT_TRAINING = Cosine(final=0.02, warm_up=0.02)
# What a laptop can train in minutes; the published networks take it days.
SMALL_REGRESSOR_RECIPES = {
    'compact': RegressorRecipe(),
    'posenet': RegressorRecipe(
        PoseNetConfig.published('compact'),
        EpochStageConfig(learning_rate=1e-3, schedule=_SHORT_TRAINING),
        60,
    ),
    'ms-transformer': RegressorRecipe(
        MsTransformerConfig(
            backbone='compact',
            weights='random',
            width=64,
            hidden=128,
            translation_layers=2,
            rotation_layers=2,
            head_width=128,
            image_side=80,
            crop=72,
        ),
        MsTransformerStageConfig(learning_rate=5e-4, schedule=_SHORT_TRAINING),
        80,
    ),
    'dfnet': RegressorRecipe(
        DFNetConfig(channels=32, hidden=16, width_scale=0.125, weights='random'),
        DFNetStageConfig(learning_rate=1e-3, schedule=_SHORT_TRAINING),
        60,
    ),
}

PRESETS = {
    'cpu': MappingPreset(small_parts=True),
    'gpu': MappingPreset(
        max_photos=1000,
        max_keyframes=200,
        synthesised_per_minute=400,
        sizes=WorkingSizes(training=240, field=120),
        field=GridFieldConfig(
            resolutions=(32, 96, 192, 320), channels=12, width=64, proposal_samples=48, samples=32
        ),
        field_stage=FieldStageConfig(colour_rays=6144, depth_rays=2048),
    ),
    'paper': MappingPreset(
        minutes=None,
        features='dfnet',
        max_photos=4000,
        max_keyframes=200,
        field_share=0.5,
        regressor_share=0.25,
        field=MlpFieldConfig(),
        regressor=REGRESSOR_RECIPES['dfnet'],
        nefes=NefesRecipe(),
        rungs=('regressor',),
        refiner='nefes-a',
    ),
    'paper-small': MappingPreset(
        minutes=20.0,
        features='dfnet',
        field_share=0.5,
        regressor_share=0.25,
        sizes=WorkingSizes(field=30, labels=60),
        field=SMALL_MLP_FIELD,
        regressor=SMALL_REGRESSOR_RECIPES['dfnet'],
        small_parts=True,
        nefes=NefesRecipe(),
        rungs=('regressor',),
        refiner='nefes-a',
    ),
}


def preset_named(name: str, device_type: str) -> MappingPreset:
    """Return a preset; `auto` is `gpu` on a CUDA device and `cpu` elsewhere.

    Raises:
        LearningError: for an unknown name.
    """
    if name == 'auto':
        name = 'gpu' if device_type == 'cuda' else 'cpu'
    if name not in PRESETS:
        raise LearningError(
            f'Unknown preset {name!r}, expected auto or one of {", ".join(PRESETS)}.'
        )
    return PRESETS[name]


@dataclass(frozen=True)
class PresetOptions:
    """What a user changes in a preset; None keeps what it has.

    Attributes:
        field: `grid` or `mlp`.
        features: `gradient`, `compact` or `dfnet`.
        regressor: `compact`, `posenet`, `ms-transformer` or `dfnet`.
        backbone: of posenet and ms-transformer.
        learn_poses: whether the poses of the photos are learned with the field.
        paper_scene: of the NeFeS paper, whose scale, shift and depths are taken.
    """

    field: str | None = None
    features: str | None = None
    regressor: str | None = None
    backbone: str | None = None
    learn_poses: bool = False
    paper_scene: str | None = None

    def applied(self, preset: MappingPreset) -> MappingPreset:
        """Return the preset with these options.

        Raises:
            LearningError: for unknown names, and for parts that do not go together.
            DataError: for a scene that the paper does not have.
        """
        preset = self._with_regressor(preset)
        if self.features is not None:
            preset = replace(preset, features=self.features)
        if preset.features not in (*EXTRACTORS, 'dfnet'):
            raise LearningError(
                f'Unknown features {preset.features!r}, expected one of '
                f'{", ".join((*EXTRACTORS, "dfnet"))}.'
            )
        if preset.features == 'dfnet' and not isinstance(preset.regressor.config, DFNetConfig):
            raise LearningError(
                'The features dfnet come with the regressor dfnet, found another regressor; '
                'choose other features.'
            )
        preset = self._with_field(preset)
        if self.learn_poses:
            if preset.nefes is None:
                raise LearningError(
                    'Poses are learned in the stages of NeFeS: expected the preset paper or '
                    'paper-small, or the field mlp.'
                )
            preset = replace(preset, nefes=replace(preset.nefes, learn_poses=True))
        if self.paper_scene is not None:
            preset = replace(preset, paper_scene=paper_scene(self.paper_scene).name)
        return preset

    def _with_regressor(self, preset: MappingPreset) -> MappingPreset:
        recipe = preset.regressor
        if self.regressor is not None:
            if self.regressor not in preset.regressors:
                raise LearningError(
                    f'Unknown regressor {self.regressor!r}, expected one of '
                    f'{", ".join(preset.regressors)}.'
                )
            chosen = preset.regressors[self.regressor]
            if not isinstance(recipe.config, type(chosen.config)):
                recipe = chosen
        if self.backbone is not None:
            recipe = replace(recipe, config=_with_backbone(recipe.config, self.backbone))
        return replace(preset, regressor=recipe)

    def _with_field(self, preset: MappingPreset) -> MappingPreset:
        if self.field is not None:
            if self.field not in FIELDS:
                raise LearningError(
                    f'Unknown field {self.field!r}, expected one of {", ".join(FIELDS)}.'
                )
            chosen: GridFieldConfig | MlpFieldConfig = GridFieldConfig()
            if self.field == 'mlp':
                chosen = SMALL_MLP_FIELD if preset.small_parts else MlpFieldConfig()
            if not isinstance(preset.field, type(chosen)):
                preset = replace(preset, field=chosen)
            if self.field == 'mlp' and preset.nefes is None:
                preset = replace(preset, nefes=NefesRecipe())
        channels = 0 if preset.nefes is None else preset.feature_channels
        return replace(preset, field=replace(preset.field, features=channels))


def _with_backbone(config: RegressorConfig, backbone: str) -> RegressorConfig:
    if isinstance(config, PoseNetConfig):
        return PoseNetConfig.published(backbone)
    if isinstance(config, MsTransformerConfig):
        weights = 'random' if backbone == 'compact' else 'imagenet'
        return replace(config, backbone=backbone, weights=weights)
    raise LearningError(
        f'The backbone {backbone} was chosen for a regressor that has its own, expected the '
        'regressor posenet or ms-transformer.'
    )
