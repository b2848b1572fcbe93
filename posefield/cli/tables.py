"""posefield tables: compare the metrics of several runs."""

from pathlib import Path
from typing import Annotated

import typer


def tables(
    metrics: Annotated[
        list[str],
        typer.Argument(
            metavar='[NAME=]METRICS.json...',
            help='Files of map evaluate --json or --report; NAME is the name of the method, '
            'by default made from the options of the run.',
        ),
    ],
    out: Annotated[
        Path, typer.Option('--out', help='Folder for tables.md, tables.html and tables.csv.')
    ],
    published: Annotated[
        bool,
        typer.Option(
            '--published', help='Set the published figures of the same scenes beside them.'
        ),
    ] = False,
) -> None:
    """Compare runs over scenes: median errors, averages, recall, time."""
    from posefield.evaluation.run_figures import read_runs
    from posefield.evaluation.table_files import make_tables, to_markdown, write_tables

    runs = read_runs([named_path(text) for text in metrics])
    write_tables(out, runs, published)
    typer.echo(to_markdown(make_tables(runs, published)))
    typer.echo(f'tables: {out / "tables.html"}')


def named_path(text: str) -> tuple[str | None, Path]:
    """Return (name or None, path) of `NAME=PATH` or `PATH`; a file that exists is a path."""
    name, equals, path = text.partition('=')
    if not equals or not name or '/' in name or Path(text).exists():
        return None, Path(text)
    return name, Path(path)
