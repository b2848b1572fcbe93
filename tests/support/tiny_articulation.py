"""A preset that learns the two balls in seconds."""

from collections.abc import Iterator
import contextlib
from unittest import mock

from posefield.articulation.decoder import DecoderConfig
from posefield.articulation.part_fitting import PartFittingConfig
from posefield.articulation.presets import PRESETS, FastPreset
from posefield.articulation.skeleton_fitting import SkeletonFittingConfig
from posefield.articulation.skeleton_search import SkeletonSearchConfig
from posefield.articulation.surface import SurfaceConfig
from posefield.articulation.surface_stage import SurfaceStageConfig

PRESET = 'tiny'
TINY = FastPreset(
    minutes=0.1,
    restarts=1,
    fitting=PartFittingConfig(parts=4, neighbours=2),
    skeleton=SkeletonFittingConfig(
        search=SkeletonSearchConfig(
            frozen_steps=4, changed_steps=8, last_steps=4, rounds=1, processes=1
        )
    ),
    surface=SurfaceConfig(
        DecoderConfig(octaves=2, width=16, depth=2, largest_residual=0.06),
        union_sharpness=80.0,
        exact=False,
        shading=True,
        sharpness=60.0,
        samples=10,
    ),
    surface_stage=SurfaceStageConfig(rays=128, samples=6),
)


@contextlib.contextmanager
def tiny_preset(preset: FastPreset = TINY) -> Iterator[str]:
    """Give the name of a preset that is small enough for tests, known inside this block."""
    with mock.patch.dict(PRESETS, {PRESET: preset}):
        yield PRESET
