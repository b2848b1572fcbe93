"""The options that choose a refiner and its settings, for all commands that localize."""

from enum import Enum
from typing import Annotated

import typer


class RefinerName(str, Enum):
    """What refines a hypothesis."""

    NONE = 'none'
    FIELD = 'field'
    KEYFRAME = 'keyframe'
    BOTH = 'field+keyframe'
    NEFES_A = 'nefes-a'
    NEFES_B = 'nefes-b'
    PHOTOMETRIC_SPARSE = 'photometric-sparse'
    PHOTOMETRIC_DENSE = 'photometric-dense'


Refiner = Annotated[
    RefinerName | None,
    typer.Option('--refiner', help='Refine by this alone; default: what the map was made for.'),
]
Iterations = Annotated[
    int | None,
    typer.Option(
        '--iterations',
        min=1,
        help='Of --refiner nefes-* and photometric-*, one render each; default: 50.',
    ),
]
Rates = Annotated[
    str | None,
    typer.Option(
        '--rates',
        metavar='NAME|ROT,TRANS',
        help='Learning rates of --refiner nefes-b and photometric-*: radians, map units, or '
        'scaled (default), seven-scenes, cambridge, equal-0.1, equal-0.01, equal-0.003, '
        'equal-0.001 or split.',
    ),
]


def with_refiner(config, refiner: str | None, iterations: int | None, rates: str | None):
    """Return a LocalizerConfig with the refiner that was asked for, as it is without one.

    Raises:
        typer.BadParameter: for settings without a refiner, or that it does not have.
    """
    from posefield.errors import PosefieldError
    from posefield.relocalization.refiners.gradient_config import parse_rates

    if refiner is None:
        if iterations is not None or rates is not None:
            raise typer.BadParameter(
                '--iterations and --rates are settings of a refiner, which must be named too.',
                param_hint='--refiner',
            )
        return config
    try:
        return config.with_refiner(refiner, iterations, parse_rates(rates) if rates else None)
    except PosefieldError as error:
        raise typer.BadParameter(str(error), param_hint='--refiner') from error
