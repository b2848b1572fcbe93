"""The paper's preset, with networks and images of a laptop's size, on real photos."""

from dataclasses import replace
from unittest import mock

import pytest
import torch

from posefield.data.nerf import read_nerf
from posefield.learning import loop
from posefield.relocalization.mapping import build_map
from posefield.relocalization.presets import PRESETS
from support.recorder import Recorder
from support.tiny_map import tiny_preset

pytestmark = pytest.mark.real_data

SMALL = PRESETS['paper-small']
PRESET = replace(
    SMALL,
    max_keyframes=8,
    validation_photos=2,
    synthesised_per_step=0.1,
    sizes=replace(SMALL.sizes, keyframe=120, depth=24, field=24, labels=48),
    nefes=replace(
        SMALL.nefes,
        stages=tuple(
            replace(stage, rays=512, patches=min(stage.patches, 2)) for stage in SMALL.nefes.stages
        ),
    ),
)
PHOTOS = (0, 13, 27)
STEPS = 120


def psnr_of_photos(stage) -> float:
    """Return how well the field shows some of its photos, in decibels."""
    views, errors = stage._views, []
    for photo in PHOTOS:
        camera = views.cameras[photo]
        pixels = torch.arange(camera.height * camera.width)
        true = views.colours(torch.full((len(pixels),), photo), pixels)
        seen = stage.synthesizer.render_view(
            camera,
            views.T_field_cam_N44[photo],
            views.transform.near,
            views.transform.far,
            views.histograms_N10[photo],
        )
        errors.append(((seen.colours_3HW.flatten(1).T - true) ** 2).mean())
    return float(-10.0 * torch.stack(errors).mean().log10())


def test_photos_are_shown_better_after_every_stage_of_the_paper(real_data_dir, tmp_path):
    rises = {}

    def run_stage(stage, **options):
        before = psnr_of_photos(stage)
        result = loop.run_stage(stage, **options)
        rises[stage.name] = psnr_of_photos(stage) - before
        return result

    recorder = Recorder()
    with (
        tiny_preset(PRESET) as preset,
        mock.patch('posefield.relocalization.nefes_training.run_stage', run_stage),
    ):
        bundle = build_map(
            read_nerf(real_data_dir / 'fox'),
            preset,
            tmp_path / 'map',
            device='cpu',
            steps=STEPS,
            progress=recorder,
        )
    assert sorted(rises) == ['feature', 'fusion', 'photometric']
    assert min(rises.values()) > 0.03, rises
    assert {'photometric', 'feature', 'fusion', 'regressor'} <= recorder.metrics.keys()
    assert bundle.synthesizer is not None
