"""The command `posefield articulation simulate`."""

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('pybullet', reason='the extra `sim` (pybullet) is not installed')

from posefield.cli.app import main  # noqa: E402
from posefield.data import simulate_articulation as simulation  # noqa: E402
from posefield.data.articulation_truth import ArticulationTruth  # noqa: E402
from posefield.data.multiview import Multiview  # noqa: E402
from support.tiny_robot import write_tiny_urdf  # noqa: E402

PATIENCE_S = 120.0


def command(urdf: Path, out: Path, *options: str) -> list[str]:
    return ['articulation', 'simulate', str(urdf), '--out', str(out), *options]


def test_a_film_is_made(tmp_path, capsys):
    options = '--views 2 --held-out-views 1 --frames 10 --held-out-frames 0.3 --size 16 --rate 5'
    arguments = command(write_tiny_urdf(tmp_path), tmp_path / 'film', *options.split(), '--quiet')
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.out == f'{tmp_path / "film"}: 10 frames (3 held out) by 3 cameras (1 held out)\n'
    assert 'simulate: 100 %' in said.err
    recording = Multiview.load(tmp_path / 'film')
    assert recording.held_out_frames_sorted == (7, 8, 9) and recording.held_out_views == (2,)
    assert recording.stamps_s[1] == 0.2
    assert ArticulationTruth.load(tmp_path / 'film').num_frames == 10


def test_the_defaults_are_those_of_the_published_recordings(tmp_path, monkeypatch):
    class Called(Exception):
        pass

    def record(urdf, out, **options):
        raise Called(urdf, out, options)

    monkeypatch.setattr(simulation, 'simulate_articulation', record)
    with pytest.raises(Called) as call:
        main(command(Path('robot.urdf'), tmp_path))
    urdf, out, options = call.value.args
    del options['progress'], options['stop']
    assert (urdf, out) == ('robot.urdf', tmp_path)
    assert options == {
        'views': 20,
        'held_out_views': 3,
        'frames': 1000,
        'held_out_frames': 0.2,
        'size': 512,
        'rate_hz': 15.0,
        'max_joint_speed': 1.0,
        'seed': 0,
        'processes': None,
    }


def test_a_mistake_is_told_in_one_line(tmp_path, capsys):
    assert main(command(Path('none.urdf'), tmp_path / 'film')) == 1
    said = capsys.readouterr().err
    assert said.startswith('error: The URDF none.urdf is neither') and said.count('\n') == 1
    assert main(command(Path('none.urdf'), tmp_path / 'film', '--views', '1')) == 2
    assert main(command(Path('none.urdf'), tmp_path / 'film', '--rate', '0')) == 1
    assert list(tmp_path.iterdir()) == []


def wait_for(condition) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, 'nothing happened'
        time.sleep(0.05)


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize('ending', [signal.SIGINT, signal.SIGKILL])
def test_an_end_by_a_signal_leaves_no_film_and_no_process(ending, tmp_path):
    """Ctrl-C reaches all processes of the terminal; a kill only the first one."""
    urdf = write_tiny_urdf(tmp_path)
    options = '--views 2 --frames 3000 --size 32 --processes 2 --quiet'.split()
    process = subprocess.Popen(
        [sys.executable, '-m', 'posefield.cli', *command(urdf, tmp_path / 'film', *options)],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: any(tmp_path.rglob('000009.png')))
    if ending == signal.SIGINT:
        os.killpg(process.pid, ending)
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130
        assert said.splitlines()[-1].startswith('interrupted: ')
        assert said.splitlines()[-1].endswith('; nothing was written.')
        assert sorted(path.name for path in tmp_path.iterdir()) == ['tiny.urdf']
    else:
        process.kill()
        process.communicate(timeout=PATIENCE_S)
        assert not (tmp_path / 'film').exists()
    wait_for(lambda: group_is_gone(process.pid))
