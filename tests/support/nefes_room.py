"""A few photos of the textured room for tests of training a feature synthesizer."""

from dataclasses import replace

import numpy as np
import torch

from posefield.features.extractors import DenseExtractor
from posefield.features.gradient import GradientFeatures
from posefield.fields.feature_synthesizer import FeatureSynthesizer
from posefield.fields.grid_field import GridFieldConfig
from posefield.fields.mlp_field import MlpFieldConfig
from posefield.fields.scene_transform import SceneTransform
from posefield.relocalization.nefes_config import PUBLISHED_STAGES, NefesStageConfig
from posefield.relocalization.nefes_data import NefesPhoto, NefesViews
from posefield.relocalization.photos import to_u8
from support.textured_room import TexturedRoom, look_at, pinhole

ROOM = TexturedRoom(seed=11, finest=0.6)
CAMERA = pinhole(48, 36, 40.0)
SHORT_SIDE = 18
# The field frame is the map frame, with the room inside [-1, 1].
TRANSFORM = SceneTransform((0.0, 0.0, 0.0), 0.45, 0.1, 4.0)


def room_poses(count: int) -> np.ndarray:
    """Cameras (N, 4, 4) on a bow that look across the room."""
    shares = np.linspace(-1.0, 1.0, count)
    centres = np.stack([0.3 * shares**2 - 1.0, 0.9 * shares, 0.15 * np.sin(4 * shares)], axis=1)
    targets = np.stack([np.full(count, 1.8), 0.4 * shares, 0.1 * np.cos(3 * shares)], axis=1)
    return np.stack([look_at(c, target) for c, target in zip(centres, targets, strict=True)])


def room_photos(count: int = 6, static_HW: np.ndarray | None = None) -> list[NefesPhoto]:
    """Photos of the room, all with the same mask."""
    return [
        NefesPhoto(f'{index}.png', T, to_u8(ROOM.view(CAMERA, T)[0]), CAMERA, static_HW)
        for index, T in enumerate(room_poses(count))
    ]


def room_views(
    photos: list[NefesPhoto] | None = None,
    extractor: DenseExtractor | None = None,
    transform: SceneTransform = TRANSFORM,
    short_side: int = SHORT_SIDE,
    **options,
) -> NefesViews:
    """Photos, by default of the room, with labels, by default gradient features."""
    return NefesViews(
        photos or room_photos(),
        transform,
        short_side,
        extractor or GradientFeatures(),
        torch.device('cpu'),
        **options,
    )


GRID_FIELD = GridFieldConfig(
    resolutions=(16, 48),
    channels=6,
    width=32,
    proposal_resolution=24,
    proposal_channels=4,
    proposal_samples=24,
    samples=16,
    features=11,
)
MLP_FIELD = MlpFieldConfig(
    width=32,
    depth=4,
    skip=2,
    position_levels=5,
    direction_levels=2,
    coarse_samples=8,
    fine_samples=8,
    features=11,
)


def room_synthesizer(kind: str, **changes) -> FeatureSynthesizer:
    """A tiny synthesizer with exposure and fusion for the gradient features."""
    field = {'grid': GRID_FIELD, 'mlp': MLP_FIELD}[kind]
    config = {
        'kind': kind,
        'field': field.to_dict(),
        'act': True,
        'fusion': {'channels': field.features, 'width': 24},
        **changes,
    }
    return FeatureSynthesizer.from_config(config, torch.Generator().manual_seed(0))


def tiny_stages(kind: str) -> list[NefesStageConfig]:
    """The published stages with fewer rays and rates for fewer steps."""
    rate = {'grid': 5e-3, 'mlp': 3e-3}[kind]
    return [
        replace(
            stage,
            rays=64,
            patches=min(stage.patches, 1),
            patch_size=12,
            learning_rate=rate,
        )
        for stage in PUBLISHED_STAGES
    ]
