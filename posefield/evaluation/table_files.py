"""All tables of several runs, as Markdown, HTML and CSV."""

from collections.abc import Sequence
import csv
import io
from pathlib import Path

from posefield.evaluation import report_page
from posefield.evaluation.accuracy_tables import (
    median_table,
    recall_of,
    recall_table,
    relative_table,
    start_table,
)
from posefield.evaluation.metrics import ABSOLUTE_THRESHOLDS, RELATIVE_THRESHOLDS
from posefield.evaluation.published import TEST_IMAGES, PublishedResult
from posefield.evaluation.run_figures import RunFigures
from posefield.evaluation.runtime_tables import runtime_table, stage_table
from posefield.evaluation.tables import ARROW, Group, Table, groups_of
from posefield.storage import atomic_write_text

TITLE = 'Relocalization compared'
LEAD = (
    'Medians over the images of a scene; images without a pose count as infinitely wrong. '
    'Nothing is aligned to the ground truth. Averages are means over the scenes.'
)
THRESHOLDS = tuple((*pair, False) for pair in ABSOLUTE_THRESHOLDS) + tuple(
    (*pair, True) for pair in RELATIVE_THRESHOLDS
)
COLUMNS = (
    'dataset',
    'ground_truth',
    'scene',
    'method',
    'source',
    'units',
    'frames',
    'frames_without_pose',
    'median_translation',
    'median_rotation_deg',
    'median_relative_translation',
    'coarse_median_translation',
    'coarse_median_rotation_deg',
    'coarse_median_relative_translation',
    *(
        f'recall_{"depth_" if relative else ""}{translation:g}_{rotation_deg:g}'
        for translation, rotation_deg, relative in THRESHOLDS
    ),
    'median_seconds',
    'p95_seconds',
    'renders_per_frame',
    'max_renders',
    'machine',
)


def make_tables(runs: Sequence[RunFigures], published: bool = False) -> list[Table]:
    """Return all tables of at least one run.

    Args:
        runs: no two of the same scene and method.
        published: whether to set the published figures beside ours.
    """
    tables = []
    for group in groups_of(runs):
        metric = group.metric()
        if metric.runs:
            tables.append(median_table(metric, published))
        tables.append(relative_table(group))
        tables.append(recall_table(group, published))
        tables += _start_tables(group, published)
    tables.append(runtime_table(runs, published))
    if any(run.stages for run in runs):
        tables.append(stage_table(runs))
    return tables


def _start_tables(group: Group, published: bool) -> list[Table]:
    """Return the tables by start of the runs that refined and know what became of it."""
    refined = group.where(lambda run: bool(run.by_start) and run.coarse != run.refined)
    metric = refined.metric()
    tables = [start_table(metric, False, published)] if metric.runs else []
    if refined.runs:
        tables.append(start_table(refined, True, published))
    return tables


def write_tables(folder: Path, runs: Sequence[RunFigures], published: bool = False) -> None:
    """Write tables.md, tables.html and tables.csv.

    Args:
        folder: made when it does not exist.
        runs: no two of the same scene and method.
        published: whether to set the published figures beside ours.

    Raises:
        BundleError: when they cannot be written.
    """
    tables = make_tables(runs, published)
    atomic_write_text(folder / 'tables.md', f'# {TITLE}\n\n{LEAD}\n\n{to_markdown(tables)}')
    page = report_page.page(TITLE, LEAD, [to_html(tables)])
    atomic_write_text(folder / 'tables.html', page)
    atomic_write_text(folder / 'tables.csv', to_csv(runs, published))


def to_markdown(tables: Sequence[Table]) -> str:
    """Return the tables as Markdown with a heading each."""
    return '\n\n'.join(map(_markdown, tables)) + '\n'


def _markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return '| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |'

    lines = [f'## {table.title}', '', line(table.header), '|' + '---|' * len(table.header)]
    lines += [line(row) for row in table.rows]
    for note in table.notes:
        lines += ['', note]
    return '\n'.join(lines)


def to_html(tables: Sequence[Table]) -> str:
    """Return the tables as sections of a report page."""
    return '\n'.join(
        report_page.section(
            table.title,
            report_page.wide_table(
                [_unbroken(cell) for cell in table.header],
                [[_unbroken(cell) for cell in row] for row in table.rows],
                text_columns=table.text_columns,
            ),
            *map(report_page.footnote, table.notes),
        )
        for table in tables
    )


def _unbroken(cell: str) -> str:
    """Return a cell that breaks into lines only after commas and arrows."""
    text = cell.replace(' ', '\N{NO-BREAK SPACE}').replace('-', '\N{NON-BREAKING HYPHEN}')
    for mark in (',', ARROW.strip()):
        text = text.replace(f'{mark}\N{NO-BREAK SPACE}', f'{mark} ')
    return text


def to_csv(runs: Sequence[RunFigures], published: bool = False) -> str:
    """Return one line for each run, without averages; figures that are not known are empty.

    Shares are in [0, 1], times in seconds, translations in map units.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
    writer.writeheader()
    for group in groups_of(runs):
        writer.writerows(_csv_row(run) for run in group.runs)
        if published:
            for results in group.published().values():
                writer.writerows(_published_csv_row(result) for result in results.values())
    return file.getvalue()


def _csv_row(run: RunFigures) -> dict[str, object]:
    values = (
        run.scene.dataset,
        run.scene.ground_truth,
        run.scene.name,
        run.method,
        'measured',
        run.units,
        run.frames,
        run.without_pose,
        run.refined.translation,
        run.refined.rotation_deg,
        run.refined.relative,
        run.coarse.translation,
        run.coarse.rotation_deg,
        run.coarse.relative,
        *(recall_of(run, threshold) for threshold in THRESHOLDS),
        *run.seconds,
        run.renders,
        run.max_renders,
        run.machine,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _published_csv_row(result: PublishedResult) -> dict[str, object]:
    return {
        'dataset': result.dataset,
        'ground_truth': result.ground_truth,
        'scene': result.scene,
        'method': result.method,
        'source': result.source,
        'units': 'metres',
        'frames': TEST_IMAGES[result.dataset, result.scene],
        'median_translation': result.refined[0],
        'median_rotation_deg': result.refined[1],
        'coarse_median_translation': result.initial[0],
        'coarse_median_rotation_deg': result.initial[1],
        'recall_0.05_5': result.within_5_cm_5_deg,
    }
