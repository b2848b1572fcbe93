"""The HTML report of a relocalization run."""

from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path

import numpy as np

from posefield.evaluation import plots, report_page, trajectory_plots
from posefield.evaluation.metrics import FrameResult
from posefield.geometry.images import resize
from posefield.geometry.poses import PoseErrors
from posefield.storage import atomic_write_text

VIEW_WIDTH = 480


@dataclass(frozen=True)
class ReportView:
    """One query next to what the map shows at its estimated pose.

    Attributes:
        label: such as `Median frame`.
        result: the frame's result.
        query: (H, W, 3) float RGB, undistorted.
        render: (H, W, 3) float RGB of the same size.
    """

    label: str
    result: FrameResult
    query: np.ndarray
    render: np.ndarray


@dataclass(frozen=True)
class RelocalizationReport:
    """Everything the page shows.

    Attributes:
        title, lead: heading and the sentence below it.
        units: `metres` or `arbitrary`.
        results: one per query, in the order of the drive.
        summary: of metrics.summarise.
        views: pictures of chosen frames.
        facts: (name, value) pairs on the map, data and machine.
    """

    title: str
    lead: str
    units: str
    results: Sequence[FrameResult]
    summary: dict
    views: Sequence[ReportView]
    facts: Sequence[tuple[str, str]]


def badness(result: FrameResult) -> float:
    """Return how bad a pose is: 1 at 2 % of the depth or at 1 degree, whichever is worse."""
    errors = result.errors
    return max(result.relative(errors.translation) / 0.02, errors.rotation_deg / 1.0)


def chosen_frames(results: Sequence[FrameResult]) -> list[tuple[str, FrameResult]]:
    """Return the best, median and worst frames among those with a pose."""
    ranked = sorted((result for result in results if result.has_pose), key=badness)
    if not ranked:
        return []
    return [
        ('Best frame', ranked[0]),
        ('Median frame', ranked[len(ranked) // 2]),
        ('Worst frame', ranked[-1]),
    ]


def length(value: float | None, units: str) -> str:
    """Return a translation as people read it: cm in metric maps, else map units."""
    if value is None or not math.isfinite(value):
        return 'no pose'
    if units != 'metres':
        return f'{value:.3g} units'
    return f'{value * 100:.2f} cm' if value < 1 else f'{value:.2f} m'


def threshold(value: float, units: str) -> str:
    """Return a round length without trailing zeros."""
    if units != 'metres':
        return f'{value:g} units'
    return f'{value * 100:g} cm' if value < 1 else f'{value:g} m'


def angle(value_deg: float | None) -> str:
    """Return a rotation error as people read it."""
    return 'no pose' if value_deg is None or not math.isfinite(value_deg) else f'{value_deg:.2f}°'


def percent(share: float | None, digits: int = 0) -> str:
    """Return a share as a percentage."""
    return '–' if share is None or not math.isfinite(share) else f'{100 * share:.{digits}f} %'


def write_report(path: Path, report: RelocalizationReport) -> None:
    """Write the page; it refers to no other file."""
    body = [report_page.tiles(_tiles(report))]
    located = [result for result in report.results if result.has_pose]
    if located:
        body.append(_trajectory_section(located, report.units))
    if report.views:
        body.append(_views_section(report))
    body.append(_distribution_section(report))
    if located:
        body.append(_score_section(located))
    body.append(_table_section(report))
    body.append(_runtime_section(report.summary))
    body.append(report_page.section('Run', report_page.definitions(report.facts)))
    atomic_write_text(Path(path), report_page.page(report.title, report.lead, body))


def _tiles(report: RelocalizationReport) -> list[tuple[str, str]]:
    summary = report.summary
    seconds = summary['seconds_per_frame']['median']
    if report.units == 'metres':
        translation = length(summary['median_translation_error'], report.units)
        name = 'median translation error'
    else:
        translation = percent(summary['median_relative_translation_error'], 2)
        name = 'median translation error, of depth'
    return [
        (translation, name),
        (angle(summary['median_rotation_error_deg']), 'median rotation error'),
        (percent(summary['recall'][0]['share']), 'within 2 % of depth and 1°'),
        (percent(summary['accepted_share']), 'accepted'),
        (percent(summary['false_accept_share']), 'accepted but wrong'),
        ('–' if seconds is None else f'{seconds:.2f} s', 'median time per image'),
    ]


def _trajectory_section(located: Sequence[FrameResult], units: str) -> str:
    unit = 'm' if units == 'metres' else 'map units'
    refined = trajectory_plots.CameraPair(
        np.array([result.T_map_cam_true for result in located]),
        np.array([result.localization.T_map_cam for result in located]),
        np.array([result.errors.rotation_deg for result in located]),
    )
    pictures = [
        report_page.picture(
            trajectory_plots.trajectory(refined, unit), 'Estimated and true cameras'
        )
    ]
    coarse = _coarse_pair(located)
    if coarse is not None:
        pictures.append(
            report_page.picture(
                trajectory_plots.refinement(coarse, refined, unit),
                'Cameras before and after refinement, and the rotation error of every frame',
            )
        )
    return report_page.section(
        'Trajectory',
        *pictures,
        note='Grey: true cameras. Coloured by rotation error: estimates, not aligned to the '
        'truth in any way. Estimates further off than the whole drive is long are left out.',
    )


def _coarse_pair(located: Sequence[FrameResult]) -> trajectory_plots.CameraPair | None:
    """Return the hypotheses of all frames; None where one is missing or nothing was refined."""
    coarse = np.array([result.localization.T_map_cam_coarse for result in located])
    refined = np.array([result.localization.T_map_cam for result in located])
    if not np.isfinite(coarse).all() or np.array_equal(coarse, refined):
        return None
    return trajectory_plots.CameraPair(
        np.array([result.T_map_cam_true for result in located]),
        coarse,
        np.array([result.coarse_errors.rotation_deg for result in located]),
    )


def _views_section(report: RelocalizationReport) -> str:
    rows = []
    for view in report.views:
        errors = view.result.errors
        caption = (
            f'{view.label}: {length(errors.translation, report.units)}, '
            f'{angle(errors.rotation_deg)} off'
            f'{"" if view.result.accepted else ", not accepted"} · {view.result.name}'
        )
        height, width = view.query.shape[:2]
        size = (VIEW_WIDTH, round(VIEW_WIDTH * height / width))
        query, render = (resize(image, *size) for image in (view.query, view.render))
        images = ((query, 'query'), (render, 'render'), ((query + render) / 2, 'blend'))
        rows.append(report_page.heading(caption))
        rows.append(
            report_page.picture_row(
                [(report_page.encode_png(image), name) for image, name in images]
            )
        )
    return report_page.section(
        'What the map sees at the estimated pose',
        *rows,
        note='Doubled edges in the blend are what is left of the pose error (or of the map).',
    )


def _distribution_section(report: RelocalizationReport) -> str:
    errors = [result.errors for result in report.results]
    coarse = [result.coarse_errors for result in report.results]
    unit = 'cm' if report.units == 'metres' else '% of depth'
    translations, coarse_translations = (
        _translations(report, group) for group in (errors, coarse)
    )
    rotations, coarse_rotations = (
        np.array([error.rotation_deg for error in group]) for group in (errors, coarse)
    )
    seconds = np.array([result.seconds for result in report.results])
    missing = report.summary['frames_without_pose']
    return report_page.section(
        'Errors and time',
        report_page.picture(
            plots.histograms(
                [
                    (translations, f'translation error ({unit})'),
                    (rotations, 'rotation error (deg)'),
                    (seconds, 'time per image (s)'),
                ]
            ),
            'Histograms of translation error, rotation error and time per image',
        ),
        report_page.picture(
            plots.cumulative(
                [
                    (translations, coarse_translations, f'translation error ({unit})'),
                    (rotations, coarse_rotations, 'rotation error (deg)'),
                ]
            ),
            'Share of frames below each error',
        ),
        note='All frames, accepted or not.'
        + (f' {missing} frames without a pose count as infinitely wrong.' if missing else ''),
    )


def _translations(report: RelocalizationReport, errors: Sequence[PoseErrors]) -> np.ndarray:
    """Return what is plotted: cm in metric maps, else percent of the depth."""
    if report.units == 'metres':
        return 100 * np.array([error.translation for error in errors])
    return 100 * np.array(
        [
            result.relative(error.translation)
            for result, error in zip(report.results, errors, strict=True)
        ]
    )


def _score_section(located: Sequence[FrameResult]) -> str:
    picture = plots.score_against_error(
        np.array([result.localization.score for result in located]),
        np.array([result.relative(result.errors.translation) for result in located]),
        np.array([result.accepted for result in located]),
    )
    return report_page.section(
        'Score against error',
        report_page.picture(picture, 'Acceptance score against translation error'),
        note='A good score is high only where the error is low.',
    )


def _table_section(report: RelocalizationReport) -> str:
    summary, units = report.summary, report.units
    accuracy = []
    for label, key in (('median', 'median'), ('75 %', 'p75'), ('90 %', 'p90'), ('99 %', 'p99')):
        for stage, figures in (('refined', summary), ('hypothesis', summary['coarse'])):
            accuracy.append(
                (
                    f'{label}, {stage}',
                    length(figures[f'{key}_translation_error'], units),
                    percent(figures[f'{key}_relative_translation_error'], 2),
                    angle(figures[f'{key}_rotation_error_deg']),
                )
            )
    rows = []
    for refined, coarse in zip(summary['recall'], summary['coarse']['recall'], strict=True):
        if not refined['relative'] and units != 'metres':
            continue
        distance = (
            percent(refined['translation'])
            if refined['relative']
            else threshold(refined['translation'], units)
        )
        rows.append(
            (
                f'{distance}, {refined["rotation_deg"]:g}°',
                percent(refined['share'], 1),
                percent(coarse['share'], 1),
            )
        )
    content = report_page.tables(
        report_page.table(('error', 'translation', 'of depth', 'rotation'), accuracy),
        report_page.table(('below', 'refined', 'hypothesis'), rows),
    )
    return report_page.section('Figures', content, _other_figures(summary))


def _runtime_section(summary: dict) -> str:
    """Return the time of each stage, in the order in which the first frame ran them."""
    stages = summary['seconds_by_stage']
    rows = [
        (stage, milliseconds(times['median']), milliseconds(times['p95']), str(times['frames']))
        for stage, times in sorted(stages.items(), key=lambda item: item[0] == 'total')
    ]
    call = summary['seconds_per_frame']
    rows.append(
        (
            'whole call',
            milliseconds(call['median']),
            milliseconds(call['p95']),
            str(summary['frames']),
        )
    )
    facts = [
        ('images per second', _number(summary['frames_per_second'])),
        ('renders per frame', _number(summary['renders_per_frame'])),
        ('most renders', '–' if summary['max_renders'] is None else str(summary['max_renders'])),
    ]
    return report_page.section(
        'Runtime',
        report_page.table(('stage', 'median', '95 % within', 'images'), rows),
        '<br>' + report_page.definitions(facts),
        note='Each stage over the images that needed it, all attempts on an image added up.',
    )


def milliseconds(seconds: float | None) -> str:
    """Return a duration as people read it."""
    if seconds is None or not math.isfinite(seconds):
        return '–'
    if seconds >= 1:
        return f'{seconds:.2f} s'
    digits = 2 if seconds < 0.01 else 1 if seconds < 0.1 else 0
    return f'{1000 * seconds:.{digits}f} ms'


def _other_figures(summary: dict) -> str:
    bounds = summary['anees_95']
    worsened = summary['worsened_share']
    items = [
        ('frames', f'{summary["frames"]} ({summary["frames_without_pose"]} without a pose)'),
        ('hypotheses', ', '.join(f'{n} × {name}' for name, n in summary['hypotheses'].items())),
        (
            'made worse by refining',
            f'{percent(worsened["translation"])} in translation, '
            f'{percent(worsened["rotation"])} in rotation',
        ),
        ('PSNR of the renders', f'{_number(summary["psnr"])} dB'),
        ('score separates (AUROC)', _number(summary['score_auroc'])),
        (
            'ANEES',
            _number(summary['anees'])
            + (f' (honest: {bounds[0]:.2f} to {bounds[1]:.2f})' if bounds else ''),
        ),
    ]
    return '<br>' + report_page.definitions([(name, value or '–') for name, value in items])


def _number(value: float | None) -> str:
    return '–' if value is None else f'{value:.3g}'
