"""Running `articulation evaluate` and writing what it found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from posefield import __version__
from posefield.articulation.articulated_model import ArticulatedModel
from posefield.cli.evaluation import machine
from posefield.data.articulation_truth import ArticulationTruth
from posefield.data.multiview import Multiview
from posefield.evaluation.articulation_baselines import STATIC, static_figures
from posefield.evaluation.articulation_pictures import encode_gif, part_palette
from posefield.evaluation.articulation_report import (
    ArticulationReport,
    duration,
    number,
    percent,
    write_report,
)
from posefield.evaluation.articulation_report_rows import (
    bone_pictures,
    merge_rows,
    photo_rows,
    stills_of,
    training_rows,
    turn_table,
)
from posefield.evaluation.evaluate_articulation import (
    ArticulationEvaluation,
    EvaluatedModel,
    HeldOutPoses,
    evaluate_model,
    load_truth,
    poses_from_truth,
    show_driven,
    show_learned,
)
from posefield.evaluation.image_metrics import Lpips, lpips_metric
from posefield.evaluation.poses_from_images import poses_from_images
from posefield.evaluation.smpl_baseline import (
    KUNDU,
    SmplMeshes,
    kundu_figures,
    poses_from_smpl,
    read_smpl,
    smpl_joint_errors,
)
from posefield.evaluation.template_baseline import SCHMIDTKE, learn_template, template_figures
from posefield.learning.devices import select_device
from posefield.learning.interrupt import stop_on_interrupt
from posefield.learning.progress import Progress, make_progress
from posefield.storage import atomic_write_bytes, write_json

METRICS_SCHEMA = 1
METRICS_KIND = 'articulation_metrics'


@dataclass(frozen=True)
class EvaluationRequest:
    """The options of `articulation evaluate`."""

    model: Path
    data: Path
    frames: int
    template_minutes: float | None
    smpl: Path | None
    seed: int
    device: str
    quiet: bool


def run_evaluation(
    request: EvaluationRequest, json_file: Path | None, report_folder: Path | None
) -> None:
    """Evaluate, print a table, write the files asked for."""
    multiview = Multiview.load(request.data)
    truth = load_truth(multiview)
    model = ArticulatedModel.load(request.model, request.device)
    progress = make_progress(request.quiet)
    lpips = lpips_metric()
    meshes = read_smpl(request.smpl, multiview.num_frames) if request.smpl else None
    held_out = held_out_poses(model, multiview, truth, meshes)
    evaluation = evaluate_model(
        model, multiview, truth, held_out, progress, per_camera=request.frames, lpips=lpips
    )
    others = compared(request, model, multiview, truth, meshes, evaluation, lpips)
    summary = {**evaluation.summary, 'methods': others}
    summary['smpl'] = None if meshes is None else smpl_joint_errors(model, meshes)
    document = metrics_document(summary, multiview, request)
    if json_file is not None:
        write_json(json_file, document)
    if report_folder is not None:
        write_files(report_folder, document, request, model, multiview, evaluation, progress)
    print_summary(document)
    if report_folder is not None:
        typer.echo(f'report: {report_folder / "report.html"}')


def held_out_poses(
    model: ArticulatedModel,
    multiview: Multiview,
    truth: ArticulationTruth | None,
    meshes: SmplMeshes | None,
) -> HeldOutPoses:
    """Return where the poses of held-out frames come from: truth, or else bodies, or images."""
    if truth is not None:
        return poses_from_truth(model, truth)
    if meshes is not None:
        return poses_from_smpl(model, meshes)
    return poses_from_images(model, model.motion.colours_P3, multiview)


def compared(
    request: EvaluationRequest,
    model: ArticulatedModel,
    multiview: Multiview,
    truth: ArticulationTruth | None,
    meshes: SmplMeshes | None,
    evaluation: ArticulationEvaluation,
    lpips: Lpips | None,
) -> dict[str, dict[str, Any]]:
    """Return the figures of the methods that the model is compared with."""
    photos, summary = evaluation.photos, evaluation.summary
    others = {STATIC: static_figures(model, multiview, photos, summary, lpips)}
    if request.template_minutes is not None:
        progress = make_progress(request.quiet)
        try:
            with stop_on_interrupt() as stop:
                template = learn_template(
                    multiview,
                    seed=request.seed,
                    device=select_device(request.device),
                    seconds=60.0 * request.template_minutes,
                    progress=progress,
                    stop=stop,
                )
        finally:
            progress.close()
        others[SCHMIDTKE] = template_figures(template, multiview, truth, photos, lpips)
    if meshes is not None:
        others[KUNDU] = kundu_figures(multiview, meshes, photos, lpips)
    return others


def metrics_document(
    summary: Mapping[str, Any], multiview: Multiview, request: EvaluationRequest
) -> dict[str, Any]:
    """Return the figures together with how they were obtained."""
    options = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in asdict(request).items()
    }
    return {
        'schema': METRICS_SCHEMA,
        'kind': METRICS_KIND,
        'posefield_version': __version__,
        **summary,
        'units': multiview.units,
        'data': {**multiview.provenance, 'name': request.data.resolve().name},
        'options': options,
        'machine': machine(),
    }


def write_files(
    folder: Path,
    document: Mapping[str, Any],
    request: EvaluationRequest,
    model: ArticulatedModel,
    multiview: Multiview,
    evaluation: ArticulationEvaluation,
    progress: Progress,
) -> None:
    """Write metrics.json, reposing.gif and report.html."""
    stage = 'report'
    progress.start(stage, True)
    try:
        images = turn_table(
            model, multiview.cameras, lambda share: progress.update(stage, share, {}, None)
        )
    finally:
        progress.close()
    gif = encode_gif(images)
    palette = part_palette(model.structure, len(model.radii_P3))
    learned, driven = show_learned(model), show_driven(model, evaluation.driven)
    views = photo_rows(multiview, learned, palette, evaluation.views)
    report = ArticulationReport(
        title=f'Articulated model of {request.data.resolve().name}',
        lead=_lead(document, multiview, len(model.frames)),
        summary=document,
        skeleton=model.structure,
        views=views or training_rows(model, multiview, learned),
        poses=photo_rows(multiview, driven, palette, evaluation.poses),
        bones=bone_pictures(model, multiview),
        turn_table=gif,
        stills=stills_of(images),
        levels=merge_rows(model.found.report),
        facts=_facts(document, request, model),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / 'metrics.json', dict(document))
    atomic_write_bytes(folder / 'reposing.gif', gif)
    write_report(folder / 'report.html', report)


def _lead(document: Mapping[str, Any], multiview: Multiview, learned: int) -> str:
    return (
        f'{document["parts"]} parts, learned from {len(multiview.training_views)} cameras and '
        f'{learned} moments; {len(multiview.held_out_views)} cameras and '
        f'{len(multiview.held_out_frames)} moments were held out.'
    )


def _facts(
    document: Mapping[str, Any], request: EvaluationRequest, model: EvaluatedModel
) -> list[tuple[str, str]]:
    used = document['machine']
    poses = document['held_out_poses'] or {}
    return [
        ('model', str(request.model)),
        ('recording', str(request.data)),
        ('preset', str(model.info.get('preset', '–'))),
        ('time to learn', duration(document['seconds_to_learn'])),
        ('held-out poses from', poses.get('poses_from') or 'nothing'),
        ('LPIPS', 'measured' if _has_lpips(document) else 'not installed'),
        ('machine', f'{used["processor"]}, {used["cpus"]} CPUs, {used["gpu"] or "no GPU"}'),
        ('posefield', __version__),
    ]


def _has_lpips(document: Mapping[str, Any]) -> bool:
    return any(
        (document[key] or {}).get('lpips') is not None
        for key in ('held_out_views', 'held_out_poses')
    )


def print_summary(document: Mapping[str, Any]) -> None:
    """Print the figures that matter most."""
    rows = [('parts', str(document['parts']))]
    if document['joint_error'] is not None:
        rows += [
            (
                'joint error',
                f'{number(document["joint_error"])} scene radii '
                f'({number(document["joint_error_static"])} if it stood still)',
            ),
            ('A.10 error', f'{number(document["a10_joint_error"])} scene radii'),
            (
                'joints found',
                f'{document["joints_identified"]} of {document["joints_moved"]} that moved, '
                f'{percent(document["joint_type_accuracy"])} of the right kind',
            ),
            (
                'axis error',
                f'{number(document["axis_error_deg"], 1)} deg mean, '
                f'{number(document["max_axis_error_deg"], 1)} deg at most',
            ),
            ('tree agreement', percent(document['tree_agreement'])),
            ('overlap of links', number(document['part_iou'], 2)),
        ]
    for name, figures in {'held-out': document, **document['methods']}.items():
        for key, what in (('held_out_views', 'cameras'), ('held_out_poses', 'poses')):
            if figures.get(key) is not None:
                rows.append((f'{name} {what}', _images(figures[key])))
    rows.append(('time to learn', duration(document['seconds_to_learn'])))
    for name, value in rows:
        typer.echo(f'{name:<28} {value}')


def _images(images: Mapping[str, Any]) -> str:
    lpips = '' if images['lpips'] is None else f', LPIPS {images["lpips"]:.3f}'
    return (
        f'{number(images["psnr"], 2)} dB, SSIM {number(images["ssim"])}{lpips}, '
        f'mask overlap {number(images["mask_iou"])}'
    )
