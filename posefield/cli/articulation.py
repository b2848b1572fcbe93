"""posefield articulation: recordings of moving things, and models of them."""

import typer

from posefield.cli.articulation_data import import_command, info
from posefield.cli.articulation_evaluate import evaluate
from posefield.cli.articulation_learn import export, render, train
from posefield.cli.articulation_simulate import simulate

app = typer.Typer(
    help='Learn the parts and joints of a moving thing from several cameras.',
    no_args_is_help=True,
)
app.command('import')(import_command)
app.command()(info)
app.command()(simulate)
app.command()(train)
app.command()(evaluate)
app.command()(render)
app.command()(export)
