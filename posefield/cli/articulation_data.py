"""posefield articulation import and info: recordings by several cameras."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from posefield.data.multiview import Multiview


class RecordingFormat(str, Enum):
    """What `articulation import` reads."""

    WIM_ROBOTS = 'wim-robots'
    WIM_PICKLE = 'wim-pickle'
    BAG = 'bag'
    VIDEOS = 'videos'
    MULTIVIEW = 'multiview'


class Method(str, Enum):
    """How the background of cameras is found."""

    VIDEO = 'video'
    MEDIAN = 'median'


class BackgroundColour(str, Enum):
    """What pixels outside the object become."""

    WHITE = 'white'
    BLACK = 'black'


def import_command(
    source: Annotated[Path, typer.Argument(help='Folder, pickle or bag.')],
    recording_format: Annotated[
        RecordingFormat, typer.Option('--format', help='Format of the source.')
    ],
    out: Annotated[Path, typer.Option('--out', help='Folder of the recording to write.')],
    cameras: Annotated[
        str | None,
        typer.Option('--cameras', help='Names with commas in between. Default: all.'),
    ] = None,
    held_out_cameras: Annotated[
        str | None,
        typer.Option('--held-out-cameras', help='Names of cameras that are for tests only.'),
    ] = None,
    frames: Annotated[
        int | None, typer.Option('--frames', min=2, help='Take the first N. Default: all.')
    ] = None,
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
        int | None,
        typer.Option(
            '--size',
            min=8,
            help='Pixels of the longer side of images. Default: as they are; 256 for videos and '
            'bags.',
        ),
    ] = None,
    rate: Annotated[
        float,
        typer.Option('--rate', min=0.01, help='wim-*: frames a second, which the files lack.'),
    ] = 15.0,
    background: Annotated[
        BackgroundColour | None,
        typer.Option(
            '--background',
            help='What pixels outside the object become. Default: white for wim-robots, as it was '
            'for multiview, else black.',
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            '--calibration',
            help='videos: .qca.txt of Qualisys, .yml of OpenCV, or a folder with intri.yml and '
            'extri.yml. Default: the one beside the videos.',
        ),
    ] = None,
    every: Annotated[
        int, typer.Option('--every', min=1, help='videos: take every N-th frame.')
    ] = 1,
    background_images: Annotated[
        Path | None,
        typer.Option(
            '--background-image',
            help='videos: folder with a picture of the empty scene for each camera, by its name.',
        ),
    ] = None,
    method: Annotated[
        Method,
        typer.Option(
            '--background-from',
            help='videos, bags without masks: how the background is found where no picture of it '
            'is given.',
        ),
    ] = Method.VIDEO,
    crop: Annotated[
        bool,
        typer.Option(help='videos, bags without masks: cut images to where the object is.'),
    ] = True,
    world_frame: Annotated[
        str, typer.Option('--world-frame', help='bag: TF frame in which the cameras stand.')
    ] = 'world',
    max_skew: Annotated[
        float,
        typer.Option('--max-skew', help='bag: seconds between images of one moment at most.'),
    ] = 0.01,
    rectified: Annotated[
        bool, typer.Option('--rectified', help='bag: the images are rectified (P holds).')
    ] = False,
    quiet: Annotated[bool, typer.Option('--quiet', help='No progress bar.')] = False,
) -> None:
    """Import what several cameras that stand still saw of one moving thing."""
    from posefield.cli.articulation_importing import RecordingOptions, import_recording
    from posefield.data.recording import Selection

    selection = Selection(
        cameras=_names(cameras),
        held_out_cameras=_names(held_out_cameras),
        frames=frames,
        held_out_frames=held_out_frames,
        size=size,
        background=background.value if background else None,
    )
    options = RecordingOptions(
        rate_hz=rate,
        calibration=calibration,
        every=every,
        background_images=background_images,
        method=method.value,
        crop=crop,
        world_frame=world_frame,
        max_skew_s=max_skew,
        rectified=rectified,
    )
    recording = import_recording(source, recording_format.value, out, selection, options, quiet)
    typer.echo(f'{out}: {describe_recording(recording)}')


def info(
    recording: Annotated[Path, typer.Argument(help='Folder of the recording.')],
    check: Annotated[bool, typer.Option('--check', help='Open every image and mask.')] = False,
) -> None:
    """Say what is in a recording and how large its object is; fails when it cannot be used."""
    from posefield.data.multiview import Multiview
    from posefield.data.visual_hull import normalise

    loaded = Multiview.load(recording)
    if check:
        for view in range(len(loaded.cameras)):
            for frame in range(loaded.num_frames):
                loaded.read_image(view, frame)
                loaded.read_mask(view, frame)
    typer.echo(f'{recording}: {describe_recording(loaded)}')
    seconds = loaded.stamps_s[-1] - loaded.stamps_s[0]
    typer.echo(f'duration       {seconds:.2f} s')
    typer.echo(f'units          {loaded.units}')
    typer.echo(f'background     {loaded.background}')
    for view, rig in enumerate(loaded.cameras):
        camera = rig.camera
        covered, unknown = _shares(loaded, view)
        use = 'held out' if rig.held_out else 'to learn from'
        typer.echo(
            f'camera         {rig.name}: {camera.width}x{camera.height}, fx {camera.fx:.2f}, '
            f'object {covered:.1%}, unreliable {unknown:.1%}, {use}'
        )
    normalisation = normalise(loaded)
    x, y, z = normalisation.centre_3
    typer.echo(f'object centre  {x:.3f} {y:.3f} {z:.3f}')
    typer.echo(f'object radius  {1 / normalisation.scale:.3f} (of all it sweeps)')


def describe_recording(recording: 'Multiview') -> str:
    """Return `75 frames (15 held out) by 7 cameras (2 held out)`."""
    return (
        f'{recording.num_frames} frames ({len(recording.held_out_frames)} held out) by '
        f'{len(recording.cameras)} cameras ({len(recording.held_out_views)} held out)'
    )


def _names(text: str | None) -> tuple[str, ...]:
    """Return the names in a list with commas."""
    return tuple(name.strip() for name in text.split(',') if name.strip()) if text else ()


def _shares(recording: 'Multiview', view: int) -> tuple[float, float]:
    """Return which shares of a camera's pixels are object and unreliable, over some frames."""
    import numpy as np

    from posefield.data.visual_hull import spread

    masks = [recording.read_mask(view, frame) for frame in spread(range(recording.num_frames))]
    return float(np.mean([mask == 1 for mask in masks])), float(
        np.mean([mask == 2 for mask in masks])
    )
