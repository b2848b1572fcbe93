"""Ctrl-C and SIGTERM, sent to a real process that trains."""

import os
from pathlib import Path
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

import posefield
from posefield.learning.checkpoints import CheckpointStore
from posefield.learning.interrupt import stop_on_interrupt

TRAIN = """
    import sys, time, torch
    from posefield.errors import LearningInterrupted
    from posefield.learning.checkpoints import CheckpointStore
    from posefield.learning.interrupt import stop_on_interrupt
    from posefield.learning.loop import run_stage
    from posefield.learning.stage import Stage

    class Slow(Stage):
        name = 'slow'
        def __init__(self):
            self.net = torch.nn.Linear(1, 1)
            torch.nn.init.ones_(self.net.weight)
            torch.nn.init.ones_(self.net.bias)
        def modules(self):
            return {'net': self.net}
        def step(self, step, generator):
            print('step', step, flush=True)
            time.sleep(STEP_S)
            x = torch.rand(4, 1, generator=generator)
            return {'loss': self.net(x).square().mean()}

    STEP_S = float(sys.argv[2])
    stage = Slow()
    try:
        with stop_on_interrupt() as stop:
            run_stage(stage, generator=torch.Generator().manual_seed(0), steps=int(sys.argv[3]),
                      stop=stop, checkpoints=CheckpointStore(sys.argv[1]))
    except LearningInterrupted as error:
        print(error)
        sys.exit(130)
    print('weights', stage.net.weight.item().hex(), stage.net.bias.item().hex())
"""


def _start(folder: Path, step_s: float, steps: int) -> subprocess.Popen:
    root = Path(posefield.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, '-c', textwrap.dedent(TRAIN), str(folder), str(step_s), str(steps)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'},
    )


def _read_to(process: subprocess.Popen, line: str) -> None:
    while (found := process.stdout.readline()).strip() != line:
        assert found, process.stderr.read()


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
    """The last line of a run that nobody interrupts: its weights."""
    out, errors = _start(tmp_path_factory.mktemp('straight'), 0.0, 12).communicate(timeout=60)
    assert out.splitlines()[-1].startswith('weights'), errors
    return out.splitlines()[-1]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_with_a_checkpoint_and_the_rest_gives_the_same_result(
    tmp_path, number, straight
):
    process = _start(tmp_path, 0.05, 12)
    _read_to(process, 'step 4')
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert f'a checkpoint is in {tmp_path}' in out
    assert 'Stopping after this step' in errors
    assert 'Traceback' not in errors
    steps = CheckpointStore(tmp_path).load('slow').state['steps']
    assert 5 <= steps < 12

    resumed, _ = _start(tmp_path, 0.0, 12).communicate(timeout=60)
    assert resumed.splitlines()[0] == f'step {steps}'
    assert resumed.splitlines()[-1] == straight


def test_a_second_signal_kills(tmp_path):
    process = _start(tmp_path, 60.0, 2)
    _read_to(process, 'step 0')
    process.send_signal(signal.SIGINT)
    assert 'Stopping' in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_interrupt() as stop:
        assert signal.getsignal(signal.SIGINT) is not before[0]
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(timeout=5)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_another_thread_than_the_main_one_gets_an_event():
    events = []

    def work():
        with stop_on_interrupt() as stop:
            events.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not events[0].is_set()
