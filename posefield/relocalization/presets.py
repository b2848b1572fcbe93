"""Sizes and budgets of maps: `cpu` for a laptop, `gpu` for a graphics card."""

from dataclasses import dataclass

from posefield.errors import LearningError
from posefield.fields.grid_field import GridFieldConfig
from posefield.relocalization.features_stage import FeaturesStageConfig
from posefield.relocalization.field_stage import FieldStageConfig
from posefield.relocalization.photos import WorkingSizes
from posefield.relocalization.regressors.posenet import CompactPoseNetConfig
from posefield.relocalization.regressors.stage import RegressorStageConfig
from posefield.relocalization.sparse_map import SparseMapConfig
from posefield.relocalization.view_synthesis import SynthesisConfig


@dataclass(frozen=True)
class MappingPreset:
    """How a map is made.

    Attributes:
        minutes: default time to learn.
        features: dense features, `gradient` or `compact`.
        max_photos: training photos used at most, spread over the poses.
        max_keyframes: of them, photos that are matched and kept in the map.
        field_share, features_share, regressor_share: of the time, spent on each stage.
        synthesised_per_minute: random views rendered for regressor and retrieval.
        features_steps, regressor_steps: steps of these stages for each step of the field, when
            a map is learned by steps.
        synthesised_per_step: random views for each step of the field, likewise.
        validation_photos: photos that calibrate covariances and scores.
        sizes, sparse, field, field_stage, features_stage, synthesis, regressor,
        regressor_stage: settings of the parts.
    """

    minutes: float = 4.0
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
    field: GridFieldConfig = GridFieldConfig()
    field_stage: FieldStageConfig = FieldStageConfig()
    features_stage: FeaturesStageConfig = FeaturesStageConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    regressor: CompactPoseNetConfig = CompactPoseNetConfig()
    regressor_stage: RegressorStageConfig = RegressorStageConfig()


PRESETS = {
    'cpu': MappingPreset(),
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
