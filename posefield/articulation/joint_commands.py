"""Joint positions that somebody asks for, checked against a skeleton before anything moves."""

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Literal

import numpy as np

from posefield.articulation.kinematics import Joint, Skeleton
from posefield.errors import ArticulationError

LimitRule = Literal['clamp', 'reject', 'ignore']
LIMIT_RULES: tuple[LimitRule, ...] = ('clamp', 'reject', 'ignore')


@dataclass(frozen=True)
class CommandedPositions:
    """Positions that may be taken up.

    Attributes:
        positions_D: in the order of `Skeleton.movable`.
        clamped: one sentence for every position that was moved to its limit.
    """

    positions_D: np.ndarray
    clamped: tuple[str, ...] = ()


def commanded_positions(
    skeleton: Skeleton,
    names: Sequence[str],
    positions: Sequence[float],
    *,
    start_D: np.ndarray | None = None,
    limits: LimitRule = 'clamp',
) -> CommandedPositions:
    """Return the positions of all movable joints after a command to some of them.

    Continuous joints have no limits: any angle is one of theirs.

    Args:
        skeleton: whose joints.
        names: of the joints that are commanded.
        positions: of these, radians or units of length.
        start_D: where the others are; at 0 when None.
        limits: what becomes of a position outside its limits: `clamp` moves it to the nearer one,
            `reject` refuses the whole command, `ignore` takes it.

    Raises:
        ArticulationError: for unknown joints, fixed ones, a joint named twice, another number of
            positions than of names, NaN or infinity, or a position outside its limits where
            these reject.
    """
    if len(names) != len(positions):
        raise ArticulationError(
            f'A command must have a position for every name, found {len(names)} names and '
            f'{len(positions)} positions.'
        )
    movable = skeleton.movable
    column = {name: index for index, name in enumerate(movable)}
    values_D = np.zeros(len(movable)) if start_D is None else np.array(start_D, dtype=np.float64)
    clamped = []
    seen = set()
    for name, position in zip(names, positions, strict=True):
        _check(name, position, column, seen)
        seen.add(name)
        allowed = _within_limits(skeleton.joint(name), float(position))
        if limits != 'ignore' and allowed != position:
            sentence = _outside(skeleton.joint(name), float(position))
            if limits == 'reject':
                raise ArticulationError(f'{sentence}.')
            clamped.append(f'{sentence} and was set to {allowed:.4g}.')
            position = allowed
        values_D[column[name]] = position
    return CommandedPositions(values_D, tuple(clamped))


def _check(name: str, position: float, column: dict[str, int], seen: set[str]) -> None:
    if name not in column:
        raise ArticulationError(
            f'There is no movable joint named {name!r} among {", ".join(column) or "none"}.'
        )
    if name in seen:
        raise ArticulationError(f'A command must name a joint once, found {name!r} twice.')
    if not math.isfinite(position):
        raise ArticulationError(
            f'The position of joint {name!r} must be a finite number, found {position}.'
        )


def _within_limits(joint: Joint, position: float) -> float:
    if joint.kind == 'continuous':
        return position
    return min(max(position, joint.lower), joint.upper)


def _outside(joint: Joint, position: float) -> str:
    return (
        f'The position {position:.4g} of joint {joint.name!r} is outside its limits '
        f'{joint.lower:.4g} to {joint.upper:.4g}'
    )
