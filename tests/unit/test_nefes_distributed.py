"""Two gloo processes train a feature synthesizer as one process on the joined batch does."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.multiprocessing

from posefield.learning import distributed
from posefield.learning.loop import run_stage
from posefield.relocalization.nefes_stage import NefesStage
from posefield.relocalization.pose_correction import PoseCorrection
from support.nefes_room import room_photos, room_synthesizer, room_views, tiny_stages

STEPS = 3
CASES = ('grid photometric', 'grid feature', 'mlp feature', 'grid fusion')


class UnjitteredStage(NefesStage):
    """Samples without jitter, which every process draws for itself."""

    def step(self, step, generator):
        return super().step(step, None)


def _train(folder: Path, case: str) -> None:
    kind, name = case.split()
    config = next(stage for stage in tiny_stages(kind) if stage.name == name)
    # Three photos of 33 rays make an odd number: the shares are not equal.
    config = replace(config, batch=3, rays=33)
    views = room_views(room_photos(3))
    synthesizer = room_synthesizer(kind)
    if distributed.rank() > 0:
        # The weights of the first process are the ones that count.
        synthesizer = room_synthesizer(kind).apply(_zeroed)
    poses = PoseCorrection(views.T_field_cam_N44)
    stage = UnjitteredStage(config, views, synthesizer, 0, poses=poses)
    result = run_stage(stage, generator=distributed.process_generator(1), steps=STEPS)
    outcome = {**synthesizer.state_dict(), 'poses': poses.poses()}
    outcome['metrics'] = result.metrics
    torch.save(outcome, folder / f'{case}.{distributed.world_size()}.{distributed.rank()}.pt')


def _zeroed(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()


def _process(rank: int, folder: Path, world_size: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=60),
    )
    for case in CASES:
        _train(folder, case)
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
    """What one process and two did: tensors by case, number of processes and rank."""
    folder = tmp_path_factory.mktemp('nefes')
    torch.multiprocessing.spawn(_process, (folder, 2), nprocs=2)
    with torch.random.fork_rng([]):
        for case in CASES:
            _train(folder, case)
    return {p.stem: torch.load(p) for p in folder.glob('*.pt')}


@pytest.mark.parametrize('case', CASES)
def test_all_processes_end_with_the_same_weights_and_poses(outcomes, case):
    first, second = outcomes[f'{case}.2.0'], outcomes[f'{case}.2.1']
    assert first['metrics'] == second['metrics']
    for name in first.keys() - {'metrics'}:
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize('case', CASES[:3])
def test_two_processes_equal_one_on_the_joined_batch(outcomes, case):
    single, both = outcomes[f'{case}.1.0'], outcomes[f'{case}.2.0']
    assert single['metrics'].keys() == both['metrics'].keys()
    for name in single['metrics'].keys() - {'psnr'}:
        assert both['metrics'][name] == pytest.approx(single['metrics'][name], rel=1e-4)
    for name in single.keys() - {'metrics'}:
        torch.testing.assert_close(both[name], single[name], rtol=1e-3, atol=2e-4)
    assert not torch.equal(single['poses'], room_views(room_photos(3)).T_field_cam_N44)


def test_the_fusion_differs_by_the_statistics_of_the_shares_only(outcomes):
    single, both = outcomes['grid fusion.1.0'], outcomes['grid fusion.2.0']
    assert both['metrics']['feature'] == pytest.approx(single['metrics']['feature'], rel=1e-2)
    assert both['metrics']['fusion'] == pytest.approx(single['metrics']['fusion'], rel=0.2)
