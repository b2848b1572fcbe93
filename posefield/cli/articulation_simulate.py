"""posefield articulation simulate: film a simulated robot."""

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    urdf: Annotated[
        str,
        typer.Argument(
            help='File, or a name that comes with PyBullet, such as kuka_iiwa/model.urdf.'
        ),
    ],
    out: Annotated[Path, typer.Option('--out', help='Folder of the recording to write.')],
    views: Annotated[int, typer.Option('--views', min=2, help='Cameras to learn from.')] = 20,
    held_out_views: Annotated[
        int, typer.Option('--held-out-views', min=0, help='Cameras for tests only, on top.')
    ] = 3,
    frames: Annotated[int, typer.Option('--frames', min=2, help='Moments, all together.')] = 1000,
    held_out_frames: Annotated[
        float,
        typer.Option(
            '--held-out-frames',
            min=0.0,
            max=0.99,
            help='Share of the frames, the last ones, for tests only.',
        ),
    ] = 0.2,
    size: Annotated[
        int, typer.Option('--size', min=16, help='Width and height of the images in pixels.')
    ] = 512,
    rate: Annotated[float, typer.Option('--rate', help='Frames per second.')] = 15.0,
    max_joint_speed: Annotated[
        float, typer.Option('--max-joint-speed', help='Radians per second.')
    ] = 1.0,
    seed: Annotated[int, typer.Option('--seed', min=0, help='Of motion and cameras.')] = 0,
    processes: Annotated[
        int | None,
        typer.Option('--processes', min=1, help='How many draw at once; default one per core.'),
    ] = None,
    quiet: Annotated[bool, typer.Option('--quiet', help='No progress bar.')] = False,
) -> None:
    """Move a robot to random joint goals before many cameras, and keep the truth about it.

    Beside images and masks the folder has truth.json (joints, axes, poses of all links) and the
    links that every image shows (segmentation/).
    """
    from posefield.data.simulate_articulation import simulate_articulation
    from posefield.learning.interrupt import stop_on_interrupt
    from posefield.learning.progress import make_progress

    with stop_on_interrupt() as stop:
        recording = simulate_articulation(
            urdf,
            out,
            views=views,
            held_out_views=held_out_views,
            frames=frames,
            held_out_frames=held_out_frames,
            size=size,
            rate_hz=rate,
            max_joint_speed=max_joint_speed,
            seed=seed,
            processes=processes,
            progress=make_progress(quiet),
            stop=stop,
        )
    typer.echo(
        f'{out}: {recording.num_frames} frames ({len(recording.held_out_frames)} held out) by '
        f'{len(recording.cameras)} cameras ({len(recording.held_out_views)} held out)'
    )
