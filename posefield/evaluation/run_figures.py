"""The figures of one evaluation, as the tables compare them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from posefield.errors import DataError
from posefield.evaluation.basin import StartBin
from posefield.evaluation.metrics import FrameResult, summarise
from posefield.evaluation.published import (
    CAMBRIDGE,
    DEPTH_SLAM,
    SEVEN_SCENES,
    SFM,
    benchmark_scene,
)
from posefield.storage import read_json

METRICS_SCHEMA = 1
METRICS_KIND = 'relocalization_metrics'
DATASETS = {'7scenes': SEVEN_SCENES, 'cambridge': CAMBRIDGE}

# (translation, rotation_deg, relative) -> share of frames.
Recall = dict[tuple[float, float, bool], float]


@dataclass(frozen=True)
class Accuracy:
    """Errors over the frames of a run; None where too many frames have no pose.

    Attributes:
        translation: median, map units.
        rotation_deg: median, degrees.
        relative: median translation as a share of the depth.
        recall: shares of frames below thresholds.
    """

    translation: float | None
    rotation_deg: float | None
    relative: float | None
    recall: Recall

    @classmethod
    def from_summary(cls, summary: Mapping[str, Any]) -> 'Accuracy':
        """Return the accuracy in a summary of metrics.summarise, or in its `coarse` part."""
        return cls(
            summary['median_translation_error'],
            summary['median_rotation_error_deg'],
            summary['median_relative_translation_error'],
            {
                (row['translation'], row['rotation_deg'], row['relative']): row['share']
                for row in summary['recall']
            },
        )


@dataclass(frozen=True)
class SceneLabel:
    """Which scene and ground truth figures are of.

    Attributes:
        name: as in the tables.
        dataset: of the benchmark it belongs to; empty for any other scene.
        ground_truth: published.SFM or DEPTH_SLAM; empty where there is only one.
        benchmark: its name in the benchmark; None when it is not in one.
    """

    name: str
    dataset: str = ''
    ground_truth: str = ''
    benchmark: str | None = None


@dataclass(frozen=True)
class RunFigures:
    """What one run of a method on a scene gave.

    Attributes:
        scene: what it was run on.
        method: name of the column.
        units: `metres` or `arbitrary`, of translations.
        frames, without_pose: images, and those among them that got no pose.
        refined, coarse: of the pose returned, and of the hypothesis that was refined.
        seconds: of one image: median and p95.
        stages: stage -> median and p95 seconds, in the order in which they ran.
        by_start: what became of starts, by how far off they were; empty where not known.
        renders, max_renders: field renders of an image, mean and most.
        machine: what it was measured on.
        map_name: of the map folder; tells runs of the same method apart.
    """

    scene: SceneLabel
    method: str
    units: str
    frames: int
    without_pose: int
    refined: Accuracy
    coarse: Accuracy
    seconds: tuple[float | None, float | None]
    stages: Mapping[str, tuple[float | None, float | None]]
    renders: float | None
    max_renders: int | None
    machine: str = ''
    map_name: str = ''
    by_start: tuple[StartBin, ...] = ()

    @property
    def is_metric(self) -> bool:
        """Whether translations are in metres."""
        return self.units == 'metres'

    @property
    def frames_per_second(self) -> float | None:
        """Images a second at the median time."""
        return 1.0 / self.seconds[0] if self.seconds[0] else None

    @classmethod
    def from_results(
        cls, results: Sequence[FrameResult], *, scene: SceneLabel, method: str, units: str
    ) -> 'RunFigures':
        """Return the figures of at least one frame."""
        return cls.from_summary(summarise(results), scene=scene, method=method, units=units)

    @classmethod
    def from_summary(
        cls,
        summary: Mapping[str, Any],
        *,
        scene: SceneLabel,
        method: str,
        units: str,
        machine: str = '',
        map_name: str = '',
    ) -> 'RunFigures':
        """Return the figures of a summary of metrics.summarise."""
        return cls(
            scene=scene,
            method=method,
            units=units,
            frames=summary['frames'],
            without_pose=summary['frames_without_pose'],
            refined=Accuracy.from_summary(summary),
            coarse=Accuracy.from_summary(summary['coarse']),
            seconds=_times(summary['seconds_per_frame']),
            stages={
                stage: _times(times)
                for stage, times in summary.get('seconds_by_stage', {}).items()
            },
            renders=summary['renders_per_frame'],
            max_renders=summary['max_renders'],
            machine=machine,
            map_name=map_name,
            by_start=tuple(map(StartBin.from_dict, summary.get('by_start', ()))),
        )


def _times(seconds: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return seconds['median'], seconds['p95']


def read_run(path: Path, method: str | None = None) -> RunFigures:
    """Return the figures of a metrics.json.

    Args:
        path: of the file.
        method: name of the method; made from the options of the run when None.

    Raises:
        BundleError: when it is no metrics.json of this version.
        DataError: when it has no figures of accuracy, as of a drive without ground truth.
    """
    document = read_json(path, schema=METRICS_SCHEMA, kind=METRICS_KIND)
    options = document.get('options') or {}
    try:
        return RunFigures.from_summary(
            document,
            scene=_scene_label(document, options, path),
            method=method or method_name(options),
            units=document['units'],
            machine=_machine_name(document.get('machine') or {}),
            map_name=PurePath(options.get('map_folder', '')).name,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f'{path} has no complete figures of accuracy ({error!r}); tables need the metrics of '
            'images with ground truth.'
        ) from error


def read_runs(named_paths: Sequence[tuple[str | None, Path]]) -> list[RunFigures]:
    """Return the figures of several metrics.json, each with a method of its own on its scene.

    Args:
        named_paths: (name of the method or None, path) pairs.

    Raises:
        BundleError, DataError: as `read_run`, and when two runs cannot be told apart.
    """
    runs = [read_run(path, method) for method, path in named_paths]
    runs = [_told_apart(run, runs) for run in runs]
    seen: dict[tuple[SceneLabel, str], Path] = {}
    for run, (_, path) in zip(runs, named_paths, strict=True):
        key = (run.scene, run.method)
        if key in seen:
            raise DataError(
                f'{seen[key]} and {path} are both of {run.method!r} on {run.scene.name}; give one '
                f'another name, as in NAME={path}.'
            )
        seen[key] = path
    return runs


def _told_apart(run: RunFigures, runs: Sequence[RunFigures]) -> RunFigures:
    """Return the run with the map in its name where another map had the same method and scene."""
    maps = {
        other.map_name
        for other in runs
        if (other.scene, other.method) == (run.scene, run.method) and other.map_name
    }
    if len(maps) < 2:
        return run
    return replace(run, method=f'{run.method} ({run.map_name})')


def _scene_label(
    document: Mapping[str, Any], options: Mapping[str, Any], path: Path
) -> SceneLabel:
    about = document.get('scene') or {}
    folder = options.get('scene_folder') or options.get('bag') or ''
    name = about.get('name') or PurePath(folder).name
    dataset = DATASETS.get(about.get('format', ''), '')
    if not dataset:
        return SceneLabel(name or path.resolve().parent.name)
    source, split = about.get('source') or name, about.get('split')
    is_slam = dataset == SEVEN_SCENES and about.get('poses') == 'distributed'
    return SceneLabel(
        name=f'{source} ({split})' if split else source,
        dataset=dataset,
        ground_truth=DEPTH_SLAM if is_slam else SFM,
        benchmark=benchmark_scene(dataset, source),
    )


def method_name(options: Mapping[str, Any]) -> str:
    """Return what tells a method from others: what refined, from where, and on which images."""
    refiner, perturb = options.get('refiner'), options.get('perturb')
    parts = [] if perturb else ['tracker' if 'bag' in options else 'ladder']
    if refiner or perturb:
        parts.append(refiner or 'all refiners')
    if options.get('iterations') is not None:
        parts.append(f'{options["iterations"]} iterations')
    if options.get('rates') is not None:
        parts.append(f'rates {options["rates"]}')
    if options.get('without'):
        parts.append('without ' + ', '.join(options['without']))
    if perturb:
        share, degrees = perturb
        parts.append(f'from {100 * share:g} %, {degrees:g}°')
    if options.get('sequence'):
        parts.append('tracking')
    if options.get('degradation'):
        parts.append(options['degradation'])
    return ', '.join(parts)


def _machine_name(machine: Mapping[str, Any]) -> str:
    if not machine:
        return ''
    return f'{machine["processor"]}, {machine["cpus"]} CPUs, {machine["gpu"] or "no GPU"}'
