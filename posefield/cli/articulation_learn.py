"""posefield articulation train, render and export: make models and use them."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(metavar='MODEL', help='Model folder.')]
Device = Annotated[str, typer.Option('--device', help='auto, cpu or cuda.')]


class Preset(str, Enum):
    """Sizes of models; auto takes gpu where CUDA is there, else cpu."""

    AUTO = 'auto'
    CPU = 'cpu'
    GPU = 'gpu'
    PAPER = 'paper'


def train(
    data: Annotated[Path, typer.Argument(metavar='DATA', help='Multi-view recording.')],
    out: Annotated[Path, typer.Option('--out', help='Model folder to write.')],
    preset: Annotated[Preset, typer.Option('--preset', help='Size of the model.')] = Preset.AUTO,
    minutes: Annotated[
        float | None,
        typer.Option('--minutes', min=0.01, help="Time to learn; default: the preset's."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option('--steps', min=2, help='Learn each stage by steps instead of minutes.'),
    ] = None,
    parts: Annotated[
        int | None,
        typer.Option(
            '--parts', min=2, help="Ellipsoids, about three for every link; default: the preset's."
        ),
    ] = None,
    root_part: Annotated[
        int | None,
        typer.Option(
            '--root-part', min=0, help='Its link is the root; default: the one that moves least.'
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option('--resume', help='Go on from the checkpoint of a stopped run.')
    ] = False,
    seed: Annotated[int, typer.Option('--seed')] = 0,
    device: Device = 'auto',
    quiet: Annotated[bool, typer.Option('--quiet', help='No progress bar.')] = False,
) -> None:
    """Learn parts, joints, surface and colours. Ctrl-C saves a checkpoint and stops.

    Only training views and frames are looked at.  Under torchrun all its processes learn
    `paper` together, each on its own GPU; the other presets need one process.
    """
    from posefield.articulation.learning import learn_articulation
    from posefield.data.multiview import Multiview
    from posefield.errors import LearningInterrupted
    from posefield.learning import distributed
    from posefield.learning.devices import select_device
    from posefield.learning.interrupt import stop_on_interrupt
    from posefield.learning.progress import make_progress

    recording = Multiview.load(data)
    with distributed.process_group(select_device(device)), stop_on_interrupt() as stop:
        first = distributed.rank() == 0
        try:
            model = learn_articulation(
                recording,
                preset.value,
                out,
                device=device,
                minutes=minutes,
                steps=steps,
                parts=parts,
                root_part=root_part,
                seed=seed,
                resume=resume,
                progress=make_progress(quiet) if first else None,
                stop=stop,
            )
        except LearningInterrupted as interruption:
            raise LearningInterrupted(
                f'{interruption} The same command with --resume goes on.'
            ) from interruption
    if first:
        joints = len(model.structure.movable)
        links = sum(1 for link in model.structure.links if link.parts)
        typer.echo(f'{out}: {model.motion.parts} parts, {links} links, {joints} joints')


def render(
    model: Model,
    data: Annotated[Path, typer.Option('--data', help='Recording with the cameras.')],
    camera: Annotated[str, typer.Option('--camera', help='Name of a camera of the recording.')],
    out: Annotated[Path | None, typer.Option('--out', help='Image to write (.png).')] = None,
    turntable: Annotated[
        Path | None,
        typer.Option('--turntable', help='Animation to write (.gif) of a turn about the thing.'),
    ] = None,
    frame: Annotated[
        int | None, typer.Option('--frame', min=0, help='A learned frame; default: the first.')
    ] = None,
    joint: Annotated[
        list[str] | None,
        typer.Option(
            '--joint', metavar='NAME=VALUE', help='Position, radians or metres; repeatable.'
        ),
    ] = None,
    parts: Annotated[
        bool, typer.Option('--parts', help='Show parts in colours of their own.')
    ] = False,
    size: Annotated[
        int | None, typer.Option('--size', min=8, help="Short side; default: the camera's.")
    ] = None,
    device: Device = 'auto',
) -> None:
    """Draw a model as a camera sees it, at a learned frame or with joints moved."""
    from posefield.cli.articulation_render import RenderRequest, run_render

    if (out is None) == (turntable is None):
        raise typer.BadParameter('give either --out or --turntable.', param_hint='--out')
    request = RenderRequest(
        model=model,
        data=data,
        camera=camera,
        frame=frame,
        joints=dict(_parse_joint(text) for text in joint or ()),
        parts=parts,
        size=size,
        device=device,
    )
    written = run_render(request, out, turntable)
    typer.echo(str(written))


def export(
    model: Model,
    out: Annotated[Path, typer.Option('--out', help='Folder of the URDF to write.')],
    name: Annotated[
        str | None, typer.Option('--name', help="Of the robot; default: the folder's.")
    ] = None,
    hulls: Annotated[
        bool, typer.Option('--hulls', help='Collide with convex hulls instead of ellipsoids.')
    ] = False,
    cells: Annotated[
        int,
        typer.Option('--cells', min=8, help='Of the meshes, along the longest side of a link.'),
    ] = 40,
    max_faces: Annotated[
        int, typer.Option('--max-faces', min=20, help='Of the mesh of a link.')
    ] = 4000,
    device: Device = 'auto',
) -> None:
    """Write robot.urdf and its meshes, for RViz, simulators and planners."""
    from posefield.articulation.articulated_model import ArticulatedModel
    from posefield.articulation.urdf import UrdfConfig

    config = UrdfConfig(
        cells=cells, max_faces=max_faces, collision='hull' if hulls else 'ellipsoids'
    )
    loaded = ArticulatedModel.load(model, device)
    made = loaded.export_urdf(out, name=name or model.resolve().name, config=config)
    typer.echo(f'{made.path}: {len(made.links)} links, {len(made.joints)} joints')


def _parse_joint(text: str) -> tuple[str, float]:
    """Return name and position.

    Raises:
        typer.BadParameter: for anything but NAME=NUMBER.
    """
    name, _, value = text.partition('=')
    try:
        return name, float(value)
    except ValueError:
        raise typer.BadParameter(
            f'must be a name and a number such as joint_1=0.5, found {text!r}.',
            param_hint='--joint',
        ) from None
