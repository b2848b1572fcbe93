"""posefield map: learn and evaluate maps."""

from enum import Enum
import math
from pathlib import Path
from typing import Annotated

import typer

from posefield.cli.refiner_options import Iterations, Rates, Refiner

app = typer.Typer(help='Learn and evaluate maps.', no_args_is_help=True)


class Preset(str, Enum):
    """Sizes of maps; auto takes gpu where CUDA is there, else cpu."""

    AUTO = 'auto'
    CPU = 'cpu'
    GPU = 'gpu'
    PAPER = 'paper'
    PAPER_SMALL = 'paper-small'


class FieldName(str, Enum):
    """Fields that maps have."""

    GRID = 'grid'
    MLP = 'mlp'


class RegressorName(str, Enum):
    """Absolute pose regressors."""

    COMPACT = 'compact'
    POSENET = 'posenet'
    MS_TRANSFORMER = 'ms-transformer'
    DFNET = 'dfnet'


class BackboneName(str, Enum):
    """Networks that posenet and ms-transformer stand on; all but compact need torchvision."""

    COMPACT = 'compact'
    MOBILENET_V2 = 'mobilenet_v2'
    RESNET34 = 'resnet34'
    EFFICIENTNET_B0 = 'efficientnet_b0'
    EFFICIENTNET_B3 = 'efficientnet_b3'


class FeaturesName(str, Enum):
    """Dense features that queries are aligned with."""

    GRADIENT = 'gradient'
    COMPACT = 'compact'
    DFNET = 'dfnet'


class Start(str, Enum):
    """Where localization starts: nowhere (the whole ladder), or near the truth."""

    LADDER = 'ladder'
    PERTURB = 'perturb'


class Rung(str, Enum):
    """The rungs of the ladder that can be left out."""

    SPARSE = 'sparse'
    REGRESSOR = 'regressor'
    RETRIEVAL = 'retrieval'
    FIELD = 'field'
    KEYFRAME = 'keyframe'


Device = Annotated[str, typer.Option('--device', help='auto, cpu or cuda.')]
Quiet = Annotated[bool, typer.Option('--quiet', help='No progress bar.')]


@app.command()
def train(
    scene: Annotated[Path, typer.Argument(help='Scene folder.')],
    out: Annotated[Path, typer.Option('--out', help='Map folder to write.')],
    preset: Annotated[Preset, typer.Option('--preset', help='Size of the map.')] = Preset.AUTO,
    minutes: Annotated[
        float | None,
        typer.Option('--minutes', min=0.01, help="Time to learn; default: the preset's."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option('--steps', min=1, help='Learn by steps of the field instead of minutes.'),
    ] = None,
    features: Annotated[
        FeaturesName | None,
        typer.Option('--features', help="Dense features; default: the preset's."),
    ] = None,
    field: Annotated[
        FieldName | None,
        typer.Option('--field', help="Neural field; default: the preset's. mlp is NeFeS's own."),
    ] = None,
    regressor: Annotated[
        RegressorName | None,
        typer.Option('--regressor', help="Absolute pose regressor; default: the preset's."),
    ] = None,
    backbone: Annotated[
        BackboneName | None,
        typer.Option('--backbone', help='Of posenet (default mobilenet_v2) or ms-transformer.'),
    ] = None,
    learn_poses: Annotated[
        bool,
        typer.Option('--learn-poses', help="Correct the photos' poses while the field learns."),
    ] = False,
    paper_scene: Annotated[
        str | None,
        typer.Option(
            '--paper-scene',
            help='Take scale and depths from the NeFeS paper, e.g. chess or KingsCollege.',
        ),
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option('--also', help='Another scene that ms-transformer tells apart; repeatable.'),
    ] = None,
    resume: Annotated[
        bool, typer.Option('--resume', help='Go on from the checkpoint of a stopped run.')
    ] = False,
    seed: Annotated[int, typer.Option('--seed')] = 0,
    device: Device = 'auto',
    quiet: Quiet = False,
) -> None:
    """Learn a map from the train split of a scene. Ctrl-C saves a checkpoint and stops.

    Under torchrun all its processes learn together, each on its own GPU.
    """
    from posefield.data.scene import Scene
    from posefield.errors import LearningInterrupted
    from posefield.learning import distributed
    from posefield.learning.devices import select_device
    from posefield.learning.interrupt import stop_on_interrupt
    from posefield.learning.progress import make_progress
    from posefield.relocalization.mapping import build_map
    from posefield.relocalization.presets import PresetOptions

    loaded = Scene.load(scene)
    options = PresetOptions(
        field=_value(field),
        features=_value(features),
        regressor=_value(regressor),
        backbone=_value(backbone),
        learn_poses=learn_poses,
        paper_scene=paper_scene,
    )
    with distributed.process_group(select_device(device)), stop_on_interrupt() as stop:
        first = distributed.rank() == 0
        try:
            build_map(
                loaded,
                preset.value,
                out,
                device=device,
                minutes=minutes,
                steps=steps,
                options=options,
                also=[Scene.load(folder) for folder in also or ()],
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
        typer.echo(f'{out}: map of {len(loaded.split("train"))} images')


def _value(choice: Enum | None) -> str | None:
    return None if choice is None else choice.value


@app.command()
def evaluate(
    map_folder: Annotated[Path, typer.Argument(metavar='MAP', help='Map folder.')],
    scene: Annotated[Path, typer.Argument(help='Scene folder.')],
    split: Annotated[str, typer.Option('--split', help='train, val, test or all.')] = 'test',
    init: Annotated[
        Start, typer.Option('--init', help='perturb refines from start poses near the truth.')
    ] = Start.LADDER,
    perturb: Annotated[
        str,
        typer.Option('--perturb', help='With --init perturb: share of the scene scale, degrees.'),
    ] = '0.1,6',
    starts: Annotated[
        int, typer.Option('--starts', min=1, help='With --init perturb: starts per photo.')
    ] = 1,
    refiner: Refiner = None,
    iterations: Iterations = None,
    rates: Rates = None,
    without: Annotated[
        list[Rung] | None, typer.Option('--without', help='Leave out a rung; repeatable.')
    ] = None,
    degrade: Annotated[
        str | None, typer.Option('--degrade', help='Spoil the queries, e.g. motion_blur_15.')
    ] = None,
    sequence: Annotated[
        bool,
        typer.Option('--sequence', help='Tracking: the last accepted pose is the next prior.'),
    ] = False,
    seed: Annotated[int, typer.Option('--seed', help='Of start poses and degradations.')] = 0,
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the figures (docs/metrics.md).')
    ] = None,
    report: Annotated[
        Path | None, typer.Option('--report', help='Write metrics.json, poses.tum, report.html.')
    ] = None,
    device: Device = 'auto',
    quiet: Quiet = False,
) -> None:
    """Measure accuracy and speed of a map on a split of a scene."""
    from posefield.cli.evaluation import EvaluationRequest, run_evaluation

    request = EvaluationRequest(
        map_folder=map_folder,
        scene_folder=scene,
        split=split,
        perturb=_parse_perturb(perturb) if init is Start.PERTURB else None,
        starts=starts,
        refiner=refiner.value if refiner else None,
        iterations=iterations,
        rates=rates,
        without=tuple(rung.value for rung in without or ()),
        degradation=degrade,
        sequence=sequence,
        seed=seed,
        device=device,
        quiet=quiet,
    )
    run_evaluation(request, json_file, report)


def _parse_perturb(text: str) -> tuple[float, float]:
    """Return (share of the scale, degrees).

    Raises:
        typer.BadParameter: for anything but two numbers of at least 0.
    """
    try:
        share, degrees = (float(word) for word in text.split(','))
    except ValueError:
        share = degrees = math.nan
    if not (0 <= share < math.inf and 0 <= degrees <= 180):
        raise typer.BadParameter(
            f'must be two numbers such as 0.1,6 (share of the scale, degrees), found {text!r}.',
            param_hint='--perturb',
        )
    return share, degrees
