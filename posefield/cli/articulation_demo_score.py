"""Scoring of what the nodes of the demo of articulation published."""

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from posefield import __version__
from posefield.articulation.articulated_model import ArticulatedModel
from posefield.cli.evaluation import machine
from posefield.data.articulation_truth import ArticulationTruth
from posefield.data.image_files import read_rgb
from posefield.data.multiview import Multiview
from posefield.data.simulate_articulation import true_motion
from posefield.data.simulated_robot import SimulatedRobot
from posefield.data.visual_geometry import outline_points
from posefield.errors import DataError
from posefield.evaluation.articulation_truth_scores import score_motion
from posefield.evaluation.evaluate_articulation import found_motion
from posefield.evaluation.tracking_errors import same_joints, tracking_summary
from posefield.evaluation.tracking_report import TrackedPicture, TrackingReport, write_report
from posefield.geometry.images import to_float_rgb
from posefield.storage import write_json

METRICS_SCHEMA = 1
METRICS_KIND = 'articulation_demo_metrics'
PICTURES = 6
NANOSECONDS = 1e9


def score_articulation_demo(received_file: Path, urdf: str, out: Path) -> str:
    """Write metrics.json and report.html; return the line to print.

    Args:
        received_file: what the driver of the demo wrote.
        urdf: of the robot that was filmed.
        out: folder to write to.

    Raises:
        DataError: when nothing was recorded or tracked.
    """
    received = json.loads(received_file.read_text())
    model = ArticulatedModel.load(received['model'])
    recording = Multiview.load(received['recording'])
    stamps_s = np.array(recording.stamps_s)
    truth = recorded_truth(urdf, joints_at(received['recorded_joints'], stamps_s))
    motion = found_motion(model)
    joints = same_joints(motion, truth)
    times_s, found_TD = tracked_positions(received, model)
    true_TJ = joints_at(received['true_joints'], times_s)
    structure, _ = score_motion(motion, truth)
    figures = {
        **tracking_summary(joints, found_TD, true_TJ),
        **{key: structure[key] for key in ('joint_error', 'axis_error_deg')},
        'joints_moved': structure['joints_moved'],
        'joints_identified': structure['joints_identified'],
        **live_figures(received, times_s),
    }
    document = {
        'schema': METRICS_SCHEMA,
        'kind': METRICS_KIND,
        'posefield_version': __version__,
        **figures,
        'seconds_to_learn': model.info.get('seconds_to_learn'),
        'frames_learned': len(model.frames),
        'parts': model.motion.parts,
        'machine': machine(),
    }
    write_json(out / 'metrics.json', document)
    report = TrackingReport(
        summary=document,
        times_s=times_s - times_s[0],
        joints=joints,
        found_TD=found_TD,
        true_TJ=true_TJ,
        pictures=_pictures(model, recording, received, times_s, found_TD, out),
        reposed=read_rgb(out / 'reposed.png'),
        facts=_facts(received, document, urdf),
    )
    write_report(out / 'report.html', report)
    error = document['joint_angle_error_deg']
    shown = 'no joint in common' if error is None else f'median joint angle error {error:.1f} deg'
    rate = document['tracking_rate_hz']
    return f'report: {out / "report.html"}, {shown}, tracked at {rate:.1f} Hz'


def joints_at(series: Mapping[str, Any], stamps_s: np.ndarray) -> np.ndarray:
    """Return joint positions (T, J) between recorded joint states.

    Raises:
        DataError: when none were recorded.
    """
    times = np.array(series['stamps_ns'], dtype=np.float64) / NANOSECONDS
    if not len(times):
        raise DataError('No true joint states were received.')
    positions = np.array(series['positions'], dtype=np.float64)
    return np.stack([np.interp(stamps_s, times, column) for column in positions.T], axis=1)


def recorded_truth(urdf: str, positions_FJ: np.ndarray) -> ArticulationTruth:
    """Return the truth about a recording in which the robot had these joint positions."""
    with SimulatedRobot(urdf) as robot:
        outlines = outline_points(robot.visual_shapes(), len(robot.links))
        return true_motion(robot, positions_FJ, outlines)


def tracked_positions(
    received: Mapping[str, Any], model: ArticulatedModel
) -> tuple[np.ndarray, np.ndarray]:
    """Return the times (T,) of images that were tracked and the model's joint positions (T, D).

    Raises:
        DataError: when fewer than two were.
    """
    described = list(model.structure.movable)
    tracking = {one['stamp_ns'] for one in received['states'] if one['state'] == 'tracking'}
    entries = [one for one in received['tracked_joints'] if one['stamp_ns'] in tracking]
    if len(entries) < 2:
        raise DataError(f'{len(entries)} images were tracked, expected at least 2.')
    times_s = np.array([one['stamp_ns'] for one in entries]) / NANOSECONDS
    rows = []
    for one in entries:
        # The URDF may call joints otherwise, but keeps their order.
        if len(one['positions']) != len(described):
            raise DataError(
                f'joint_states has {len(one["positions"])} joints, the model {len(described)}.'
            )
        rows.append(one['positions'])
    return times_s, np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def live_figures(received: Mapping[str, Any], times_s: np.ndarray) -> dict[str, Any]:
    """Return rates, delays and losses of what came over the topics."""
    states = received['states']
    moments = set(times_s.tolist())
    latencies = [
        one['latency_s']
        for one in received['tracked_joints']
        if one['stamp_ns'] / NANOSECONDS in moments
    ]
    scores = [one['score'] for one in states if one['score'] is not None]
    return {
        'images_tracked': len(times_s),
        'images_lost': sum(one['state'] == 'lost' for one in states),
        'tracking_rate_hz': float((len(times_s) - 1) / (times_s[-1] - times_s[0])),
        'tracking_latency_s': float(np.median(latencies)),
        'tracking_score': float(np.median(scores)) if scores else None,
        'repose_s': received['repose_s'],
        'description_s': received['description_s'],
    }


def _pictures(
    model: ArticulatedModel,
    recording: Multiview,
    received: Mapping[str, Any],
    times_s: np.ndarray,
    found_TD: np.ndarray,
    out: Path,
) -> list[TrackedPicture]:
    """Return some of the images that were tracked, each with the model in the pose found."""
    rig = recording.cameras[0]
    stamps = {stamp / NANOSECONDS: stamp for stamp in received['images']}
    stamps = [(row, stamps[time]) for row, time in enumerate(times_s) if time in stamps]
    chosen = np.unique(np.linspace(0, len(stamps) - 1, min(PICTURES, len(stamps))).astype(int))
    pictures = []
    for index in chosen:
        row, stamp = stamps[index]
        image = to_float_rgb(read_rgb(out / 'images' / f'{stamp}.png'))
        height, width = image.shape[:2]
        camera = rig.camera.resized(width, height)
        T_world_part = model.repose(found_TD[row], model.root_pose(model.frames[-1]))
        render = model.render(camera, rig.T_world_cam, T_world_part)
        pictures.append(
            TrackedPicture(times_s[row] - times_s[0], image, _outlined(image, render.parts_HW))
        )
    return pictures


def _outlined(image: np.ndarray, parts_HW: np.ndarray) -> np.ndarray:
    """Return an image with the outline of the model drawn in it."""
    covered = (parts_HW >= 0).astype(np.uint8)
    edge = cv2.dilate(covered, np.ones((3, 3), np.uint8)) != covered
    drawn = image.copy()
    drawn[edge] = (0.12, 0.44, 0.7)
    return drawn


def _facts(
    received: Mapping[str, Any], document: Mapping[str, Any], urdf: str
) -> list[tuple[str, str]]:
    used = document['machine']
    return [
        ('robot', urdf),
        ('recording', received['recording']),
        ('model', received['model']),
        ('what was learned', received['learned']),
        ('machine', f'{used["processor"]}, {used["cpus"]} CPUs, {used["gpu"] or "no GPU"}'),
        ('posefield', __version__),
    ]
