"""posefield demo: the main job end to end, through real ROS 2 topics."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from posefield.cli.importing import SceneFormat
from posefield.cli.maps import Preset

# To learn a map, and a model of a moving thing.
DEFAULT_MINUTES, DEFAULT_ARTICULATION_MINUTES = 3.0, 5.5


class DemoKind(str, Enum):
    """What can be demonstrated."""

    RELOCALIZATION = 'relocalization'
    ARTICULATION = 'articulation'


def demo(
    kind: Annotated[DemoKind, typer.Argument(help='Which job.')] = DemoKind.RELOCALIZATION,
    scene: Annotated[
        Path | None,
        typer.Option('--scene', help='Photos to use instead of a simulated room.'),
    ] = None,
    scene_format: Annotated[
        SceneFormat, typer.Option('--format', help='Format of --scene; auto looks.')
    ] = SceneFormat.AUTO,
    urdf: Annotated[
        str,
        typer.Option('--urdf', help='Robot of the articulation demo: a file, or from PyBullet.'),
    ] = 'kuka_iiwa/model.urdf',
    out: Annotated[
        Path | None,
        typer.Option(
            '--out',
            help='Folder for everything made; default: out/demo or out/demo-articulation.',
        ),
    ] = None,
    map_folder: Annotated[
        Path | None,
        typer.Option('--map', help='Map of the scene to drive with, instead of learning one.'),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option('--minutes', min=0.01, help='Time to learn; default: 3, or 5.5 of a robot.'),
    ] = None,
    frames: Annotated[int, typer.Option('--frames', min=2, help='Longest drive, in images.')] = 60,
    preset: Annotated[Preset, typer.Option('--preset', help='Size of the map.')] = Preset.AUTO,
    seed: Annotated[int, typer.Option('--seed')] = 0,
    quiet: Annotated[bool, typer.Option('--quiet', help='No progress bar.')] = False,
) -> None:
    """Show the main job end to end, through real ROS 2 topics, and report.

    relocalization makes or imports a scene, learns a map from its train split (or takes --map),
    records its test split as a bag, plays that through ROS 2 topics to the relocalizer node,
    listens to what the node publishes from another process, and writes metrics.json, poses.tum
    and report.html.

    articulation films a simulated robot, records it with the capture node, has the articulation
    node learn it, describe it, render it in a new pose and track it, and writes metrics.json and
    report.html.
    """
    if kind == DemoKind.ARTICULATION:
        from posefield.cli.articulation_demo import (
            ArticulationDemoSettings,
            run_articulation_demo,
        )

        if scene is not None or map_folder is not None:
            raise typer.BadParameter('goes with the relocalization demo.', param_hint='--scene')
        chosen = ArticulationDemoSettings(
            urdf=urdf,
            out=out or Path('out/demo-articulation'),
            minutes=minutes or DEFAULT_ARTICULATION_MINUTES,
            preset=preset.value,
            seed=seed,
        )
        typer.echo(run_articulation_demo(chosen))
        return
    from posefield.cli.demo_run import DemoSettings, run_demo

    if map_folder is not None and scene is None:
        raise typer.BadParameter('needs the --scene that the map is of.', param_hint='--map')
    if map_folder is not None and minutes is not None:
        raise typer.BadParameter(
            'goes with learning a map, not with --map.', param_hint='--minutes'
        )
    settings = DemoSettings(
        scene=scene,
        scene_format=scene_format,
        out=out or Path('out/demo'),
        map_folder=map_folder,
        minutes=DEFAULT_MINUTES if minutes is None else minutes,
        frames=frames,
        preset=preset.value,
        seed=seed,
        quiet=quiet,
    )
    typer.echo(run_demo(settings))
