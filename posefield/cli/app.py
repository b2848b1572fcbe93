"""The command `posefield`."""

from collections.abc import Sequence
import logging
import sys

import typer

from posefield.cli.articulation import app as articulation_app
from posefield.cli.bag import app as bag_app
from posefield.cli.bundle import app as bundle_app
from posefield.cli.demo import demo
from posefield.cli.localize import localize
from posefield.cli.maps import app as map_app
from posefield.cli.scene import app as scene_app
from posefield.cli.tables import tables
from posefield.errors import Interrupted, LearningInterrupted, PosefieldError

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name='posefield',
    help='Learn maps from posed photos and find a camera in them; learn moving things.',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(scene_app, name='scene')
app.add_typer(map_app, name='map')
app.add_typer(bag_app, name='bag')
app.add_typer(articulation_app, name='articulation')
app.add_typer(bundle_app, name='bundle')
app.command()(localize)
app.command()(tables)
app.command()(demo)


@app.callback()
def _set_up(
    version: bool = typer.Option(False, '--version', help='Print the version.', is_eager=True),
) -> None:
    if version:
        from posefield import __version__

        typer.echo(f'posefield {__version__}')
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 is success, 1 an error that one line on standard error names, 2 wrong usage, 130 an
    interruption.
    """
    logging.basicConfig(level=logging.WARNING, format='%(levelname)s: %(message)s')
    try:
        app(args=None if arguments is None else list(arguments), prog_name='posefield')
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (Interrupted, LearningInterrupted) as interruption:
        print(f'interrupted: {interruption}', file=sys.stderr)
        return EXIT_INTERRUPTED
    except PosefieldError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0
