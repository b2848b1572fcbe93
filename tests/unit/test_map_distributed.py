"""Processes that torchrun started learn one map together."""

import json
import os
from pathlib import Path
import socket
import time
from unittest import mock

import numpy as np
import pytest
import torch
import torch.multiprocessing

from posefield.cli.app import main
from posefield.data.scene import Scene
from posefield.learning import distributed
from posefield.relocalization.localizer import Localizer
from posefield.relocalization.map_bundle import MapBundle
from posefield.relocalization.mapping import build_map
from posefield.relocalization.photos import prepare_photos
from posefield.relocalization.presets import PRESETS
from support.tiny_map import CAMERA, ROOM, TINIEST, query_poses, tiny_preset, write_room

MINUTES = 0.03
# Longer than reading photos may take before it costs time of the field.
LATE_S = 1.5


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(('localhost', 0))
        return found.getsockname()[1]


def _process(rank: int, folder: Path, ports: tuple[int, int]) -> None:
    """Do what torchrun starts, twice: by steps on the command line, and by time."""
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='localhost',
        MASTER_PORT=str(ports[0]),
    )
    scene = folder / 'scene'
    arguments = ['map', 'train', str(scene), '--preset', 'cpu', '--device', 'cpu', '--quiet']
    with mock.patch.dict(PRESETS, cpu=TINIEST):
        code = main([*arguments, '--out', str(folder / 'by_steps' / 'map'), '--steps', '12'])
    os.environ['MASTER_PORT'] = str(ports[1])
    outcome = {'code': code, 'left': distributed.is_active()}
    with distributed.process_group('cpu'), tiny_preset(TINIEST) as preset:
        outcome['ranks'] = [distributed.rank(), distributed.world_size()]
        out = folder / 'by_time' / 'map'
        with mock.patch('posefield.relocalization.mapping.prepare_photos', _late):
            bundle = build_map(Scene.load(scene), preset, out, device='cpu', minutes=MINUTES)
        # Nobody is here before the map is.
        outcome['whole'] = (out / 'map.json').is_file()
        tensors = {**bundle.synthesizer.state_dict(), **bundle.regressor.state_dict()}
        outcome['sum'] = sum(float(tensor.double().sum()) for tensor in tensors.values())
    (folder / f'{rank}.json').write_text(json.dumps(outcome))


def _late(*arguments):
    """Prepare photos, in the second process much later than in the first."""
    time.sleep(LATE_S * distributed.rank())
    return prepare_photos(*arguments)


@pytest.fixture(scope='module')
def learned(tmp_path_factory) -> tuple[Path, list[dict]]:
    """A folder with both maps, and what the processes say."""
    folder = tmp_path_factory.mktemp('torchrun')
    write_room(folder, photos=4)
    context = torch.multiprocessing.spawn(
        _process, (folder, (_free_port(), _free_port())), nprocs=2, join=False
    )  # fmt: skip
    end_s = time.monotonic() + 120.0
    try:
        while not context.join(timeout=1.0):
            assert time.monotonic() < end_s, 'the processes wait for each other for ever'
    finally:
        for process in context.processes:
            process.kill()
    return folder, [json.loads((folder / f'{rank}.json').read_text()) for rank in range(2)]


@pytest.mark.parametrize('name', ['by_steps', 'by_time'])
def test_exactly_one_whole_map_lies_there(learned, name):
    folder, _ = learned
    assert [path.name for path in (folder / name).iterdir()] == ['map']
    bundle = MapBundle.load(folder / name / 'map', 'cpu')
    # Only the first process calibrates; its map is the one that was saved.
    assert any(weight != 0.0 for weight in bundle.calibration.acceptance.models['render'].weights)
    localizer = Localizer.load(folder / name / 'map', 'cpu')
    found = localizer.localize(ROOM.view(CAMERA, query_poses()[2])[0], CAMERA)
    assert np.isfinite(found.T_map_cam).all()


def test_the_command_succeeds_in_every_process_and_leaves_the_group(learned):
    _, (first, second) = learned
    assert first['code'] == second['code'] == 0
    assert not first['left'] and not second['left']
    assert (first['ranks'], second['ranks']) == ([0, 2], [1, 2])


def test_processes_that_prepare_photos_at_different_speeds_learn_the_same_field(learned):
    """Each has its clock, but they stop together."""
    _, (first, second) = learned
    assert first['whole'] and second['whole']
    assert first['sum'] == second['sum']
