"""The steps of `posefield demo articulation`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import shutil
import time

import typer

from posefield.cli.articulation_demo_score import score_articulation_demo
from posefield.cli.ros_processes import (
    NodeError,
    NodeProcess,
    node_process,
    private_domain,
    require_ros,
)

POLL_S = 0.3
# What the demo may take beside recording, learning and tracking.
SPARE_S = 900.0


@dataclass(frozen=True)
class ArticulationDemoSettings:
    """The options of the demo.

    Attributes:
        urdf: of the robot to film: a file, or a name that comes with PyBullet.
        out: folder for everything made.
        minutes: to learn.
        preset, seed: of learning; the seed of the simulation, too.
        parts: of the model; 0 takes the preset's.
        cameras, size, rate_hz: of the simulated rig; size in pixels.
        max_joint_speed: of the robot, rad/s.
        record_s, track_s: how long to record and to track.
    """

    urdf: str
    out: Path
    minutes: float
    preset: str
    seed: int
    cameras: int = 5
    size: int = 128
    rate_hz: float = 7.5
    max_joint_speed: float = 0.5
    record_s: float = 10.0
    track_s: float = 10.0
    parts: int = 0


def run_articulation_demo(settings: ArticulationDemoSettings) -> str:
    """Run everything; return the last line to print.

    Raises:
        NodeError: when a node fails.
        PosefieldError: when what was recorded cannot be scored.
    """
    require_ros()
    started_s = time.monotonic()
    out = settings.out
    out.mkdir(parents=True, exist_ok=True)
    for name in ('captures', 'images'):
        shutil.rmtree(out / name, ignore_errors=True)
    received = out / 'received.json'
    received.unlink(missing_ok=True)
    typer.echo('-- starting the nodes: simulated_rig, capture, articulation')
    _drive(settings)
    if not received.is_file():
        raise NodeError(f'The articulation_demo node wrote nothing (logs: {out / "logs"}).')
    last_line = score_articulation_demo(received, settings.urdf, out)
    typer.echo(f'-- done in {time.monotonic() - started_s:.0f} s')
    return last_line


def _drive(settings: ArticulationDemoSettings) -> None:
    """Run the nodes until the driver has ended."""
    out, logs = settings.out.resolve(), settings.out / 'logs'
    environment = private_domain(logs)
    cameras = [f'cam_{number:02d}' for number in range(settings.cameras)]
    names = f'cameras:={cameras}'
    rig = [
        f'urdf:={settings.urdf}', f'cameras:={settings.cameras}', f'size:={settings.size}',
        f'rate:={settings.rate_hz:f}', f'max_joint_speed:={settings.max_joint_speed:f}',
        f'duration:={settings.record_s:f}', f'seed:={settings.seed}', 'publish_masks:=true',
        'processes:=2',
    ]  # fmt: skip
    tolerance = f'sync_tolerance:={0.2 / settings.rate_hz:f}'
    capture = [
        names, f'output:={out / "captures"}', 'multiview:=true', 'bag:=true',
        f'multiview_size:={settings.size}', 'min_free_space:=1e8', tolerance,
        'exit_after_recording:=true',
    ]  # fmt: skip
    articulation = [names, tolerance]
    driver = [
        f'output:={out}', f'captures:={out / "captures"}', f'camera:={cameras[0]}',
        f'record_seconds:={settings.record_s:f}', f'track_seconds:={settings.track_s:f}',
        f'minutes:={settings.minutes:f}', f'preset:={settings.preset}', f'seed:={settings.seed}',
        f'parts:={settings.parts}',
    ]  # fmt: skip
    with (
        node_process('simulated_rig', _arguments(rig), environment, logs) as filming,
        node_process('capture', _arguments(capture), environment, logs) as recording,
        node_process('articulation', _arguments(articulation), environment, logs) as learning,
        node_process('articulation_demo', _arguments(driver), environment, logs) as driving,
    ):
        longest_s = 60.0 * settings.minutes + settings.record_s + settings.track_s + SPARE_S
        _follow(driving, longest_s, others=(filming, learning), ending=recording)


def _arguments(parameters: Sequence[str]) -> list[str]:
    return [part for parameter in parameters for part in ('-p', parameter)]


def _follow(
    driver: NodeProcess, timeout_s: float, others: Sequence[NodeProcess], ending: NodeProcess
) -> None:
    """Print what the driver says until it ends.

    Args:
        driver: whose lines begin with `-- `.
        timeout_s: for all of it.
        others: that keep running meanwhile.
        ending: that may end, but not fail.
    """
    end_s = time.monotonic() + timeout_s
    told = 0
    while True:
        has_ended = driver.process.poll() is not None
        lines = driver.log.read_text(errors='replace').splitlines()
        for line in lines[told:]:
            if line.startswith('-- '):
                typer.echo(line)
        told = len(lines)
        if has_ended:
            break
        for other in others:
            other.check()
        if ending.process.poll() not in (None, 0):
            ending.check()
        if time.monotonic() > end_s:
            raise NodeError(
                f'The demo did not end in {timeout_s / 60.0:.0f} minutes (log: {driver.log}).'
            )
        time.sleep(POLL_S)
    if driver.process.returncode != 0:
        driver.check()
