"""Runs that begin in different frames: each fits parts, proposes joints and fits those."""

from dataclasses import dataclass

import numpy as np

from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.part_fitting import PartFittingConfig, fit_parts
from posefield.articulation.part_seeding import hull_volumes
from posefield.articulation.skeleton_fitting import (
    Candidate,
    SkeletonFittingConfig,
    fit_proposed,
    propose_anew,
)
from posefield.articulation.structure import StructureConfig, propose_tree
from posefield.learning.budget import Budget
from posefield.learning.run import LearningRun

# Frames in which a run may begin lie at least so many frames apart, as a share of the video.
SPACING = 0.2


def first_frames(pixels: FittingPixels, count: int) -> list[int]:
    """Return where runs begin: frames with small visual hulls, apart from each other.

    The smaller a hull, the less of it is empty: there the silhouettes say most.
    """
    volumes = hull_volumes(pixels)
    volumes = np.where(volumes > 0, volumes, np.inf)
    apart = max(1, round(SPACING * pixels.frames))
    chosen: list[int] = []
    for frame in np.argsort(volumes, kind='stable').tolist():
        if all(abs(frame - other) >= apart for other in chosen):
            chosen.append(frame)
        if len(chosen) == count:
            return chosen
    # A short video has fewer frames apart than runs are wanted: begin in the best ones again.
    return [chosen[index % len(chosen)] for index in range(count)]


@dataclass(frozen=True)
class Restart:
    """One of the runs; call it to get what it comes to.

    Attributes:
        number: from 1, in the names of its stages.
        first_frame: where it begins, as an index of `frames`.
        pixels, frames: what it learns from.
        fitting, structure, skeleton: how parts are fitted, joints proposed and those fitted.
        parts_budget, joints_budget: how long to fit them.
    """

    number: int
    first_frame: int
    pixels: FittingPixels
    frames: tuple[int, ...]
    fitting: PartFittingConfig
    structure: StructureConfig
    skeleton: SkeletonFittingConfig
    parts_budget: Budget
    joints_budget: Budget

    def __call__(self, run: LearningRun) -> Candidate:
        """Return the joints that this run finds.

        Raises:
            LearningInterrupted: when stopped; a later call goes on.
            LearningError: when a loss is not finite, or there are too few frames.
        """
        motion = fit_parts(
            self.pixels, self.frames, self.first_frame, self.fitting, run, self.parts_budget,
            f'parts {self.number}',
        )  # fmt: skip
        with run.uninterrupted(f'structure {self.number}'):
            proposed = propose_tree(motion, self.structure)
        fitted = fit_proposed(
            proposed, motion, self.pixels, self.skeleton.loss, run, self.joints_budget,
            f'joints {self.number}',
        )  # fmt: skip
        return propose_anew(
            fitted,
            self.pixels,
            self.skeleton,
            self.structure,
            run,
            f'structure {self.number} anew',
        )
