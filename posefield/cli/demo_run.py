"""The steps of `posefield demo relocalization`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import time

import numpy as np
import typer

from posefield.cli.demo_score import score_drive
from posefield.cli.drive import (
    CAMERA_INFO_TOPIC,
    IMAGE_TOPIC,
    PERIOD_S,
    Drive,
    make_drive,
    write_drive,
)
from posefield.cli.importing import (
    ImportOptions,
    SceneFormat,
    import_scene,
    with_found_files,
)
from posefield.cli.ros_processes import NodeError, node_process, private_domain, require_ros
from posefield.data.scene import Frame, Scene
from posefield.errors import DataError
from posefield.learning.interrupt import stop_on_interrupt
from posefield.learning.progress import make_progress
from posefield.relocalization.localizer import Localizer
from posefield.relocalization.mapping import build_map

TRIAL_IMAGES = 2
# How long the nodes may take to start, and to finish what is queued after the last image.
START_S, DRAIN_S = 60.0, 3.0
SIMULATED_TRAIN_VIEWS, SIMULATED_TEST_VIEWS = 60, 40


@dataclass(frozen=True)
class DemoSettings:
    """The options of the demo."""

    scene: Path | None
    scene_format: SceneFormat
    out: Path
    map_folder: Path | None
    minutes: float
    frames: int
    preset: str
    seed: int
    quiet: bool


def run_demo(settings: DemoSettings) -> str:
    """Run everything; return the last line to print."""
    require_ros()
    started_s = time.monotonic()
    settings.out.mkdir(parents=True, exist_ok=True)
    scene = _make_scene(settings)
    frames = drive_frames(scene, settings.frames)
    map_folder, about_map = _make_map(scene, settings)
    localizer = Localizer.load(map_folder)
    drive = make_drive(frames, settings.seed)
    bag = settings.out / 'drive'
    _say(f'recording a drive of {len(frames)} images to {bag}')
    write_drive(bag, drive)
    rate = playing_rate(localizer, frames)
    _say(f'playing it to the relocalizer node over ROS 2, at {rate:.2f} of its speed')
    recording = _play(settings, map_folder, bag, drive, rate)
    last_line = score_drive(
        localizer,
        drive,
        recording,
        settings.out,
        facts=[
            ('scene', _scene_name(settings, scene)),
            ('map', f'{map_folder}, {about_map}'),
            ('bag', f'{bag}, played at {rate:.2f} of its speed'),
        ],
        units=scene.units,
        title=f'Relocalization in {_scene_name(settings, scene)}',
    )
    _say(f'done in {time.monotonic() - started_s:.0f} s')
    return last_line


def _say(text: str) -> None:
    typer.echo(f'-- {text}')


def _scene_name(settings: DemoSettings, scene: Scene) -> str:
    return 'a simulated room' if settings.scene is None else settings.scene.resolve().name


def _make_scene(settings: DemoSettings) -> Scene:
    """Return the scene, saved in the out folder unless it lies in a scene folder already."""
    folder = settings.out / 'scene'
    if settings.scene is None:
        from posefield.data.simulate import simulate_scene

        _say('rendering a simulated room')
        return simulate_scene(
            folder,
            seed=settings.seed,
            train_views=SIMULATED_TRAIN_VIEWS,
            test_views=min(settings.frames, SIMULATED_TEST_VIEWS),
            width=320,
            height=240,
        )
    if (settings.scene / 'scene.json').is_file():
        return Scene.load(settings.scene)
    options = with_found_files(settings.scene, ImportOptions())
    _say(f'importing {settings.scene}')
    scene = import_scene(settings.scene, settings.scene_format, options, folder, copy_images=False)
    if scene.skipped:
        _say(f'{len(scene.skipped)} images were skipped (no file or no pose)')
    return scene


def drive_frames(scene: Scene, longest: int) -> tuple[Frame, ...]:
    """Return the posed test frames, evenly thinned out to the longest drive.

    Raises:
        DataError: when fewer than two are left.
    """
    frames = [frame for frame in scene.split('test') if frame.T_map_cam is not None]
    if len(frames) < 2:
        raise DataError(
            f'The scene {scene.root} has {len(frames)} test images with a pose, the drive needs '
            'at least 2; import it with --hold-out.'
        )
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(longest, len(frames))).round())
    return tuple(frames[int(index)] for index in chosen)


def _make_map(scene: Scene, settings: DemoSettings) -> tuple[Path, str]:
    """Return the map's folder and what is to be said about it, learning it unless it was given."""
    if settings.map_folder is not None:
        return settings.map_folder, 'learned before'
    images = len(scene.split('train'))
    _say(f'learning a map from {images} images')
    map_folder = settings.out / 'map'
    begin_s = time.monotonic()
    with stop_on_interrupt() as stop:
        build_map(
            scene,
            settings.preset,
            map_folder,
            device='auto',
            minutes=settings.minutes,
            seed=settings.seed,
            resume=False,
            progress=make_progress(settings.quiet),
            stop=stop,
        )
    return map_folder, f'learned in {time.monotonic() - begin_s:.0f} s from {images} images'


def playing_rate(localizer: Localizer, frames: Sequence[Frame]) -> float:
    """Return the speed at which this machine can localize every image of the drive, at most 1."""
    begin_s = time.perf_counter()
    for frame in frames[:TRIAL_IMAGES]:
        localizer.localize(frame.read_image(), frame.camera)
    seconds = (time.perf_counter() - begin_s) / len(frames[:TRIAL_IMAGES])
    return min(1.0, PERIOD_S / (1.3 * seconds))


def _play(settings: DemoSettings, map_folder: Path, bag: Path, drive: Drive, rate: float) -> Path:
    """Run recorder, relocalizer and player; return the recording."""
    logs = settings.out / 'logs'
    environment = private_domain(logs)
    recording = settings.out / 'received.json'
    recording.unlink(missing_ok=True)
    topics = ['-r', f'image:={IMAGE_TOPIC}', '-r', f'camera_info:={CAMERA_INFO_TOPIC}']
    recorder_arguments = [
        '-p', f'output:={recording.resolve()}', *topics, '-r', 'result:=/relocalizer/result',
    ]  # fmt: skip
    relocalizer_arguments = [
        '-p', f'map:={map_folder.resolve()}', '-p', 'use_sim_time:=true',
        '-p', 'queue_size:=5', *topics,
    ]  # fmt: skip
    player_arguments = [
        '-p', f'bag:={bag.resolve()}', '-p', f'rate:={rate:.4f}',
        '-p', f"wait_for_subscribers:=['{IMAGE_TOPIC}', '{CAMERA_INFO_TOPIC}']",
        '-p', f'wait_timeout:={START_S}',
    ]  # fmt: skip
    with (
        node_process('pose_recorder', recorder_arguments, environment, logs) as recorder,
        node_process('relocalizer', relocalizer_arguments, environment, logs) as relocalizer,
        node_process('bag_player', player_arguments, environment, logs) as player,
    ):
        longest_s = START_S + 2.0 * len(drive.frames) * PERIOD_S / rate + 30.0
        player.wait(longest_s, others=(recorder, relocalizer))
        time.sleep(DRAIN_S)
        relocalizer.check()
    if not recording.is_file():
        raise NodeError(f'The pose_recorder node wrote nothing (log: {recorder.log}).')
    return recording
