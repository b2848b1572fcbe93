"""Running `bag evaluate` and writing what it found."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rosbags.highlevel import AnyReader
import typer

from posefield import __version__
from posefield.cli.evaluation import REPORT_SHORT_SIDE, machine, print_summary
from posefield.data.bag_reader import (
    TransformTree,
    camera_at,
    camera_trajectory,
    cameras_by_stamp,
    frame_of,
    info_topic_beside,
    message_count,
    messages,
    open_bag,
    picture,
    stamp_seconds,
)
from posefield.errors import DataError
from posefield.evaluation.evaluate_bag import Replay, ReplayImage, replay, replay_figures
from posefield.evaluation.evaluate_map import view_at
from posefield.evaluation.relocalization_report import (
    RelocalizationReport,
    ReportView,
    chosen_frames,
    write_report,
)
from posefield.evaluation.trajectories import read_tum, write_tum
from posefield.geometry.trajectory import Trajectory
from posefield.learning.progress import make_progress
from posefield.relocalization.localizer import Localizer
from posefield.relocalization.tracker import TrackerConfig
from posefield.storage import write_json

# Odometry comes at 10 Hz or more; a longer gap is a pause of which nothing is known.
ODOMETRY_GAP_S = 0.25
TF_TRUTH = 'TF'


@dataclass(frozen=True)
class BagRequest:
    """The options of `bag evaluate`."""

    bag: Path
    map_folder: Path
    image_topic: str
    camera_info_topic: str | None
    ground_truth: str | None
    map_frame: str
    odom_frame: str
    base_frame: str
    rectified: bool
    every: int
    device: str
    quiet: bool

    @property
    def info_topic(self) -> str:
        """The camera_info topic: as named, or beside the image topic."""
        return self.camera_info_topic or info_topic_beside(self.image_topic)


def run_bag_evaluation(
    request: BagRequest, json_file: Path | None, report_folder: Path | None
) -> None:
    """Replay, print a table, write the files asked for."""
    with open_bag(request.bag) as reader:
        frame_id, stamps = image_stamps(reader, request)
        tree = TransformTree(reader)
        truth = ground_truth(reader, tree, request, frame_id, stamps)
        localizer = Localizer.load(request.map_folder, request.device)
        outcome = replay(
            localizer,
            replay_images(reader, tree, request),
            len(stamps),
            truth,
            TrackerConfig(),
            make_progress(request.quiet),
        )
        figures = replay_figures(outcome, truth)
        views = report_views(localizer, reader, tree, request, outcome)
    document = {
        'schema': 1,
        'kind': 'relocalization_metrics',
        'posefield_version': __version__,
        **figures,
        'units': localizer.info['units'],
        'options': {k: str(v) for k, v in asdict(request).items() if v is not None},
        'machine': machine(),
    }
    if json_file is not None:
        write_json(json_file, document)
    if report_folder is not None:
        _write_report_folder(report_folder, request, document, outcome, views)
    _print(document, outcome, report_folder)


def image_stamps(reader: AnyReader, request: BagRequest) -> tuple[str, list[float]]:
    """Return the frame of the camera and the stamps of the images to replay.

    Raises:
        DataError: when there is no image.
    """
    frame_id, stamps = '', []
    for index, message in enumerate(messages(reader, request.image_topic)):
        if index % request.every == 0:
            frame_id = frame_of(message)
            stamps.append(stamp_seconds(message))
    if not stamps:
        raise DataError(f'The topic {request.image_topic} of {request.bag} has no image.')
    return frame_id, stamps


def ground_truth(
    reader: AnyReader,
    tree: TransformTree,
    request: BagRequest,
    frame_id: str,
    stamps: list[float],
) -> Trajectory | None:
    """Return the camera poses named by --ground-truth: TF, a topic, or a TUM file.

    Raises:
        DataError: when there is no such topic or file, or TF never has the transform.
    """
    if request.ground_truth is None:
        return None
    if request.ground_truth == TF_TRUTH:
        truth = tree.trajectory(request.map_frame, frame_id, stamps)
        if not len(truth):
            raise DataError(
                f'TF in {request.bag} never has {request.map_frame} -> {frame_id} at the stamp '
                'of an image.'
            )
        return truth
    if message_count(reader, request.ground_truth):
        return camera_trajectory(reader, tree, request.ground_truth, frame_id)
    if Path(request.ground_truth).is_file():
        return read_tum(Path(request.ground_truth))
    raise DataError(
        f'--ground-truth {request.ground_truth} is neither TF, nor a topic of {request.bag}, '
        'nor a file.'
    )


def replay_images(
    reader: AnyReader, tree: TransformTree, request: BagRequest
) -> Iterator[ReplayImage]:
    """Yield the images to replay, with odometry and extrinsics where TF has both."""
    cameras = cameras_by_stamp(reader, request.info_topic, rectified=request.rectified)
    for index, message in enumerate(messages(reader, request.image_topic)):
        if index % request.every:
            continue
        stamp_s = stamp_seconds(message)
        frame_id = frame_of(message)
        T_base_cam = tree.lookup(request.base_frame, frame_id, stamp_s, ODOMETRY_GAP_S)
        T_odom_base = tree.lookup(request.odom_frame, request.base_frame, stamp_s, ODOMETRY_GAP_S)
        yield ReplayImage(
            stamp_s=stamp_s,
            image=picture(message),
            camera=camera_at(cameras, stamp_s),
            T_odom_base=T_odom_base if T_base_cam is not None else None,
            T_base_cam=T_base_cam,
        )


def report_views(
    localizer: Localizer,
    reader: AnyReader,
    tree: TransformTree,
    request: BagRequest,
    outcome: Replay,
) -> list[ReportView]:
    """Return query and render of the best, median and worst frames, read from the bag again."""
    chosen = chosen_frames(outcome.results)
    wanted = {result.stamp_s for _, result in chosen}
    images = {
        image.stamp_s: image
        for image in replay_images(reader, tree, request)
        if image.stamp_s in wanted
    }
    views = []
    for label, result in chosen:
        image = images[result.stamp_s]
        query, render = view_at(
            localizer,
            image.image,
            image.camera,
            result.localization.T_map_cam,
            REPORT_SHORT_SIDE,
        )
        views.append(ReportView(label, result, query, render))
    return views


def _write_report_folder(
    folder: Path,
    request: BagRequest,
    document: dict,
    outcome: Replay,
    views: list[ReportView],
) -> None:
    """Write metrics.json, poses.tum and, where there is ground truth, report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / 'metrics.json', document)
    write_tum(
        folder / 'poses.tum', outcome.published, 'published camera poses in the map (T_map_cam)'
    )
    if not outcome.results:
        return
    used = document['machine']
    report = RelocalizationReport(
        title=f'Relocalization of {request.bag.name}',
        lead=f'{document["frames"]} images with ground truth, replayed offline through the '
        'tracker of the node. Accepted means published.',
        units=document['units'],
        results=outcome.results,
        summary=document,
        views=views,
        facts=[
            ('bag', str(request.bag)),
            ('images', request.image_topic),
            ('ground truth', str(request.ground_truth)),
            ('map', str(request.map_folder)),
            ('machine', f'{used["processor"]}, {used["cpus"]} CPUs, {used["gpu"] or "no GPU"}'),
            ('posefield', __version__),
        ],
    )
    write_report(folder / 'report.html', report)


def _print(document: dict, outcome: Replay, report_folder: Path | None) -> None:
    typer.echo(f'{"images":<28} {document["images"]}')
    typer.echo(f'{"published":<28} {100 * document["published_share"]:.1f} %')
    if outcome.results:
        print_summary(document, document['units'])
    if report_folder is not None:
        name = 'report.html' if outcome.results else 'poses.tum'
        typer.echo(f'report: {report_folder / name}')
