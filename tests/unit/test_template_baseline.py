"""The template baseline: its person, its Gaussians in images, and that it learns."""

import numpy as np
import pytest
import torch

from posefield.evaluation.evaluate_articulation import load_truth
from posefield.evaluation.gaussian_template import (
    BONES,
    Painter,
    TemplatePoses,
    Views,
    heat_maps,
    person,
)
from posefield.evaluation.photo_comparison import Photos, choose_photos
from posefield.evaluation.template_baseline import learn_template, template_figures
from support import sphere_arm
from support.recorder import Recorder


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_template_has_18_parts_and_17_joints_that_meet():
    template = person()
    assert len(BONES) == len(template.deviations_P3) == 18
    assert template.pairs_A2.shape == (17, 2)
    poses = TemplatePoses(10, generator=generator())
    ends = poses.anchors(torch.tensor(template.T_scene_part_P44, dtype=torch.float32)[None])
    torch.testing.assert_close(ends[:, :, 0], ends[:, :, 1])
    assert ends.abs().max() <= 1.0


def test_parts_begin_near_where_the_template_has_them():
    poses = TemplatePoses(10, generator=generator())
    T = poses(torch.arange(10))
    rigid = T[..., :3, :3] @ T[..., :3, :3].transpose(-1, -2)
    torch.testing.assert_close(rigid, torch.eye(3).expand_as(rigid), atol=1e-5, rtol=0)
    assert (T - poses.T_scene_part_P44).abs().max() < 0.2


def test_a_gaussian_is_seen_where_it_is_and_as_wide_as_it_is():
    views = Views(torch.eye(4)[None], torch.tensor([[40.0, 40.0, 31.5, 31.5]]))
    T = torch.eye(4)[None, None].clone()
    T[..., :3, 3] = torch.tensor([0.4, -0.2, 4.0])
    maps = heat_maps(views, T, torch.tensor([[0.5, 0.2, 0.1]]), (64, 64))[0, 0]
    y, x = divmod(int(maps.argmax()), 64)
    assert (x, y) in {(35, 29), (35, 30), (36, 29), (36, 30)}
    # One deviation to the side: 0.5 / 4 * 40 = 5 pixels along x, 2 along y.
    along = maps[29, 35:].tolist()
    assert along[5] == pytest.approx(np.exp(-0.5), abs=0.08)
    assert maps[31, 35] < along[2]
    T[..., 2, 3] = -4.0
    assert heat_maps(views, T, torch.full((1, 3), 0.1), (64, 64)).max() == 0.0


def test_where_the_painter_sees_no_object_it_shows_the_background():
    painter = Painter(1.0, generator=generator())
    with torch.no_grad():
        painter.head.bias[3] = -50.0
    colours, logits = painter(torch.zeros(1, 18, 17, 19))
    assert colours.shape == (1, 3, 17, 19) and logits.shape == (1, 17, 19)
    torch.testing.assert_close(colours, torch.ones_like(colours))


def test_it_learns_and_is_measured_like_a_model(tmp_path):
    recording = sphere_arm.record(tmp_path / 'data')
    truth, progress = load_truth(recording), Recorder()
    template = learn_template(
        recording, seed=0, device=torch.device('cpu'), steps=5, progress=progress
    )
    losses = [metrics['loss'] for metrics in progress.metrics['template']]
    assert losses[-1] < losses[0]
    photos = choose_photos(recording, template.frames, 2)
    figures = template_figures(template, recording, truth, photos)
    assert 0.0 < figures['joint_error'] < 1.0
    assert figures['a10_joint_error'] > 0.0
    assert figures['held_out_views']['images'] == 2
    assert figures['held_out_poses'] is None
    unknown = template_figures(template, recording, None, Photos((), ()))
    assert unknown['joint_error'] is None
    again = learn_template(recording, seed=0, device=torch.device('cpu'), steps=5)
    torch.testing.assert_close(again.T_scene_part_FP44, template.T_scene_part_FP44)
