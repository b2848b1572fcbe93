"""posefield articulation evaluate: measure a model."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(help='Folder of the articulated model.')],
    data: Annotated[Path, typer.Argument(help='Recording that it was learned from.')],
    frames: Annotated[
        int,
        typer.Option('--frames', min=1, help='Photos of each camera: held-out views, and poses.'),
    ] = 20,
    template_minutes: Annotated[
        float | None,
        typer.Option(
            '--template-minutes',
            min=0.01,
            help='Learn the 18-part Gaussian template for comparison, for so long.',
        ),
    ] = None,
    smpl: Annotated[
        Path | None,
        typer.Option(
            '--smpl',
            help='SMPL results (.npz) of every frame: compare with them, and pose by them.',
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the figures (docs/metrics.md).')
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option('--report', help='Write metrics.json, report.html and reposing.gif.'),
    ] = None,
    seed: Annotated[int, typer.Option('--seed', help='Of the template.')] = 0,
    device: Annotated[str, typer.Option('--device', help='auto, cpu or cuda.')] = 'auto',
    quiet: Annotated[bool, typer.Option('--quiet', help='No progress bar.')] = False,
) -> None:
    """Measure joints, links and images of a model on what was held out of its recording."""
    from posefield.cli.articulation_evaluation import EvaluationRequest, run_evaluation

    request = EvaluationRequest(
        model=model,
        data=data,
        frames=frames,
        template_minutes=template_minutes,
        smpl=smpl,
        seed=seed,
        device=device,
        quiet=quiet,
    )
    run_evaluation(request, json_file, report)
