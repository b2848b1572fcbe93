"""posefield bag: evaluate recorded drives."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help='Evaluate recorded drives.', no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `evaluate` a subcommand although it is the only one so far."""


@app.command()
def evaluate(
    bag: Annotated[Path, typer.Argument(help='rosbag2 folder, .mcap, .db3 or ROS 1 .bag.')],
    map_folder: Annotated[Path, typer.Option('--map', help='Map folder.')],
    image_topic: Annotated[str, typer.Option('--image', help='Image topic, raw or compressed.')],
    camera_info_topic: Annotated[
        str | None,
        typer.Option('--camera-info', help='Default: camera_info beside the image topic.'),
    ] = None,
    ground_truth: Annotated[
        str | None,
        typer.Option(
            '--ground-truth',
            help='Camera poses in the map: TF, a topic, or a TUM file. Default: none.',
        ),
    ] = None,
    map_frame: Annotated[str, typer.Option('--map-frame', help='TF frame of the map.')] = 'map',
    odom_frame: Annotated[
        str, typer.Option('--odom-frame', help='TF frame of odometry, used where it is there.')
    ] = 'odom',
    base_frame: Annotated[
        str, typer.Option('--base-frame', help='TF frame of the robot.')
    ] = 'base_link',
    rectified: Annotated[
        bool, typer.Option('--rectified', help='The images are rectified: P of camera_info holds.')
    ] = False,
    every: Annotated[int, typer.Option('--every', min=1, help='Take every N-th image.')] = 1,
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the figures (docs/metrics.md).')
    ] = None,
    report: Annotated[
        Path | None, typer.Option('--report', help='Write metrics.json, poses.tum, report.html.')
    ] = None,
    device: Annotated[str, typer.Option('--device', help='auto, cpu or cuda.')] = 'auto',
    quiet: Annotated[bool, typer.Option('--quiet', help='No progress bar.')] = False,
) -> None:
    """Replay a bag through the tracker of the relocalizer node, offline and image by image.

    Every image is processed with odometry at its own stamp, so that the result does not depend
    on the speed of the machine.
    """
    from posefield.cli.bag_run import BagRequest, run_bag_evaluation

    request = BagRequest(
        bag=bag,
        map_folder=map_folder,
        image_topic=image_topic,
        camera_info_topic=camera_info_topic,
        ground_truth=ground_truth,
        map_frame=map_frame,
        odom_frame=odom_frame,
        base_frame=base_frame,
        rectified=rectified,
        every=every,
        device=device,
        quiet=quiet,
    )
    run_bag_evaluation(request, json_file, report)
