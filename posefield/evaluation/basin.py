"""The basin of convergence: what becomes of a start pose, by how far off it is.

The lengths in metres are those for which NeFeS's results on 7-Scenes are known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
import math
from typing import Any

import numpy as np

from posefield.geometry.poses import PoseErrors

ABSOLUTE_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, math.inf)
RELATIVE_EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, math.inf)


@dataclass(frozen=True)
class StartBin:
    """The frames whose start was this far off.

    Attributes:
        low, high: translation error of the start, low <= error < high; high is None where
            there is no limit.
        relative: whether translations are shares of the median depth; else map units.
        frames: how many.
        translation: median error after refinement; None without frames.
        rotation_deg: median error after refinement; None without frames.
        improved: share of the frames whose translation error became smaller.
    """

    low: float
    high: float | None
    relative: bool
    frames: int
    translation: float | None
    rotation_deg: float | None
    improved: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the content for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> 'StartBin':
        """Return the bin that `to_dict` described; unknown keys are left alone."""
        return cls(**{name: content[name] for name in cls.__dataclass_fields__})


def start_bins(
    before: Sequence[PoseErrors], after: Sequence[PoseErrors], depths: Sequence[float]
) -> list[StartBin]:
    """Return the bins in shares of the depth, then those in map units, empty ones too.

    Args:
        before, after: errors of the start and of the refined pose; frames without a start
            (infinite errors) are left out.
        depths: median depth of each frame, map units; frames without one (0) count in the bins
            in map units only.
    """
    rotations = np.array([error.rotation_deg for error in after])
    lengths = np.array([[error.translation for error in errors] for errors in (before, after)])
    with np.errstate(divide='ignore', invalid='ignore'):
        shares = np.where(np.asarray(depths) > 0, lengths / np.asarray(depths), np.inf)
    return [
        _bin(low, high, relative, values, rotations)
        for relative, edges, values in (
            (True, RELATIVE_EDGES, shares),
            (False, ABSOLUTE_EDGES, lengths),
        )
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]


def _bin(
    low: float, high: float, relative: bool, errors_2N: np.ndarray, rotations_N: np.ndarray
) -> StartBin:
    before, after = errors_2N
    chosen = (before >= low) & (before < high)
    count = int(chosen.sum())
    medians = [
        float(np.median(values[chosen])) if count else math.inf for values in (after, rotations_N)
    ]
    translation, rotation_deg = (x if math.isfinite(x) else None for x in medians)
    return StartBin(
        low,
        high if math.isfinite(high) else None,
        relative,
        count,
        translation,
        rotation_deg,
        float((after < before)[chosen].mean()) if count else None,
    )
