"""What tables of runs over scenes are made of: text, and runs that may be compared.

An average is the mean over scenes of the scenes' medians (or shares), for the methods that were
run on all scenes of the table. Scenes of different data sets or ground truths never stand in one
table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from posefield.evaluation.published import PublishedResult, published_on
from posefield.evaluation.run_figures import RunFigures, SceneLabel

NONE = '–'
ARROW = ' → '


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        title, notes: what stands above and below it.
        header: names of the columns.
        rows: cells.
        text_columns: how many of the first columns are names, not numbers.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    text_columns: int = 1


@dataclass(frozen=True)
class Group:
    """The runs on scenes of one data set against one ground truth."""

    dataset: str
    ground_truth: str
    runs: tuple[RunFigures, ...]

    @property
    def name(self) -> str:
        """Name for headings."""
        if not self.dataset:
            return 'Scenes'
        return f'{self.dataset}, {self.ground_truth} ground truth'

    @property
    def scenes(self) -> list[SceneLabel]:
        """The scenes in the order in which runs name them."""
        return list(dict.fromkeys(run.scene for run in self.runs))

    @property
    def methods(self) -> list[str]:
        """The methods in the order in which runs name them."""
        return list(dict.fromkeys(run.method for run in self.runs))

    def run(self, scene: SceneLabel, method: str) -> RunFigures | None:
        """Return the run of a method on a scene."""
        for run in self.runs:
            if run.scene == scene and run.method == method:
                return run
        return None

    def metric(self) -> 'Group':
        """Return the runs whose errors are in metres."""
        return self.where(lambda run: run.is_metric)

    def where(self, chosen: Callable[[RunFigures], bool]) -> 'Group':
        """Return the runs that a function chooses."""
        return Group(self.dataset, self.ground_truth, tuple(filter(chosen, self.runs)))

    def published(self) -> dict[str, dict[str, PublishedResult]]:
        """Return method -> scene of the benchmark -> result, against the same ground truth."""
        found = published_on(
            self.dataset, [scene.benchmark for scene in self.scenes if scene.benchmark]
        )
        matching = {
            method: {
                scene: result
                for scene, result in results.items()
                if result.ground_truth == self.ground_truth
            }
            for method, results in found.items()
        }
        return {method: results for method, results in matching.items() if results}


def groups_of(runs: Sequence[RunFigures]) -> list[Group]:
    """Return the runs by data set and ground truth, benchmarks first."""
    keys = sorted(
        {(run.scene.dataset, run.scene.ground_truth) for run in runs},
        key=lambda key: (not key[0], key),
    )
    return [
        Group(*key, tuple(r for r in runs if (r.scene.dataset, r.scene.ground_truth) == key))
        for key in keys
    ]


def by_scene(runs: Sequence[RunFigures]) -> list[RunFigures]:
    """Return the runs in the order of the other tables."""
    return [
        run
        for group in groups_of(runs)
        for scene in group.scenes
        for run in group.runs
        if run.scene == scene
    ]


def significant(value: float | None) -> str:
    """Return three significant digits."""
    if value is None or not np.isfinite(value):
        return NONE
    if value == 0 or abs(value) >= 100:
        return f'{value:.0f}'
    return f'{value:#.3g}'.rstrip('.') if abs(value) >= 1e-4 else f'{value:.2g}'
