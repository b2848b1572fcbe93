"""Poses on their way up the ladder, and what the ladder starts from and ends with."""

from dataclasses import dataclass

import numpy as np

from posefield.relocalization.acceptance import Evidence
from posefield.relocalization.refiners.field_alignment import PoseCheck
from posefield.relocalization.sparse_pose import SparseIndex


@dataclass(frozen=True)
class HeldOut:
    """What a validation photo must not see of itself.

    Attributes:
        keyframes, references: indices to leave out.
        sparse: points as if the photo had never been; None uses the map's.
    """

    keyframes: frozenset[int] = frozenset()
    references: frozenset[int] = frozenset()
    sparse: SparseIndex | None = None


NOTHING_HELD_OUT = HeldOut()


@dataclass(frozen=True)
class FieldPrior:
    """A prior in the field frame: pose, and (6, 6) covariance about the fixed axes."""

    T_field_cam: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Hypothesis:
    """A pose on its way up the ladder.

    Attributes:
        rung: who proposed it.
        T_field_cam: now; T_field_cam_coarse: as proposed.
        information_66: calibrated inverse covariance of its camera-frame twist, or None.
        renders, iterations: spent so far.
    """

    rung: str
    T_field_cam: np.ndarray
    T_field_cam_coarse: np.ndarray
    information_66: np.ndarray | None = None
    renders: int = 0
    iterations: int = 0


@dataclass(frozen=True)
class Outcome:
    """A finished hypothesis.

    Attributes:
        hypothesis: with its final pose and information.
        evidence, check: what speaks for it.
        score, threshold: calibrated probability, and what it must reach.
    """

    hypothesis: Hypothesis
    evidence: Evidence
    check: PoseCheck
    score: float
    threshold: float
