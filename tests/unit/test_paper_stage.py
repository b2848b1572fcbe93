"""Iterations of Watch It Move on a tiny scene (watch_it_move.md sections 5 to 7)."""

from dataclasses import replace
import threading

import numpy as np
import pytest
import torch

from posefield.articulation import paper_rendering, volume_rendering
from posefield.articulation.joint_candidates import (
    PairDistances,
    candidate_points,
    merge_loss,
    structure_loss,
)
from posefield.articulation.paper_model import PaperModel
from posefield.articulation.paper_stage import PaperDraws, PaperStage, Stretch
from posefield.articulation.paper_training import (
    MERGING_STAGE,
    PARTS_STAGE,
    part_motion,
    train_paper,
)
from posefield.articulation.published import RECORDINGS, published_config
from posefield.errors import LearningError, LearningInterrupted
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import run_stage
from support.paper_scene import TINY, ball_centres, tiny_model, tiny_source

CPU = torch.device('cpu')


def _stage(config=TINY, source=None, model=None):
    source = source or tiny_source()
    model = model or tiny_model(source.frames)
    stretch = Stretch('tiny', 0, 40, 40)
    return PaperStage(stretch, config, model, PairDistances(4), source, seed=0), model


def _step(stage, step=0):
    return stage.step(step, torch.Generator())


def _train(config=TINY, steps=None, source=None, **options):
    source = source or tiny_source()
    generator = torch.Generator().manual_seed(0)
    frames = tuple(range(source.frames))
    return train_paper(source, frames, config, seed=0, generator=generator, steps=steps, **options)


def test_all_seven_losses_are_there_when_their_time_has_come():
    stage, _ = _stage()
    early = _step(stage)
    names = {
        'loss',
        'psnr',
        'photo',
        'eikonal',
        'structure',
        'separation',
        'silhouette',
        'centres',
    }
    assert early.keys() == names
    late = _step(stage, 35)
    assert late.keys() == names | {'merging'}
    for metrics in (early, late):
        total = sum(v for n, v in metrics.items() if n not in ('loss', 'psnr'))
        torch.testing.assert_close(metrics['loss'], total)
        assert all(value.isfinite() for value in metrics.values())


def test_losses_without_weight_are_not_computed():
    config = replace(TINY, weights=replace(TINY.weights, centres=0.0))
    assert 'centres' not in _step(_stage(config)[0])


def test_everything_that_is_learned_has_a_gradient():
    stage, model = _stage()
    _step(stage)['loss'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_the_losses_on_poses_are_those_of_their_functions():
    stage, model = _stage()
    found = _step(stage, 32)
    # The only frames of the batch that these two losses depend on are drawn by the sampler.
    frames = torch.from_numpy(_stage()[0]._sampler.draw(32, 32, 4)[1])
    T = model.poses(frames)
    points = candidate_points(T, model.radii_P3)
    distances = PairDistances(4)
    distances.update(T, points)
    torch.testing.assert_close(found['structure'], 50 * structure_loss(points, distances.tree()))
    torch.testing.assert_close(found['merging'], 5 * merge_loss(model.poses.all_frames()))


def test_the_optimizer_is_the_published_one():
    stage, _ = _stage()
    optimizer = stage.make_optimizer(stage.parameter_groups())
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.AdamW
    assert group['weight_decay'] == 0.005
    assert group['eps'] == 1e-20
    assert group['betas'] == (0.9, 0.999)
    assert stage.clip_norm == 2.0
    names = [n for n, _ in stage.modules()['model'].named_parameters()]
    assert len(group['params']) == len(names)
    assert {'raw_radii_P3', 'decoder.sharpness_weight', 'union.sharpness_weight'} <= set(names)


def test_draws_are_of_the_step_and_the_seed():
    draws = [PaperDraws.of_step(TINY, 64, 8, seed, CPU) for seed in (5, 5, 6)]
    assert torch.equal(draws[0].fine_BRN, draws[1].fine_BRN)
    assert not torch.equal(draws[0].fine_BRN, draws[2].fine_BRN)
    torch.testing.assert_close(draws[0].sphere_PM3.norm(dim=2), torch.ones(4, 20))
    assert draws[0].eikonal_BRK.max() < 20
    assert draws[0].eikonal_BRK.shape == (4, 8, 4)


@pytest.mark.parametrize(
    ('stretch', 'expected'),
    [
        (Stretch('whole', 0, 150_000, 150_000), [0, 1, 149_999]),
        (Stretch('late', 150_000, 200_000, 50_000), [150_000, 150_001]),
        (Stretch('short', 0, 150_000, 150), [0, 1_000, 149_000]),
    ],
)
def test_a_stage_of_steps_is_somewhere_in_the_schedule(stretch, expected):
    steps = [0, 1, stretch.steps - 1]
    assert [stretch.iteration(s, 0.0) for s in steps[: len(expected)]] == expected


def test_a_stage_of_seconds_follows_the_fraction_done():
    stretch = Stretch('timed', 100, 300, None)
    assert [stretch.iteration(7, fraction) for fraction in (0.0, 0.5, 1.0)] == [100, 200, 300]


def test_two_balls_are_learned():
    stage, _ = _stage()
    before = {name: value.item() for name, value in _step(stage, 35).items()}
    result = _train(steps=160)
    after = result.stages[MERGING_STAGE].metrics
    assert after['photo'] < 0.5 * before['photo']
    assert after['silhouette'] < 0.2 * before['silhouette']
    assert after['psnr'] > before['psnr'] + 2
    motion = result.motion
    assert motion.frames_F == tuple(range(6))
    assert len(motion.edges) == 3
    assert motion.colours_P3.min() >= 0
    assert motion.colours_P3.max() <= 1
    # Every ball has a part in it in every frame.
    for frame in range(6):
        for ball in ball_centres(frame, 6):
            distances = ((motion.centres_FP3[frame] - ball) ** 2).sum(axis=1) ** 0.5
            assert distances.min() < 0.2


def test_the_motion_is_what_the_networks_say_with_exact_rotations():
    model, distances = tiny_model(6), PairDistances(4)
    T = model.poses.all_frames()
    distances.update(T, candidate_points(T, model.radii_P3))
    with torch.no_grad():
        model.decoder.colour.weight.zero_()
        model.decoder.colour.bias.copy_(torch.tensor([0.0, 9.0, -9.0]))
    motion = part_motion(model, distances, (0, 1, 2, 5, 6, 9))
    assert motion.frames_F == (0, 1, 2, 5, 6, 9)
    assert motion.edges == distances.tree()
    np.testing.assert_allclose(motion.T_scene_part_FP44, T.detach(), atol=1e-6)
    R = motion.T_scene_part_FP44[..., :3, :3]
    np.testing.assert_allclose(R @ R.swapaxes(-1, -2), np.eye(3) + 0 * R, atol=1e-12)
    np.testing.assert_allclose(motion.radii_P3, model.radii_P3.detach())
    np.testing.assert_allclose(motion.colours_P3, [[0.5, 1.0, 0.0]] * 4, atol=1e-6)


def test_both_stages_share_the_steps_and_the_second_has_a_new_optimizer():
    result = _train(steps=8)
    assert {name: r.steps for name, r in result.stages.items()} == {
        PARTS_STAGE: 6,
        MERGING_STAGE: 2,
    }
    assert 'merging' in result.stages[MERGING_STAGE].metrics
    assert 'merging' not in result.stages[PARTS_STAGE].metrics


def test_the_published_number_of_steps_is_the_default():
    result = _train(replace(TINY, iterations=4, weights=replace(TINY.weights, merging_begins=3)))
    assert [r.steps for r in result.stages.values()] == [3, 1]


def test_a_budget_of_seconds_goes_through_the_whole_schedule():
    result = _train(seconds=2.0)
    assert 'merging' in result.stages[MERGING_STAGE].metrics
    assert all(r.seconds > 0 for r in result.stages.values())


class StoppingStore(CheckpointStore):
    """Asks to stop as soon as a checkpoint of a stage is written for the n-th time."""

    def __init__(self, folder, stage, stop):
        super().__init__(folder)
        self._stage, self._stop = stage, stop

    def load(self, stage):
        if stage == self._stage:
            self._stop.set()
        return super().load(stage)


@pytest.mark.parametrize('stage', [PARTS_STAGE, MERGING_STAGE])
def test_a_run_that_was_stopped_goes_on_to_the_same_result(tmp_path, stage):
    whole = _train(steps=12)
    stop = threading.Event()
    with pytest.raises(LearningInterrupted, match=stage):
        _train(steps=12, stop=stop, checkpoints=StoppingStore(tmp_path, stage, stop))
    resumed = _train(steps=12, checkpoints=CheckpointStore(tmp_path))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert whole.motion.edges == resumed.motion.edges


def test_epochs_go_on_where_they_were():
    stage, _ = _stage()
    for step in (30, 31):
        stage._draw(step, 30)
    stage.on_interval(0.25)
    other, _ = _stage()
    other.load_extra_state(stage.extra_state())
    assert other.extra_state() == {'fraction': 0.25, 'drawn': 8}
    assert torch.equal(other._draw(32, 30).frames_B, stage._draw(32, 30).frames_B)


def test_images_that_spoil_gradients_are_skipped_and_counted():
    source = tiny_source()
    source._intrinsics[1] = torch.nan
    config = replace(TINY, images=1)
    stage, model = _stage(config, source=source)
    result = run_stage(stage, generator=torch.Generator(), steps=12)
    assert 0 < result.skipped < 12
    assert all(p.isfinite().all() for p in model.parameters())
    assert result.metrics['loss'] < float('inf')
    source._intrinsics[:] = torch.nan
    with pytest.raises(LearningError, match='tiny diverged: the gradients of 21 steps in a row'):
        run_stage(_stage(config, source=source)[0], generator=torch.Generator(), steps=40)


def test_a_part_that_left_every_view_does_not_stop_learning():
    source, model = tiny_source(), tiny_model(6)
    with torch.no_grad():
        model.poses.layers[-1].bias[24:27] = 40.0
    stage, _ = _stage(source=source, model=model)
    result = run_stage(stage, generator=torch.Generator(), steps=10)
    assert result.skipped == 0
    assert model.poses(torch.tensor([0]))[0, 0, :3, 3].max() < 40.0


def test_images_without_the_object_do_not_stop_learning():
    source = tiny_source()
    source._masks[0] = 0
    source._masks[1] = 2
    stage, model = _stage(source=source)
    result = run_stage(stage, generator=torch.Generator(), steps=6)
    assert result.skipped == 0
    assert all(p.isfinite().all() for p in model.parameters())


def test_cameras_that_are_close_have_a_nearer_near_plane(monkeypatch):
    seen = []

    def depth_range(depths, near_plane, margin):
        seen.append(near_plane)
        return volume_rendering.depth_range(depths, near_plane, margin)

    monkeypatch.setattr(paper_rendering, 'depth_range', depth_range)
    for distance, expected in ((2.5, 1.0), (1.2, 1.2 * 1.16**0.5 - 0.75), (0.5, 0.05)):
        seen.clear()
        _train(steps=2, source=tiny_source(distance=distance))
        assert seen == pytest.approx([expected] * 2)


def test_centres_are_not_drawn_to_silhouettes_that_are_unreliable():
    source = tiny_source()
    assert 'centres' in _train(steps=2, source=source).stages[PARTS_STAGE].metrics
    source._masks[1, 3, 5, 7] = 2
    assert 'centres' not in _train(steps=2, source=source).stages[PARTS_STAGE].metrics


def test_what_cannot_be_learned_is_refused():
    with pytest.raises(LearningError, match='at least 2 frames, found 1'):
        _train(steps=4, source=tiny_source(frames=1))
    with pytest.raises(LearningError, match='at least 2 steps, found 1'):
        _train(steps=1)
    with pytest.raises(LearningError, match='within the 20 iterations, found 30'):
        _train(replace(TINY, iterations=20), steps=4)
    source, generator = tiny_source(), torch.Generator()
    with pytest.raises(LearningError, match='6 frames of images, but 2 numbers'):
        train_paper(source, (0, 1), TINY, seed=0, generator=generator, steps=4)


def test_the_published_sizes():
    config = published_config('zju')
    assert (config.images, config.rays, config.size, config.model.parts) == (16, 384, 512, 20)
    assert config.render.coarse_samples + config.render.fine_samples == 128
    model = PaperModel(config.model, 300, generator=torch.Generator())
    hidden = [layer.out_features for layer in model.poses.layers[::2]]
    assert hidden == [256, 256, 256, 256, 180]
    assert torch.equal(model.radii_P3, torch.full((20, 3), 0.1))


def test_the_recordings_of_the_paper_have_their_own_configurations():
    found = {
        name: (c.model.parts, c.model.pose_features, c.rays, c.weights.silhouette)
        for name, c in ((name, published_config(name)) for name in RECORDINGS)
    }
    assert found['zju'] == found['dog'] == (20, 50, 384, 600)
    assert found['atlas'] == found['baxter'] == (20, 30, 384, 400)
    assert found['nao'] == (20, 30, 384, 600)
    assert found['cassie'] == found['spot'] == (15, 30, 512, 400)
    assert found['pandas'] == (10, 30, 512, 400)
    assert found['iiwa'] == (8, 30, 512, 400)
    with pytest.raises(LearningError, match="Unknown recording 'kuka'"):
        published_config('kuka')
