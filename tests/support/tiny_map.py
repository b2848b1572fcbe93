"""A map of a small room, learned in seconds from a dozen small pictures."""

from collections.abc import Iterator
import contextlib
from dataclasses import replace
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from posefield.data.scene import Frame, Scene
from posefield.fields.grid_field import GridFieldConfig
from posefield.fields.mlp_field import MlpFieldConfig
from posefield.learning.schedules import Cosine
from posefield.relocalization.field_stage import FieldStageConfig
from posefield.relocalization.nefes_config import PUBLISHED_STAGES
from posefield.relocalization.photos import WorkingSizes, to_u8
from posefield.relocalization.presets import (
    PRESETS,
    MappingPreset,
    NefesRecipe,
    RegressorRecipe,
)
from posefield.relocalization.regressors.colour_jitter import ColourJitter
from posefield.relocalization.regressors.dfnet import DFNetConfig
from posefield.relocalization.regressors.dfnet_stage import DFNetStageConfig
from posefield.relocalization.regressors.epoch_stage import EpochStageConfig
from posefield.relocalization.regressors.ms_transformer import MsTransformerConfig
from posefield.relocalization.regressors.ms_transformer_stage import MsTransformerStageConfig
from posefield.relocalization.regressors.posenet import CompactPoseNetConfig
from posefield.relocalization.regressors.posenet12 import PoseNetConfig
from posefield.relocalization.regressors.stage import RegressorStageConfig
from support.textured_room import TexturedRoom, look_at, pinhole

CAMERA = pinhole(96, 72, 80.0)
ROOM = TexturedRoom(seed=11, finest=0.15)
PRESET = 'tiny'
TINY = MappingPreset(
    minutes=0.1,
    synthesised_per_minute=100,
    regressor_steps=0.27,
    synthesised_per_step=0.04,
    validation_photos=4,
    field=GridFieldConfig(
        resolutions=(24, 64),
        channels=8,
        width=32,
        proposal_resolution=32,
        proposal_channels=4,
        proposal_samples=24,
        samples=16,
    ),
    field_stage=FieldStageConfig(colour_rays=512, depth_rays=128),
    regressor=RegressorRecipe(
        CompactPoseNetConfig(channels=(8, 16, 32), cells=4, width=64),
        RegressorStageConfig(batch=16),
    ),
)
# Still smaller, where all that counts is that the parts work together.
TINIEST = replace(
    TINY,
    regressor_steps=1.0,
    validation_photos=1,
    sizes=WorkingSizes(sparse=72, keyframe=36, training=36, depth=18, field=18, labels=24),
    field_stage=FieldStageConfig(colour_rays=64, depth_rays=16),
)
# Each kind of regressor, as small.
REGRESSORS = {
    'compact': TINY.regressor,
    'posenet': RegressorRecipe(
        PoseNetConfig('compact', 'random', hidden=16),
        EpochStageConfig(learning_rate=3e-3),
        24,
    ),
    'ms-transformer': RegressorRecipe(
        MsTransformerConfig(
            backbone='compact',
            weights='random',
            width=64,
            heads=4,
            hidden=16,
            dropout=0.0,
            translation_layers=1,
            rotation_layers=1,
            head_width=16,
            image_side=36,
            crop=32,
        ),
        MsTransformerStageConfig(
            learning_rate=1e-3,
            schedule=Cosine(0.05, 0.05),
            rotation_weight=0.0,
            jitter=ColourJitter(0.0, 0.0, 0.0, 0.0),
        ),
        36,
    ),
    'dfnet': RegressorRecipe(
        DFNetConfig(channels=8, hidden=4, width_scale=0.07, weights='random'),
        DFNetStageConfig(learning_rate=1e-2),
        24,
    ),
}
# The map of NeFeS: features, exposure and fusion around an MlpField.
TINY_NEFES = replace(
    TINIEST,
    minutes=None,
    features='dfnet',
    regressor_steps=0.2,
    field=MlpFieldConfig(
        width=32,
        depth=4,
        skip=2,
        position_levels=5,
        direction_levels=2,
        coarse_samples=8,
        fine_samples=8,
        features=8,
    ),
    regressor=REGRESSORS['dfnet'],
    nefes=NefesRecipe(
        stages=tuple(
            replace(s, rays=64, patches=min(s.patches, 1), patch_size=8, learning_rate=3e-3)
            for s in PUBLISHED_STAGES
        )
    ),
    rungs=('regressor',),
    refiner='nefes-a',
)

# Enough for poses to a per cent; so many steps give the same map on any machine.
STEPS = 300


@contextlib.contextmanager
def tiny_preset(preset: MappingPreset = TINY) -> Iterator[str]:
    """Give the name of a preset that is small enough for tests, known inside this block."""
    with mock.patch.dict(PRESETS, {PRESET: preset}):
        yield PRESET


def photo_poses(count: int) -> np.ndarray:
    """Return cameras (N, 4, 4) on a bow that look across the room at one corner of it."""
    shares = np.linspace(-1.0, 1.0, count)
    centres = np.stack([-1.0 + 0.3 * shares**2, 0.9 * shares, 0.15 * np.sin(4.0 * shares)], axis=1)
    targets = np.stack([1.8 + 0.0 * shares, 0.4 * shares, 0.1 * np.cos(3.0 * shares)], axis=1)
    return np.stack(
        [look_at(centre, target) for centre, target in zip(centres, targets, strict=True)]
    )


def query_poses() -> np.ndarray:
    """Return cameras (3, 4, 4) between and beside those of the photos."""
    centres = np.array([[-0.9, 0.35, 0.05], [-0.8, -0.5, -0.05], [-0.85, 0.0, 0.1]])
    targets = np.array([[1.8, 0.1, 0.1], [1.8, -0.3, 0.0], [1.8, 0.2, -0.1]])
    return np.stack(
        [look_at(centre, target) for centre, target in zip(centres, targets, strict=True)]
    )


def write_room(folder: Path, photos: int = 12, room: TexturedRoom = ROOM) -> Scene:
    """Write pictures of a room as a scene folder with splits train and test."""
    splits = {'train': photo_poses(photos), 'test': query_poses()}
    frames = []
    for split, poses in splits.items():
        for index, T_map_cam in enumerate(poses):
            path = folder / 'raw' / f'{split}_{index:02d}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            image = to_u8(room.view(CAMERA, T_map_cam)[0])
            cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            frames.append(Frame(path.name, path, CAMERA, T_map_cam))
    scene = Scene(
        root=folder,
        frames=tuple(sorted(frames, key=lambda frame: frame.name)),
        splits={
            split: tuple(f.name for f in frames if f.name.startswith(split)) for split in splits
        },
        units='metres',
    )
    return scene.save(folder / 'scene')
