"""The HTML report of an articulated model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import math
from pathlib import Path
from typing import Any

import numpy as np

from posefield.articulation.kinematics import Skeleton
from posefield.articulation.skeleton_building import UNMOVED
from posefield.evaluation import report_page
from posefield.storage import atomic_write_text


@dataclass(frozen=True)
class PhotoRow:
    """A photo next to what a model shows of it: (image (H, W, 3), caption) pairs."""

    heading: str
    images: Sequence[tuple[np.ndarray, str]]


@dataclass(frozen=True)
class ArticulationReport:
    """Everything the page shows.

    Attributes:
        title, lead: heading and the sentence below it.
        summary: of evaluate_articulation, with `methods`.
        skeleton: links and joints that were found.
        views, poses: photos of held-out cameras and of held-out frames beside renders.
        bones: photos with the skeleton drawn over them.
        turn_table: the model turning while its joints move, as GIF.
        stills: of the turn-table.
        levels: one row for each level of merging, as (name, value) texts; see `merge_rows`.
        facts: (name, value) pairs on the model, data and machine.
    """

    title: str
    lead: str
    summary: Mapping[str, Any]
    skeleton: Skeleton
    views: Sequence[PhotoRow]
    poses: Sequence[PhotoRow]
    bones: Sequence[tuple[np.ndarray, str]]
    turn_table: bytes
    stills: Sequence[tuple[np.ndarray, str]]
    levels: Sequence[Sequence[tuple[str, str]]] = ()
    facts: Sequence[tuple[str, str]] = field(default_factory=list)


def number(value: float | None, digits: int = 3, unit: str = '') -> str:
    """Return a figure as people read it."""
    if value is None or not math.isfinite(value):
        return '–'
    return f'{value:.{digits}f}{unit}'


def percent(share: float | None) -> str:
    """Return a share in percent."""
    return '–' if share is None else f'{100 * share:.0f} %'


def duration(seconds: float | None) -> str:
    """Return a time as people read it."""
    if seconds is None:
        return '–'
    return f'{seconds:.0f} s' if seconds < 120 else f'{seconds / 60:.1f} min'


def write_report(path: Path, report: ArticulationReport) -> None:
    """Write the page; it refers to no other file."""
    body = [report_page.tiles(_tiles(report.summary))]
    body.append(
        _rows_section(
            'Held-out cameras',
            report.views,
            'Moments that were learned, seen by cameras that were not.',
        )
    )
    if report.poses:
        body.append(
            _rows_section(
                'Held-out poses',
                report.poses,
                'Moments that were never learned: the model was taken there by its joints alone.',
            )
        )
    body.append(
        report_page.section(
            'Skeleton over the video',
            report_page.picture_row(_encoded(report.bones)),
            note='Dots are joints, thin dark lines their axes, thick lines lead to the middle of '
            'each link. A link without parts is grey.',
        )
    )
    body.append(
        report_page.section(
            'Re-posed',
            report_page.animation(report.turn_table, 'The joints swing over what they did'),
            report_page.picture_row(_encoded(report.stills)),
            note='No frame of the video had these poses.',
        )
    )
    body.append(_joints_section(report))
    body.append(_methods_section(report.summary))
    if report.levels:
        body.append(_levels_section(report.levels))
    body.append(report_page.section('Run', report_page.definitions(report.facts)))
    atomic_write_text(Path(path), report_page.page(report.title, report.lead, body))


def _tiles(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    views, poses = summary['held_out_views'] or {}, summary['held_out_poses'] or {}
    tiles = []
    if summary['joint_error'] is not None:
        tiles += [
            (number(summary['joint_error']), 'joint error, in scene radii'),
            (number(summary['axis_error_deg'], 1, '°'), 'mean axis error'),
            (percent(summary['joint_type_accuracy']), 'joint types right'),
            (percent(summary['tree_agreement']), 'tree agreement'),
        ]
    return [
        *tiles,
        (number(views.get('psnr'), 1, ' dB'), 'PSNR, held-out cameras'),
        (number(views.get('mask_iou'), 2), 'mask overlap, held-out cameras'),
        (number(poses.get('psnr'), 1, ' dB'), 'PSNR, held-out poses'),
        (duration(summary['seconds_to_learn']), 'to learn'),
    ]


def _encoded(images: Sequence[tuple[np.ndarray, str]]) -> list[tuple[bytes, str]]:
    return [(report_page.encode_png(image), caption) for image, caption in images]


def _rows_section(title: str, rows: Sequence[PhotoRow], note: str) -> str:
    content = []
    for row in rows:
        content.append(report_page.heading(row.heading))
        content.append(report_page.picture_row(_encoded(row.images)))
    return report_page.section(title, *content, note=note)


def _joints_section(report: ArticulationReport) -> str:
    content = []
    scored = report.summary['joints']
    if scored:
        content.append(report_page.heading('True joints that moved'))
        content.append(report_page.wide_table(_SCORED_HEADER, [_scored(row) for row in scored]))
    content.append(report_page.heading('Joints found'))
    rows = []
    for joint in report.skeleton.joints:
        turns = joint.kind in ('revolute', 'continuous')
        low, high = (
            (np.rad2deg(joint.lower), np.rad2deg(joint.upper))
            if turns
            else (joint.lower, joint.upper)
        )
        limits = f'{low:.0f}° to {high:.0f}°' if turns else f'{low:.3g} to {high:.3g}'
        if joint.kind == 'continuous' and joint.upper - joint.lower < UNMOVED:
            limits = 'not seen to turn'
        rows.append(
            (
                joint.name,
                joint.kind,
                f'{joint.parent} → {joint.child}',
                limits if joint.movable else '–',
            )
        )
    header = ('joint', 'kind', 'links', 'limits')
    content.append(report_page.wide_table(header, rows, text_columns=2))
    note = 'Distances are in scene radii, from the centre of a found joint to the true axis.'
    return report_page.section('Joints', *content, note=note if scored else '')


_SCORED_HEADER = (
    'true joint',
    'kind',
    'travel',
    'distance',
    'of a still point',
    'found as',
    'kind found',
    'axis off by',
)


def _scored(row: Mapping[str, Any]) -> tuple[str, ...]:
    slides = row['distance'] is None
    return (
        row['name'],
        row['kind'],
        number(row['travel'], 2) if slides else number(row['travel'], 0, '°'),
        number(row['distance']),
        number(row['distance_static']),
        row['found'] or 'not found',
        row['found_kind'] or '–',
        number(row['axis_error_deg'], 1, '°'),
    )


def _methods_section(summary: Mapping[str, Any]) -> str:
    header = (
        'method',
        'joint error',
        'A.10 error',
        'views: PSNR',
        'SSIM',
        'LPIPS',
        'overlap',
        'poses: PSNR',
        'SSIM',
        'LPIPS',
        'overlap',
    )
    rows = [_method('this model', summary)]
    rows += [_method(name, figures) for name, figures in summary['methods'].items()]
    note = (
        'Joint errors are in scene radii: directly measured, and by the linear regression of the '
        'Watch It Move supplement (A.10), which flatters. Views are held-out cameras, poses are '
        'held-out moments.'
    )
    return report_page.section('Compared', report_page.wide_table(header, rows), note=note)


def _method(name: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    cells = [name, number(figures.get('joint_error')), number(figures.get('a10_joint_error'))]
    for key in ('held_out_views', 'held_out_poses'):
        images = figures.get(key) or {}
        cells += [
            number(images.get('psnr'), 2),
            number(images.get('ssim')),
            number(images.get('lpips')),
            number(images.get('mask_iou')),
        ]
    return tuple(cells)


def _levels_section(levels: Sequence[Sequence[tuple[str, str]]]) -> str:
    header = [name for name, _ in levels[0]]
    rows = [[value for _, value in level] for level in levels]
    return report_page.section(
        'Levels of merging',
        report_page.wide_table(header, rows),
        note='Parts that do not move against each other are one link. The level is chosen by the '
        'noise of the data.',
    )
