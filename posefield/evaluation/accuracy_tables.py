"""Tables of median errors and of recall.

An average is the mean over scenes of the scenes' medians (or shares), for the methods that were
run on all scenes of the table.
"""

from collections.abc import Callable, Iterable, Sequence
import math

import numpy as np

from posefield.evaluation.basin import ABSOLUTE_EDGES, RELATIVE_EDGES, StartBin
from posefield.evaluation.metrics import ABSOLUTE_THRESHOLDS, RELATIVE_THRESHOLDS
from posefield.evaluation.published import (
    AVERAGES,
    BASIN_SOURCE,
    BASINS,
    DFNET,
    SFM,
    TEST_IMAGES,
)
from posefield.evaluation.run_figures import Accuracy, RunFigures, SceneLabel
from posefield.evaluation.tables import ARROW, NONE, Group, Table, significant

# Widest first, as published tables have them.
THRESHOLDS = tuple((*pair, False) for pair in reversed(ABSOLUTE_THRESHOLDS)) + tuple(
    (*pair, True) for pair in reversed(RELATIVE_THRESHOLDS)
)


def median_table(group: Group, published: bool) -> Table:
    """Return the median errors in metres and degrees, a row for each scene."""
    results = group.published() if published else {}
    theirs = {f'{method}, published': by_name for method, by_name in results.items()}

    def cell(scene: SceneLabel, method: str) -> Sequence[tuple[float, float]] | None:
        result = theirs.get(method, {}).get(scene.benchmark or '')
        if result is not None:
            return result.initial, result.refined
        run = group.run(scene, method)
        return None if run is None else _pairs(run, lambda accuracy: accuracy.translation)

    notes = ['Where a cell has an arrow, the hypothesis (or start) stands before it.']
    if published and group.dataset:
        notes += _published_notes(group)
    return _error_table(
        f'{group.name}: median error (m / °)',
        group,
        [*group.methods, *theirs],
        cell,
        notes,
        published=theirs,
    )


def relative_table(group: Group) -> Table:
    """Return the median translation errors as shares of the depth, a row for each scene."""

    def cell(scene: SceneLabel, method: str) -> Sequence[tuple[float, float]] | None:
        run = group.run(scene, method)
        return None if run is None else _pairs(run, lambda accuracy: accuracy.relative, 100.0)

    return _error_table(
        f'{group.name}: median error (% of depth / °)', group, group.methods, cell, []
    )


def _pairs(
    run: RunFigures, distance: Callable[[Accuracy], float | None], scale: float = 1.0
) -> list[tuple[float, float]]:
    """Return (distance, degrees) of the hypothesis and of the refined pose; NaN for no pose."""
    pairs = []
    for accuracy in (run.coarse, run.refined):
        values = (distance(accuracy), accuracy.rotation_deg)
        far, turned = (np.nan if value is None else value for value in values)
        pairs.append((scale * far, turned))
    return pairs


def _error_table(
    title: str,
    group: Group,
    methods: Sequence[str],
    cell: Callable[[SceneLabel, str], Sequence[tuple[float, float]] | None],
    notes: Sequence[str],
    published: Iterable[str] = (),
) -> Table:
    """Return a table of (hypothesis, refined) pairs with the mean over the scenes below."""
    scenes = group.scenes
    cells = {(s, m): cell(s, m) for s in scenes for m in methods}
    rows = []
    for scene in scenes:
        texts = (
            _errors_text(cells[scene, m], as_given=m in published) if cells[scene, m] else NONE
            for m in methods
        )
        rows.append((scene.name, *texts))
    columns = [[cells[scene, method] for scene in scenes] for method in methods]
    if len(scenes) > 1 and any(all(column) for column in columns):
        texts = (
            _errors_text(np.mean(column, axis=0)) if all(column) else NONE for column in columns
        )
        rows.append((f'average of {len(scenes)}', *texts))
    return Table(title, ('scene', *methods), tuple(rows), tuple(notes))


def _errors_text(pairs: Sequence[tuple[float, float]], as_given: bool = False) -> str:
    """Return `0.058 / 2.29 → 0.020 / 0.74`; one pair where nothing was refined."""
    number = (lambda value: f'{value:g}') if as_given else significant
    texts = [' / '.join(map(number, pair)) for pair in pairs]
    return texts[1] if texts[0] == texts[1] else ARROW.join(texts)


def _published_notes(group: Group) -> list[str]:
    """Return averages and sources, and where our images are not the benchmark's."""
    averages = [
        average
        for average in AVERAGES
        if (average.dataset, average.ground_truth) == (group.dataset, group.ground_truth)
    ]
    per_scene = [r for results in group.published().values() for r in results.values()]
    sources = sorted({result.source for result in (*per_scene, *averages)})
    texts = (f'{a.method} {_errors_text((a.initial, a.refined), as_given=True)}' for a in averages)
    notes = [
        f'Published averages over the whole data set (m / °): {"; ".join(texts)}.',
        f'Published figures: {"; ".join(sources)}.',
    ]
    for scene in group.scenes:
        theirs = TEST_IMAGES.get((group.dataset, scene.benchmark or ''))
        ours = {run.frames for run in group.runs if run.scene == scene}
        if theirs is not None and ours != {theirs}:
            counts = ' or '.join(map(str, sorted(ours)))
            notes.append(
                f'{scene.name}: {counts} images here, {theirs} in the published figures: not the '
                'same test, do not compare.'
            )
    return notes


def recall_table(group: Group, published: bool) -> Table:
    """Return the shares of images below each pair of thresholds, a row for each run."""
    rows = []
    for scene in group.scenes:
        rows += [_recall_row(run) for run in group.runs if run.scene == scene]
        if published:
            rows += _published_recall_rows(group, scene)
    if len(group.scenes) > 1:
        rows += _average_recall_rows(group)
    names = ('scene', 'method', 'images', 'no pose', *map(threshold_name, THRESHOLDS))
    used = [i for i in range(len(names)) if i < 4 or any(row[i] != NONE for row in rows)]
    header = tuple(names[i] for i in used)
    rows = [tuple(row[i] for i in used) for row in rows]
    title = f'{group.name}: share of images below both thresholds (%)'
    return Table(title, header, tuple(rows), text_columns=2)


def _share(share: float | None) -> str:
    return NONE if share is None else f'{100 * share:.1f}'


def threshold_name(threshold: tuple[float, float, bool]) -> str:
    """Return `5 cm, 5°`, or `2 %, 1°` for a share of the depth."""
    translation, rotation_deg, relative = threshold
    if relative:
        return f'{100 * translation:g} %, {rotation_deg:g}°'
    length = f'{100 * translation:g} cm' if translation < 0.5 else f'{translation:g} m'
    return f'{length}, {rotation_deg:g}°'


def _recall_row(run: RunFigures) -> tuple[str, ...]:
    return (
        run.scene.name,
        run.method,
        str(run.frames),
        str(run.without_pose),
        *(_share(recall_of(run, threshold)) for threshold in THRESHOLDS),
    )


def recall_of(run: RunFigures, threshold: tuple[float, float, bool]) -> float | None:
    """Return a share; None where metres mean nothing or the run does not know it."""
    if not threshold[2] and not run.is_metric:
        return None
    return run.refined.recall.get(threshold)


def _published_recall_rows(group: Group, scene: SceneLabel) -> list[tuple[str, ...]]:
    rows = []
    for method, results in group.published().items():
        result = results.get(scene.benchmark or '')
        if result is None or result.within_5_cm_5_deg is None:
            continue
        images = str(TEST_IMAGES[group.dataset, result.scene])
        shares = (
            _share(result.within_5_cm_5_deg) if threshold == (0.05, 5.0, False) else NONE
            for threshold in THRESHOLDS
        )
        rows.append((scene.name, f'{method}, published', images, NONE, *shares))
    return rows


def _average_recall_rows(group: Group) -> list[tuple[str, ...]]:
    """Return the mean over the scenes for the methods that were run on all of them."""
    rows = []
    for method in group.methods:
        runs = [run for run in group.runs if run.method == method]
        if len(runs) < len(group.scenes):
            continue
        shares = []
        for threshold in THRESHOLDS:
            known = [recall_of(run, threshold) for run in runs]
            shares.append(_share(None if None in known else np.mean(known)))
        frames = sum(run.frames for run in runs)
        without_pose = sum(run.without_pose for run in runs)
        name = f'average of {len(runs)}'
        rows.append((name, method, str(frames), str(without_pose), *shares))
    return rows


def start_table(group: Group, relative: bool, published: bool) -> Table:
    """Return what became of starts, by how far off they were, a row for each run.

    Args:
        group: runs that all know their bins; in metres unless `relative`.
        relative: whether to bin by shares of the depth; else by metres.
        published: whether to add what is known of NeFeS on the data set.
    """
    edges = RELATIVE_EDGES if relative else ABSOLUTE_EDGES
    rows = [
        (run.scene.name, run.method, *_bin_cells(run.by_start, edges, relative))
        for scene in group.scenes
        for run in group.runs
        if run.scene == scene
    ]
    notes = ['Median error after refinement, then how many of the images came closer.']
    known = BASINS.get(group.dataset, ()) if group.ground_truth == SFM else ()
    if published and not relative and [found.low for found in known] == list(edges[:-1]):
        cells = _bin_cells(known, edges, relative)
        rows.append(('all of the data set', f'{DFNET}, published', *cells))
        notes.append(f'Published figures: {BASIN_SOURCE}.')
    unit = '% of depth / °' if relative else 'm / °'
    title = f'{group.name}: error after refinement ({unit}), by that of the start'
    header = ('scene', 'method', *map(_bin_name, edges[:-1], edges[1:], [relative] * len(edges)))
    return Table(title, header, tuple(rows), tuple(notes), text_columns=2)


def _bin_name(low: float, high: float, relative: bool) -> str:
    """Return `2 – 5 cm`, `< 2 cm` or `≥ 1 m`; percent for shares of the depth."""
    scale, unit = (100, '%') if relative else (1, 'm') if low >= 0.5 else (100, 'cm')
    if low == 0:
        return f'< {scale * high:g} {unit}'
    if math.isinf(high):
        return f'≥ {scale * low:g} {unit}'
    return f'{scale * low:g} – {scale * high:g} {unit}'


def _bin_cells(bins: Sequence[StartBin], edges: Sequence[float], relative: bool) -> list[str]:
    """Return `0.0150 / 0.460, 88 % of 5895` for each bin that has images."""
    by_low = {found.low: found for found in bins if found.relative == relative}
    cells = []
    for low in edges[:-1]:
        found = by_low[low]
        if not found.frames:
            cells.append(NONE)
            continue
        translation = found.translation
        if relative and translation is not None:
            translation *= 100
        errors = f'{significant(translation)} / {significant(found.rotation_deg)}'
        cells.append(f'{errors}, {100 * found.improved:.0f} % of {found.frames}')
    return cells
