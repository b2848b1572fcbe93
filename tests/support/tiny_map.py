"""A map of a small room, learned in seconds from a dozen small pictures."""

from collections.abc import Iterator
import contextlib
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from posefield.data.scene import Frame, Scene
from posefield.fields.grid_field import GridFieldConfig
from posefield.relocalization.field_stage import FieldStageConfig
from posefield.relocalization.photos import to_u8
from posefield.relocalization.presets import PRESETS, MappingPreset, RegressorRecipe
from posefield.relocalization.regressors.posenet import CompactPoseNetConfig
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


# Enough for poses to a per cent; so many steps give the same map on any machine.
STEPS = 300


@contextlib.contextmanager
def tiny_preset() -> Iterator[str]:
    """Give the name of a preset that is small enough for tests, known inside this block."""
    with mock.patch.dict(PRESETS, {PRESET: TINY}):
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


def write_room(folder: Path, photos: int = 12) -> Scene:
    """Write pictures of the room as a scene folder with splits train and test."""
    splits = {'train': photo_poses(photos), 'test': query_poses()}
    frames = []
    for split, poses in splits.items():
        for index, T_map_cam in enumerate(poses):
            path = folder / 'raw' / f'{split}_{index:02d}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            image = to_u8(ROOM.view(CAMERA, T_map_cam)[0])
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
