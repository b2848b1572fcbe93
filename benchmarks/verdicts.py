"""What must hold, and whether it does."""

from collections.abc import Sequence
from typing import Any

# What rounding may do to two figures that are the same.
ROUNDING = 1e-9

Verdict = dict[str, Any]


def verdict(
    what: str,
    measured: float | None,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Verdict:
    """Return one requirement with its figure; exactly one bound is given.

    Args:
        what: is measured.
        measured: None where there was nothing to measure, which never holds.
        at_least, at_most: the bound.
    """
    if at_least is not None:
        sign, bound = '>=', at_least
        holds = measured is not None and measured >= bound - ROUNDING
    else:
        sign, bound = '<=', at_most
        holds = measured is not None and measured <= bound + ROUNDING
    return {
        'what': what,
        'required': f'{sign} {bound:.4g}',
        'measured': measured,
        'holds': holds,
    }


def print_missed(verdicts: Sequence[Verdict]) -> None:
    """Print the requirements that do not hold."""
    for one in verdicts:
        if not one['holds']:
            print(f'MISSED {one["what"]}: {one["measured"]}, {one["required"]}')


def all_hold(verdicts: Sequence[Verdict]) -> bool:
    """Return whether every requirement holds."""
    return all(one['holds'] for one in verdicts)
