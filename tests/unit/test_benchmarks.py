"""The benchmarks: what they require, and their parts at tiny sizes."""

import gpu
from gpu_articulation import TINY_PAPER, PaperIteration, made_up_source
import numpy as np
import pytest
import refiners
import torch
from verdicts import all_hold, verdict

CPU = torch.device('cpu')


def test_a_verdict_holds_up_to_its_bound():
    assert verdict('recall', 0.9, at_least=0.9)['holds']
    assert not verdict('recall', 0.89, at_least=0.9)['holds']
    assert verdict('seconds', 0.1, at_most=0.1)['holds']
    assert not verdict('seconds', 0.11, at_most=0.1)['holds']
    assert not verdict('nothing', None, at_most=1.0)['holds']
    assert verdict('x', 1.0, at_most=0.125)['required'] == '<= 0.125'


def test_every_refiner_is_given_the_same_starts(tiny_scene, tiny_localizer):
    starts = refiners.starts_of(tiny_scene, tiny_localizer, every=1, count=2)
    assert len(starts) == 2 * len(tiny_scene.split('test'))
    fewer = refiners.starts_of(tiny_scene, tiny_localizer, every=2, count=2)
    np.testing.assert_array_equal(fewer[2].T_map_cam, starts[4].T_map_cam)
    bundle, config = tiny_localizer.bundle, tiny_localizer.config
    localizers = {
        name: refiners.Localizer(bundle, config.with_refiner(name, iterations))
        for name, iterations in (('nefes-b', 2), ('field', None))
    }
    answers = refiners.refined('tiny', localizers, starts[:2])
    figures = refiners.with_ratios({n: refiners.summary(said) for n, said in answers.items()})
    assert figures['nefes-b']['renders'] == 3
    assert figures['nefes-b']['seconds_ratio'] == 1.0
    assert figures['field']['renders_ratio'] == figures['field']['renders'] / 3


def test_feature_alignment_must_beat_mode_b():
    better = {'median_percent': 0.2, 'median_deg': 0.1, 'recall': 1.0}
    worse = {'median_percent': 0.5, 'median_deg': 0.1, 'recall': 0.8}
    field = {**better, 'renders_ratio': 0.098, 'seconds_ratio': 0.1}
    scenes = {'fox': {'refiners': {'field': field, 'nefes-b': worse}}}
    assert all_hold(refiners.verdicts(scenes))
    for key, value in (('recall', 0.7), ('median_deg', 0.2), ('seconds_ratio', 0.13)):
        spoiled = {'fox': {'refiners': {'field': {**field, key: value}, 'nefes-b': worse}}}
        missed = [one['what'] for one in refiners.verdicts(spoiled) if not one['holds']]
        assert missed == [f'fox: {key}']
    assert refiners.verdicts({'fox': {'refiners': {'field': field}}}) == []


@pytest.mark.parametrize('refiner', ['nefes-a', 'nefes-b'])
def test_an_iteration_of_nefes_is_timed(refiner):
    times = gpu.iteration_times(refiner, gpu.TINY, ('plain', 'bfloat16'), CPU)
    assert set(times) == {'plain', 'bfloat16'}
    assert all(0.0 < found['median_ms'] <= found['p90_ms'] for found in times.values())


def test_the_paper_has_4800_rays_with_128_samples():
    sizes = gpu.Sizes()
    camera = gpu._camera(sizes).with_short_side(sizes.short_side)
    assert camera.width * camera.height == 4800
    assert sizes.field.coarse_samples == sizes.field.fine_samples == 64
    assert (sizes.field.width, sizes.field.depth, sizes.field.features) == (128, 8, 128)


def test_an_iteration_of_watch_it_move_is_timed():
    times = gpu.watch_it_move_times(gpu.TINY, CPU)
    assert set(times) == {'plain', 'tf32'}
    assert all(0.0 < found['median_ms'] <= found['p90_ms'] for found in times.values())


def test_an_iteration_of_watch_it_move_has_all_losses_and_changes_the_model():
    iteration = PaperIteration(TINY_PAPER, CPU)
    before = [parameter.detach().clone() for parameter in iteration.model.parameters()]
    metrics = iteration()
    losses = {'photo', 'eikonal', 'structure', 'separation', 'silhouette', 'centres', 'merging'}
    assert losses <= metrics.keys()
    assert all(float(metrics[name].detach()) > 0.0 for name in losses)
    after = iteration.model.parameters()
    assert all(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
    batch = made_up_source(TINY_PAPER, CPU).batch(np.arange(2), np.array([0, 4]))
    centres = batch.project(torch.zeros(2, 1, 3))
    torch.testing.assert_close(centres, torch.full((2, 1, 2), 15.5))


def test_the_iteration_of_watch_it_move_has_the_published_sizes():
    sizes = gpu.Sizes().watch_it_move
    config = sizes.config
    assert (config.images, config.rays, config.size, config.model.parts) == (16, 384, 512, 20)
    assert config.render.coarse_samples == config.render.fine_samples == 64
    assert (sizes.views, sizes.frames) == (5, 300)


def test_a_gpu_must_reach_all_three_times():
    fast = {'plain': {'median_ms': 1.0}}
    figures = {
        'mode_b_iteration': fast,
        'localization': {'feature alignment': {'median_ms': 1.0}},
        'watch_it_move_iteration': fast,
    }
    assert all_hold(gpu.verdicts(figures))
    slow = {**figures, 'watch_it_move_iteration': {'plain': {'median_ms': 201.0}}}
    missed = [one['what'] for one in gpu.verdicts(slow) if not one['holds']]
    assert missed == ['Watch It Move, one iteration: s']


def test_the_clock_runs_after_warming_up():
    calls = []
    found = gpu.milliseconds(lambda: calls.append(0), CPU, 3, 5)
    assert len(calls) == 8
    assert found['median_ms'] >= 0.0


def test_localizations_are_timed(tiny_scene, tiny_localizer):
    times = gpu.localization_times(tiny_localizer, tiny_scene.split('test'), CPU, 1)
    assert set(times) == {'feature alignment', 'whole ladder'}
    assert all(found['median_ms'] > 0.0 for found in times.values())


@pytest.mark.parametrize('device', ['cpu', 'auto'])
def test_a_cpu_makes_no_claims(monkeypatch, capsys, device):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr('sys.argv', ['gpu.py', '--device', device])
    with pytest.raises(SystemExit):
        gpu.main()
    assert '--tiny' in capsys.readouterr().err
