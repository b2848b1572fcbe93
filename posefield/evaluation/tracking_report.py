"""The report of a model that was tracked live: angles, pictures and figures in one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from matplotlib.figure import Figure
import numpy as np

from posefield.evaluation.articulation_report import duration, number
from posefield.evaluation.plots import ACCENT, INK, style, to_png
from posefield.evaluation.report_page import (
    definitions,
    encode_png,
    page,
    picture,
    picture_row,
    section,
    table,
    tiles,
)
from posefield.evaluation.tracking_errors import SameJoint
from posefield.geometry.images import to_float_rgb
from posefield.storage import atomic_write_bytes

PICTURE_SIDE = 256


@dataclass(frozen=True, eq=False)
class TrackedPicture:
    """An image, and the same with the outline of the model in the pose found; (H, W, 3) floats.

    Attributes:
        time_s: since tracking began.
    """

    time_s: float
    image: np.ndarray
    outlined: np.ndarray


@dataclass(frozen=True, eq=False)
class TrackingReport:
    """What the report shows.

    Attributes:
        summary: the figures of metrics.json.
        times_s: of the T moments that were tracked.
        joints: which found joint stands for which true one.
        found_TD, true_TJ: positions of the model's joints and the true ones.
        pictures: some moments.
        reposed: the model in a pose that it was asked for, (H, W, 3) uint8.
        facts: names and values at the end.
    """

    summary: Mapping[str, Any]
    times_s: np.ndarray
    joints: Sequence[SameJoint]
    found_TD: np.ndarray
    true_TJ: np.ndarray
    pictures: Sequence[TrackedPicture]
    reposed: np.ndarray
    facts: Sequence[tuple[str, str]]


def write_report(path: Path, report: TrackingReport) -> None:
    """Write a self-contained HTML page."""
    summary = report.summary
    body = [
        tiles(
            [
                (number(summary['joint_angle_error_deg'], 1, '°'), 'median joint angle error'),
                (number(summary['tracking_rate_hz'], 1, ' Hz'), 'tracked'),
                (number(summary['tracking_latency_s'], 2, ' s'), 'from image to joint states'),
                (
                    f'{summary["joints_identified"]} of {summary["joints_moved"]}',
                    'joints that moved were found',
                ),
                (number(summary['repose_s'], 2, ' s'), 'for a render in a new pose'),
                (duration(summary['seconds_to_learn']), 'to learn'),
            ]
        ),
        section(
            'Joints',
            table(
                ('true joint', 'found joint', 'axis off', 'moved', 'median error', '90 % below'),
                [_row(joint) for joint in summary['joints_followed']],
            ),
            note='Direction and zero of a found joint are taken from the recording that was '
            'learned, nothing from the images that are tracked.',
        ),
    ]
    if report.joints:
        note = 'Black: the truth. Blue: what was tracked.'
        plot = picture(plot_angles(report), 'true and tracked angles over time')
        body.append(section('Angles while tracking', plot, note=note))
    body.append(
        section(
            'Images that were tracked',
            *(
                picture_row(
                    [
                        (_shown(one.image), f'{one.time_s:.1f} s'),
                        (_shown(one.outlined), 'outline of the model in the pose found'),
                    ]
                )
                for one in report.pictures
            ),
        )
    )
    reposed = _shown(to_float_rgb(report.reposed))
    body.append(
        section('A new pose', picture_row([(reposed, 'the answer of ~/repose, no photo')]))
    )
    body.append(section('About', definitions(report.facts)))
    lead = (
        'A simulated robot was recorded by the capture node, learned through the action of the '
        'articulation node, described as a robot, rendered in a new pose and tracked live.'
    )
    text = page('A moving thing, learned and tracked', lead, body)
    atomic_write_bytes(path, text.encode())


def plot_angles(report: TrackingReport) -> bytes:
    """Draw true and tracked angles of every joint over time, as PNG."""
    count = len(report.joints)
    figure = Figure(figsize=(11, 1.9 * count), layout='constrained')
    first = None
    for index, joint in enumerate(report.joints):
        axes = figure.add_subplot(count, 1, index + 1, sharex=first)
        first = first or axes
        style(axes)
        true = report.true_TJ[:, joint.column]
        found = joint.sign * report.found_TD[:, joint.found_column] + joint.offset
        # The turn nearest to the truth.
        found = true + (found - true + np.pi) % (2.0 * np.pi) - np.pi
        axes.plot(report.times_s, np.rad2deg(true), color=INK, linewidth=1.2)
        axes.plot(
            report.times_s, np.rad2deg(found), color=ACCENT, linewidth=1.2, marker='.',
            markersize=4,
        )  # fmt: skip
        axes.set_title(joint.name, fontsize=10, loc='left')
        axes.set_ylabel('degrees')
    axes.set_xlabel('seconds')
    return to_png(figure)


def _row(joint: Mapping[str, Any]) -> tuple[str, ...]:
    angles = ('axis_error_deg', 'travel_deg', 'median_error_deg', 'p90_error_deg')
    return (joint['name'], joint['found'], *(number(joint[key], 1, '°') for key in angles))


def _shown(image: np.ndarray) -> bytes:
    """Return a small image as PNG, larger."""
    factor = max(1, PICTURE_SIDE // min(image.shape[:2]))
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return encode_png(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST))
