"""Running `map evaluate` and writing what it found."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
import platform
from typing import Any

import numpy as np
import typer

from posefield import __version__
from posefield.cli.refiner_options import with_refiner
from posefield.data.scene import Frame, Scene
from posefield.errors import DataError
from posefield.evaluation.degradations import degradation
from posefield.evaluation.evaluate_map import (
    EvaluationSettings,
    Perturbation,
    evaluate_map,
    query_image,
    view_at,
)
from posefield.evaluation.metrics import FrameResult, summarise
from posefield.evaluation.relocalization_report import (
    RelocalizationReport,
    ReportView,
    angle,
    chosen_frames,
    length,
    percent,
    write_report,
)
from posefield.evaluation.trajectories import write_tum
from posefield.fields.scene_transform import scene_scale
from posefield.geometry.trajectory import Trajectory
from posefield.learning.progress import make_progress
from posefield.relocalization.localizer import Localizer, LocalizerConfig
from posefield.storage import write_json

REPORT_SHORT_SIDE = 180


@dataclass(frozen=True)
class EvaluationRequest:
    """The options of `map evaluate`; perturb is (share of the scene scale, degrees) or None."""

    map_folder: Path
    scene_folder: Path
    split: str
    perturb: tuple[float, float] | None
    starts: int
    refiner: str | None
    iterations: int | None
    rates: str | None
    without: tuple[str, ...]
    degradation: str | None
    sequence: bool
    seed: int
    device: str
    quiet: bool


def run_evaluation(
    request: EvaluationRequest, json_file: Path | None, report_folder: Path | None
) -> None:
    """Evaluate, print a table, write the files asked for."""
    if request.degradation is not None:
        degradation(request.degradation)
    scene = Scene.load(request.scene_folder)
    frames = [frame for frame in scene.split(request.split) if frame.T_map_cam is not None]
    if not frames:
        raise DataError(
            f'The split {request.split} of {request.scene_folder} has no image with a pose.'
        )
    localizer = Localizer.load(
        request.map_folder, request.device, lambda own: localizer_config(own, request)
    )
    settings = evaluation_settings(request, scene)
    results = evaluate_map(localizer, frames, settings, make_progress(request.quiet))
    summary = summarise(results)
    document = metrics_document(summary, localizer.info, scene, request)
    if json_file is not None:
        write_json(json_file, document)
    if report_folder is not None:
        views = report_views(localizer, frames, settings, results)
        write_results(
            report_folder,
            document,
            results,
            _report(request, scene, localizer.info, results, summary, views),
        )
    print_summary(summary, scene.units)
    if report_folder is not None:
        typer.echo(f'report: {report_folder / "report.html"}')


def localizer_config(own: LocalizerConfig, request: EvaluationRequest) -> LocalizerConfig:
    """Return a map's own configuration with the rungs and refiners that were asked for."""
    config = with_refiner(own, request.refiner, request.iterations, request.rates)
    for rung in request.without:
        config = config.without(rung)
    return config


def evaluation_settings(request: EvaluationRequest, scene: Scene) -> EvaluationSettings:
    """Return the settings, with the perturbation in map units."""
    perturbation = None
    if request.perturb is not None:
        share, rotation_deg = request.perturb
        poses = [f.T_map_cam for f in scene.split('train') if f.T_map_cam is not None]
        distance = share * scene_scale(np.stack(poses))
        perturbation = Perturbation(distance, rotation_deg, request.starts)
    return EvaluationSettings(perturbation, request.degradation, request.sequence, request.seed)


def metrics_document(
    summary: dict, info: Mapping[str, Any], scene: Scene, request: EvaluationRequest
) -> dict:
    """Return the figures together with how they were obtained."""
    options = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in asdict(request).items()
    }
    return {
        'schema': 1,
        'kind': 'relocalization_metrics',
        'posefield_version': __version__,
        **summary,
        'units': info['units'],
        'scene': {**scene.provenance, 'name': request.scene_folder.resolve().name},
        'options': options,
        'machine': machine(),
    }


def machine() -> dict:
    """Return what the figures were measured on."""
    import os

    import torch

    return {
        'platform': platform.platform(),
        'processor': platform.processor() or platform.machine(),
        'cpus': len(os.sched_getaffinity(0))
        if hasattr(os, 'sched_getaffinity')
        else os.cpu_count(),
        'gpu': torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        'python': platform.python_version(),
        'torch': torch.__version__,
    }


def report_views(
    localizer: Localizer,
    frames: Sequence[Frame],
    settings: EvaluationSettings,
    results: Sequence[FrameResult],
) -> list[ReportView]:
    """Return query and render of the best, median and worst frames."""
    index_of = {frame.name: index for index, frame in enumerate(frames)}
    views = []
    for label, result in chosen_frames(results):
        index = index_of[result.name]
        image, camera = query_image(frames[index], index, settings)
        query, render = view_at(
            localizer, image, camera, result.localization.T_map_cam, REPORT_SHORT_SIDE
        )
        views.append(ReportView(label, result, query, render))
    return views


def write_results(
    folder: Path, document: dict, results: Sequence[FrameResult], report: RelocalizationReport
) -> None:
    """Write metrics.json, poses.tum and report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / 'metrics.json', document)
    write_tum(
        folder / 'poses.tum',
        estimated_trajectory(results),
        'accepted camera poses in the map (T_map_cam); stamps are frame numbers where the '
        'images have none',
    )
    write_report(folder / 'report.html', report)


def estimated_trajectory(results: Sequence[FrameResult]) -> Trajectory:
    """Return the accepted poses over the images' stamps, or over frame numbers without them."""
    stamped = all(result.stamp_s is not None for result in results)
    return Trajectory.from_pairs(
        (result.stamp_s if stamped else float(index), np.asarray(result.localization.T_map_cam))
        for index, result in enumerate(results)
        if result.accepted
    )


def _report(
    request: EvaluationRequest,
    scene: Scene,
    info: dict,
    results: Sequence[FrameResult],
    summary: dict,
    views: Sequence[ReportView],
) -> RelocalizationReport:
    start = (
        'no prior'
        if request.perturb is None
        else (f'starts {request.perturb[0]:g} of the scene scale and {request.perturb[1]:g}° off')
    )
    if request.sequence:
        start = 'the pose before as prior'
    spoiled = f', spoiled by {request.degradation}' if request.degradation else ''
    used = machine()
    return RelocalizationReport(
        title=f'Relocalization in {request.scene_folder.name}',
        lead=f'{summary["frames"]} images of the {request.split} split{spoiled}, {start}.',
        units=scene.units,
        results=results,
        summary=summary,
        views=views,
        facts=[
            ('map', str(request.map_folder)),
            ('scene', f'{request.scene_folder} ({len(scene.split("train"))} images to learn)'),
            ('refiner', _described_refiner(request)),
            ('left out', ', '.join(request.without) or 'nothing'),
            ('machine', f'{used["processor"]}, {used["cpus"]} CPUs, {used["gpu"] or "no GPU"}'),
            ('posefield', __version__),
        ],
    )


def _described_refiner(request: EvaluationRequest) -> str:
    settings = []
    if request.iterations is not None:
        settings.append(f'{request.iterations} iterations')
    if request.rates is not None:
        settings.append(f'rates {request.rates}')
    return ', '.join([request.refiner or 'of the map', *settings])


def print_summary(summary: dict, units: str) -> None:
    """Print the figures that matter most."""
    seconds = summary['seconds_per_frame']
    rows = [
        ('frames', f'{summary["frames"]} ({summary["frames_without_pose"]} without a pose)'),
        (
            'median error',
            f'{length(summary["median_translation_error"], units)}, '
            f'{percent(summary["median_relative_translation_error"], 2)} of depth, '
            f'{angle(summary["median_rotation_error_deg"])}',
        ),
        (
            '75 % below',
            f'{length(summary["p75_translation_error"], units)}, '
            f'{percent(summary["p75_relative_translation_error"], 2)} of depth, '
            f'{angle(summary["p75_rotation_error_deg"])}',
        ),
    ]
    for row in summary['recall']:
        if not row['relative'] and units != 'metres':
            continue
        distance = (
            f'{100 * row["translation"]:g} % of depth'
            if row['relative']
            else f'{row["translation"]:g} m'
        )
        rows.append((f'within {distance}, {row["rotation_deg"]:g}°', percent(row['share'], 1)))
    rows += [
        ('accepted', percent(summary['accepted_share'], 1)),
        ('accepted but wrong', percent(summary['false_accept_share'], 1)),
        ('seconds per image', f'{seconds["median"]:.2f} median, {seconds["p95"]:.2f} for 95 %'),
        ('renders per image', _figure(summary['renders_per_frame'])),
        ('ANEES', _figure(summary['anees'])),
        ('PSNR', f'{_figure(summary["psnr"])} dB'),
    ]
    for name, value in rows:
        typer.echo(f'{name:<28} {value}')


def _figure(value: float | None) -> str:
    return '-' if value is None else f'{value:.3g}'
