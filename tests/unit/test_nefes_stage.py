"""Training a feature synthesizer in stages: it learns, resumes, and leaves moving things out."""

from dataclasses import replace
import threading

import numpy as np
import pytest
import torch

from posefield.errors import LearningError, LearningInterrupted
from posefield.fields.radiance import RayExtras, RayRender, RaySamples
from posefield.geometry.poses import perturbed, pose_errors
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.loop import run_stage
from posefield.relocalization.nefes_config import FEATURE, FUSION, PHOTOMETRIC
from posefield.relocalization.nefes_losses import colour_loss
from posefield.relocalization.nefes_stage import NefesStage
from posefield.relocalization.nefes_training import train_nefes
from posefield.relocalization.pose_correction import PoseCorrection
from support.nefes_room import (
    CAMERA,
    GRID_FIELD,
    TRANSFORM,
    room_photos,
    room_synthesizer,
    room_views,
    tiny_stages,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope='module')
def views():
    return room_views()


@torch.no_grad()
def _losses(synthesizer, views) -> tuple[float, float, float]:
    """PSNR, and L1 of features and fused features, of whole views."""
    square, feature, fusion = [], [], []
    synthesizer.eval()
    for photo, camera in enumerate(views.cameras):
        view = synthesizer.render_view(
            camera,
            views.T_field_cam_N44[photo],
            TRANSFORM.near,
            TRANSFORM.far,
            views.histograms_N10[photo],
        )
        pixels = torch.arange(camera.width * camera.height)
        photos = torch.full_like(pixels, photo)
        labels = views.features(photos, pixels).T.reshape(view.features_CHW.shape)
        colours = views.colours(photos, pixels).T.reshape(view.colours_3HW.shape)
        square.append(float(((view.colours_3HW - colours) ** 2).mean()))
        feature.append(float((view.features_CHW - labels).abs().mean()))
        fusion.append(float((view.fused_CHW - labels).abs().mean()))
    return -10 * np.log10(np.mean(square)), np.mean(feature), np.mean(fusion)


@pytest.mark.parametrize(('kind', 'steps'), [('grid', (80, 30, 30)), ('mlp', (200, 50, 30))])
def test_every_stage_brings_colours_and_features_closer(views, kind, steps):
    synthesizer = room_synthesizer(kind)
    losses, before = [_losses(synthesizer, views)], None
    for number, (config, count) in enumerate(zip(tiny_stages(kind), steps, strict=True)):
        stage = NefesStage(config, views, synthesizer, number, before=before)
        result = run_stage(stage, generator=_generator(number), steps=count)
        assert set(result.metrics) == {
            'loss',
            'psnr',
            *(['feature'] if config.feature_weight else []),
            *(['fusion'] if config.fusion_weight else []),
        }
        losses.append(_losses(synthesizer, views))
        before = stage
    psnrs, features, fusions = zip(*losses, strict=True)
    assert psnrs[0] + 2 < psnrs[1] < psnrs[2] < psnrs[3]
    assert max(features[2:]) < 0.8 * features[1]
    assert fusions[3] < 0.5 * fusions[2]
    assert result.metrics['psnr'] == pytest.approx(psnrs[3], abs=1.5)


def test_each_stage_changes_what_it_has_a_loss_for(views):
    def changed(config, fresh):
        synthesizer = room_synthesizer('grid')
        old = {name: p.detach().clone() for name, p in synthesizer.named_parameters()}
        run_stage(NefesStage(config, views, synthesizer, 0), generator=fresh, steps=2)
        return {n for n, p in synthesizer.named_parameters() if not torch.equal(p, old[n])}

    photometric, feature, fusion = (changed(c, _generator()) for c in tiny_stages('grid'))
    heads = {'field.feature.0.weight', 'field.feature.2.bias'}
    assert {'field.trunk.0.weight', 'field.proposal.head.weight', 'act.network.6.bias'} <= (
        photometric
    )
    assert not heads & photometric and heads <= feature and heads <= fusion
    fused = {'fusion.convolutions.0.weight', 'fusion.norm.weight'}
    assert not fused & feature and fused <= fusion


def test_networks_planes_and_poses_have_their_own_rates(views):
    synthesizer = room_synthesizer('grid')
    config = tiny_stages('grid')[2]
    stage = NefesStage(config, views, synthesizer, 0, poses=PoseCorrection(views.T_field_cam_N44))
    networks, planes, poses = stage.parameter_groups()
    assert (networks['lr'], planes['lr'], poses['lr']) == (5e-3, 2e-2, 1e-3)
    assert {id(p) for p in planes['params']} == {
        id(p) for n, p in synthesizer.named_parameters() if n.endswith('planes')
    }
    parameters = [p for group in (networks, planes, poses) for p in group['params']]
    assert len(parameters) == len({id(p) for p in parameters})
    assert len(parameters) == len(list(synthesizer.parameters())) + 2
    run_stage(stage, generator=_generator(), steps=2)
    rates = [group['lr'] for group in stage.optimizer.param_groups]
    decay = 0.1 ** (400 / 754)
    assert rates == pytest.approx([5e-3 * decay, 2e-2 * decay, 1e-3 * 0.9**4])
    mlp = NefesStage(tiny_stages('mlp')[0], views, room_synthesizer('mlp'), 0)
    assert [group['lr'] for group in mlp.parameter_groups()] == [3e-3]


@pytest.mark.parametrize('number', [0, 1, 2])
def test_a_batch_in_pieces_has_the_gradients_of_the_whole(views, number):
    gradients, metrics = [], []
    for max_rays in (10_000, 150):
        # The normalisation of the fusion is of the pieces, so its loss is left out.
        config = replace(tiny_stages('grid')[number], max_rays=max_rays, fusion_weight=0.0)
        synthesizer = room_synthesizer('grid')
        found = NefesStage(config, views, synthesizer, 0).step(0, None)
        if max_rays == 10_000:
            found['loss'].backward()
        metrics.append({name: float(torch.as_tensor(v).detach()) for name, v in found.items()})
        gradients.append({n: p.grad for n, p in synthesizer.named_parameters()})
    psnrs = [of_run.pop('psnr') for of_run in metrics]
    assert psnrs[1] == pytest.approx(psnrs[0], abs=0.5)
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-5)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-6)


def test_patches_in_pieces_are_fused_whole(views):
    config = replace(tiny_stages('grid')[2], patches=3, max_rays=300)
    stage = NefesStage(config, views, room_synthesizer('grid'), 0)
    result = run_stage(stage, generator=_generator(), steps=3)
    assert set(result.metrics) == {'loss', 'psnr', 'feature', 'fusion'}


class StopAfter(threading.Event):
    """Set once it was asked this often."""

    def __init__(self, count: int):
        super().__init__()
        self.left = count

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize(('asked', 'learn_poses'), [(3, True), (8, False), (13, True)])
def test_resuming_in_any_stage_gives_the_uninterrupted_result(views, tmp_path, asked, learn_poses):
    def train(seed, **options):
        synthesizer = room_synthesizer('grid')
        result = train_nefes(
            synthesizer,
            views,
            [replace(stage, epochs=2) for stage in tiny_stages('grid')],
            seed=5,
            generator=_generator(seed),
            steps=12,
            learn_poses=learn_poses,
            **options,
        )
        return synthesizer, result

    store = CheckpointStore(tmp_path)
    stage = ('photometric', 'feature', 'fusion')[asked // 5]
    with pytest.raises(LearningInterrupted, match=f'in stage {stage} at'):
        train(1, checkpoints=store, stop=StopAfter(asked))
    resumed, result = train(99, checkpoints=store)
    straight, expected = train(1)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    np.testing.assert_array_equal(result.T_field_cam_N44, expected.T_field_cam_N44)
    assert [r.steps for r in result.stages.values()] == [4, 4, 4]
    assert not resumed.training


@pytest.mark.parametrize(('budget', 'steps'), [({}, [4, 2, 6]), ({'seconds': 0.3}, None)])
def test_stages_are_trained_by_epochs_or_by_time(views, budget, steps):
    epochs = (2, 1, 3)
    stages = [
        replace(stage, epochs=count)
        for stage, count in zip(tiny_stages('grid'), epochs, strict=True)
    ]
    result = train_nefes(
        room_synthesizer('grid'), views, stages, seed=0, generator=_generator(), **budget
    )
    found = [of_stage.steps for of_stage in result.stages.values()]
    assert found == steps if steps else min(found) > 0
    seconds = sum(of_stage.seconds for of_stage in result.stages.values())
    assert seconds >= budget.get('seconds', 0.0)
    np.testing.assert_array_equal(result.T_field_cam_N44, views.T_field_cam_N44.numpy())


def test_a_stage_that_continues_keeps_the_moments_of_the_one_before(views):
    synthesizer = room_synthesizer('grid')
    _, feature, fusion = tiny_stages('grid')
    first = NefesStage(feature, views, synthesizer, 0)
    run_stage(first, generator=_generator(), steps=3)
    weight = synthesizer.field.trunk[0].weight

    def state(config):
        stage = NefesStage(config, views, synthesizer, 0, before=first)
        return stage.make_optimizer(stage.parameter_groups()).state

    kept = state(fusion)[weight]
    assert torch.equal(kept['exp_avg'], first.optimizer.state[weight]['exp_avg'])
    assert kept['exp_avg'] is not first.optimizer.state[weight]['exp_avg']
    assert int(kept['step']) == 3
    assert weight not in state(replace(fusion, continues=False))


def test_poses_are_learned_and_stay_in_their_frame():
    photos = room_photos(8)
    random = np.random.default_rng(0)
    noisy = [
        replace(photo, T_map_cam=perturbed(photo.T_map_cam, 0.06, 3.0, random)) for photo in photos
    ]
    views = room_views(noisy)
    true = TRANSFORM.camera_to_field(np.stack([photo.T_map_cam for photo in photos]))
    result = train_nefes(
        room_synthesizer('grid'),
        views,
        tiny_stages('grid')[:1],
        seed=0,
        generator=_generator(),
        steps=160,
        learn_poses=True,
    )
    pairs = zip(result.T_field_cam_N44, true, strict=True)
    errors = [pose_errors(T, T_true) for T, T_true in pairs]
    # All started at 3 degrees and 0.027 field units.
    assert np.median([error.translation for error in errors]) < 0.02
    assert np.median([error.rotation_deg for error in errors]) < 2.0


def _moving_views(fill: int):
    """Photos with something in a corner that the mask leaves out; features are the image."""

    class Itself:
        channels = 3

        def __call__(self, image_B3HW):
            return image_B3HW

    static = np.ones((CAMERA.height, CAMERA.width), dtype=bool)
    static[:20, :24] = False
    photos = room_photos(4, static)
    for photo in photos:
        photo.image_u8[~static] = fill
    return room_views(photos, Itself())


@pytest.mark.parametrize('number', [0, 1, 2])
def test_what_moves_has_no_influence(number):
    field = replace(GRID_FIELD, features=3).to_dict()
    losses = []
    for fill in (0, 255):
        synthesizer = room_synthesizer(
            'grid', field=field, act=False, fusion={'channels': 3, 'width': 8}
        )
        stage = NefesStage(tiny_stages('grid')[number], _moving_views(fill), synthesizer, 0)
        metrics = stage.step(0, _generator())
        losses.append([float(torch.as_tensor(value).detach()) for value in metrics.values()])
    assert losses[0] == losses[1]


def test_a_synthesizer_without_what_a_stage_learns_is_refused(views):
    with pytest.raises(LearningError, match='fusion, but there is no such network'):
        NefesStage(FUSION, views, room_synthesizer('grid', fusion=None), 0)
    field = replace(GRID_FIELD, features=0).to_dict()
    bare = room_synthesizer('grid', field=field, fusion=None)
    with pytest.raises(LearningError, match='features of 11 channels, but the field has 0'):
        NefesStage(FEATURE, views, bare, 0)
    NefesStage(PHOTOMETRIC, views, bare, 0)


def _render(extras: RayExtras | None) -> RayRender:
    nothing = torch.zeros(2)
    samples = RaySamples(nothing, nothing, nothing)
    colours = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
    return RayRender(colours, nothing, nothing, nothing, samples, samples, extras=extras)


def test_the_colour_loss_of_nerf_w():
    truth = torch.tensor([[0.1, 0.4, 0.3], [0.0, 0.5, 1.0]])
    coarse = torch.tensor([[0.1, 0.2, 0.6], [0.5, 0.5, 0.5]])
    betas, densities = torch.tensor([0.1, 0.4]), torch.tensor([2.0, 3.0])
    found = colour_loss(_render(RayExtras(coarse, betas, densities)), truth, 0.01)
    expected = [
        0.5 * (0.04 + 0.09) / 3 + 0.04 / 3 / 0.02 + 3 + np.log(0.1) + 0.02,
        0.5 * 0.5 / 3 + 0.5 / 3 / 0.32 + 3 + np.log(0.4) + 0.03,
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    no_transient = colour_loss(_render(RayExtras(coarse)), truth, 0.01)
    assert no_transient.tolist() == pytest.approx(
        [0.04 / 3 + 0.5 * 0.13 / 3, 0.5 / 3 + 0.25 / 3], rel=1e-5
    )


def test_the_colour_loss_of_a_field_without_coarse_network():
    truth = torch.tensor([[0.1, 0.4, 0.3], [0.0, 0.5, 1.0]])
    found = colour_loss(_render(None), truth, 0.01)
    expected = np.sqrt(np.array([[0, 0.04, 0], [0.25, 0, 0.25]]) + 1e-4).mean(axis=1)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
