"""Scoring what a relocalizer node published during a drive."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posefield import __version__
from posefield.cli.drive import NANOSECONDS, Drive
from posefield.cli.evaluation import REPORT_SHORT_SIDE, machine, write_results
from posefield.errors import DataError
from posefield.evaluation.evaluate_map import median_depth_at, render_psnr, view_at
from posefield.evaluation.metrics import FrameResult, quantile, summarise
from posefield.evaluation.relocalization_report import (
    RelocalizationReport,
    ReportView,
    angle,
    chosen_frames,
    length,
    percent,
)
from posefield.geometry.poses import pose_errors
from posefield.relocalization.localization import Localization
from posefield.relocalization.localizer import Localizer
from posefield.storage import read_json

RECORDING_SCHEMA = 1


def score_drive(
    localizer: Localizer,
    drive: Drive,
    recording: Path,
    out: Path,
    *,
    facts: Sequence[tuple[str, str]],
    units: str,
    title: str,
) -> str:
    """Write metrics.json, poses.tum and report.html of a drive; return the closing line.

    Raises:
        DataError: when the node published no result at all.
    """
    received = read_json(recording, schema=RECORDING_SCHEMA, kind='pose_recording')
    if not received['results']:
        raise DataError(
            f'The relocalizer published no result for {len(drive.frames)} images; see '
            f'{out / "logs" / "relocalizer.log"}.'
        )
    results = drive_results(localizer, drive, received)
    summary = summarise(results)
    document = {
        'schema': 1,
        'kind': 'relocalization_metrics',
        'posefield_version': __version__,
        **summary,
        'units': units,
        'ros': ros_figures(drive, received),
        'machine': machine(),
    }
    used = document['machine']
    report = RelocalizationReport(
        title=title,
        lead=f'{len(results)} images played over ROS 2 to the relocalizer node; poses as another '
        'process received them. Time per image is from its arrival to that of the result.',
        units=units,
        results=results,
        summary=summary,
        views=_views(localizer, drive, results),
        facts=[
            *facts,
            *_ros_facts(document['ros'], units),
            ('machine', f'{used["processor"]}, {used["cpus"]} CPUs, {used["gpu"] or "no GPU"}'),
            ('posefield', __version__),
        ],
    )
    write_results(out, document, results, report)
    error = length(summary['median_translation_error'], units)
    if units != 'metres':
        error += f' ({percent(summary["median_relative_translation_error"], 2)} of depth)'
    return (
        f'report: {out / "report.html"}, median error {error} and '
        f'{angle(summary["median_rotation_error_deg"])}'
    )


def stamp_keys(drive: Drive) -> list[int]:
    """Return the stamps of the images in nanoseconds, as messages carry them."""
    first_ns = round(drive.stamps_N[0] * NANOSECONDS)
    return [first_ns + round((s - drive.stamps_N[0]) * NANOSECONDS) for s in drive.stamps_N]


def drive_results(
    localizer: Localizer, drive: Drive, received: dict[str, Any]
) -> list[FrameResult]:
    """Return one result an image; an image that the node dropped has no pose."""
    by_stamp = {entry['stamp_ns']: entry for entry in received['results']}
    arrivals = {entry['stamp_ns']: entry['received_s'] for entry in received['images']}
    results = []
    for frame, stamp_s, stamp_ns in zip(
        drive.frames, drive.stamps_N, stamp_keys(drive), strict=True
    ):
        entry = by_stamp.get(stamp_ns)
        result = FrameResult(
            name=frame.name,
            T_map_cam_true=frame.T_map_cam,
            localization=None,
            seconds=float('inf'),
            stamp_s=float(stamp_s),
            failure='The node published no result.',
        )
        if entry is not None:
            depth = median_depth_at(localizer, frame.camera, frame.T_map_cam)
            localization = localization_from(entry, depth)
            result = replace(
                result,
                localization=localization,
                seconds=_seconds(entry, arrivals.get(stamp_ns)),
                psnr=render_psnr(
                    localizer, frame.read_image(), frame.camera, localization.T_map_cam
                ),
                failure='',
            )
        results.append(result)
    return results


def _seconds(entry: dict[str, Any], arrived_s: float | None) -> float:
    """Return the time from image to result; the node's own where the arrival was not seen."""
    if arrived_s is None:
        return entry['latency_s'] or 0.0
    return entry['received_s'] - arrived_s


def localization_from(entry: dict[str, Any], median_depth: float) -> Localization:
    """Return the Localization that a recorded result message was made of."""
    covariance = [float('nan') if value is None else value for value in entry['covariance']]
    return Localization(
        T_map_cam=np.array(entry['T_map_cam']),
        covariance=np.array(covariance).reshape(6, 6),
        T_map_cam_coarse=np.array(entry['T_map_cam_coarse']),
        hypothesis=entry['hypothesis'],
        accepted=entry['accepted'],
        score=entry['score'] or 0.0,
        reason=entry['reason'],
        median_depth=median_depth,
        renders=entry['renders'],
        iterations=entry['iterations'],
        timings=entry['timings'],
    )


def ros_figures(drive: Drive, received: dict[str, Any]) -> dict[str, Any]:
    """Return what only the topics can tell: drops, overhead, and the pose that TF adds up to."""
    keys = stamp_keys(drive)
    corrections = {entry['stamp_ns']: np.array(entry['T']) for entry in received['map_to_odom']}
    overheads = [
        entry['latency_s'] - entry['timings']['total']
        for entry in received['results']
        if entry['latency_s'] is not None and 'total' in entry['timings']
    ]
    # A transform repeated for the future can bear the stamp of an image that got no pose.
    published = {entry['stamp_ns'] for entry in received['poses']} & set(keys)
    tf_errors = []
    for index, stamp_ns in enumerate(keys):
        if stamp_ns in corrections and stamp_ns in published:
            T_map_cam = corrections[stamp_ns] @ drive.T_odom_base_N44[index] @ drive.T_base_cam
            tf_errors.append(pose_errors(T_map_cam, drive.frames[index].T_map_cam))
    answered = {entry['stamp_ns'] for entry in received['results']}
    states = [entry['state'] for entry in received['results']]
    return {
        'images_played': len(keys),
        'results': len(answered & set(keys)),
        'poses_published': len(published),
        'transforms_published': len(tf_errors),
        'tf_median_translation_error': _median([error.translation for error in tf_errors]),
        'tf_median_rotation_error_deg': _median([error.rotation_deg for error in tf_errors]),
        'median_overhead_s': _median(overheads),
        'states': {state: states.count(state) for state in sorted(set(states))},
    }


def _median(values: Sequence[float]) -> float | None:
    return quantile(values, 0.5) if values else None


def _ros_facts(ros: dict[str, Any], units: str) -> list[tuple[str, str]]:
    overhead_s = ros['median_overhead_s']
    return [
        (
            'published',
            f'{ros["poses_published"]} poses and {ros["transforms_published"]} map -> odom '
            f'transforms for {ros["images_played"]} images',
        ),
        (
            'camera on TF',
            f'median {length(ros["tf_median_translation_error"], units)} and '
            f'{angle(ros["tf_median_rotation_error_deg"])} off, through map -> odom, odometry '
            'and extrinsics at the stamp of the image',
        ),
        (
            'overhead of the node',
            '–' if overhead_s is None else f'median {1000 * overhead_s:.1f} ms an image',
        ),
    ]


def _views(localizer: Localizer, drive: Drive, results: Sequence[FrameResult]) -> list[ReportView]:
    frames = {frame.name: frame for frame in drive.frames}
    views = []
    for label, result in chosen_frames(results):
        frame = frames[result.name]
        query, render = view_at(
            localizer,
            frame.read_image(),
            frame.camera,
            result.localization.T_map_cam,
            REPORT_SHORT_SIDE,
        )
        views.append(ReportView(label, result, query, render))
    return views
