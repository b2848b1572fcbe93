"""posefield localize: poses of single images on standard output."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from posefield.cli.refiner_options import Iterations, Rates, Refiner, with_refiner


class PoseFormat(str, Enum):
    """How poses are printed."""

    TUM = 'tum'
    JSON = 'json'


def localize(
    map_folder: Annotated[Path, typer.Argument(metavar='MAP', help='Map folder.')],
    images: Annotated[list[Path], typer.Argument(metavar='IMAGE...', help='Photos.')],
    camera_file: Annotated[
        Path | None,
        typer.Option(
            '--camera',
            help='Intrinsics: ROS calibration YAML or transforms.json. Default: the camera '
            'that the map was made with.',
        ),
    ] = None,
    pose_format: Annotated[
        PoseFormat, typer.Option('--format', help='tum: number tx ty tz qx qy qz qw.')
    ] = PoseFormat.TUM,
    refiner: Refiner = None,
    iterations: Iterations = None,
    rates: Rates = None,
    device: Annotated[str, typer.Option('--device', help='auto, cpu or cuda.')] = 'auto',
) -> None:
    """Print the camera pose of each image in the map.

    TUM lines are numbered by image, from 0; an image whose pose is not accepted gives a comment
    instead of a pose. JSON gives one object a line with everything that is known.
    """
    import json

    from posefield.cli.camera_files import read_camera
    from posefield.data.image_files import read_rgb
    from posefield.evaluation.trajectories import tum_line
    from posefield.relocalization.localizer import Localizer

    asked = (refiner and refiner.value, iterations, rates)
    localizer = Localizer.load(map_folder, device, lambda own: with_refiner(own, *asked))
    given = read_camera(camera_file) if camera_file else map_camera(localizer.info, map_folder)
    for number, path in enumerate(images):
        image = read_rgb(path)
        found = localizer.localize(image, camera_for(given, image, path))
        if pose_format is PoseFormat.JSON:
            typer.echo(json.dumps({'image': str(path), **as_dict(found)}))
        elif found.accepted:
            typer.echo(f'# {path} score {found.score:.2f}')
            typer.echo(tum_line(number, found.T_map_cam))
        else:
            typer.echo(f'# {path} not accepted: {found.reason}')


def map_camera(info: dict, map_folder: Path):
    """Return the camera that the map was made with.

    Raises:
        CameraError: when the map does not say, because it was made with several.
    """
    from posefield.errors import CameraError
    from posefield.relocalization.map_bundle import camera_from_dict

    entry = info.get('camera')
    if entry is None:
        raise CameraError(
            f'The map {map_folder} names no camera for its images; name a file of intrinsics '
            'with --camera.'
        )
    return camera_from_dict(entry)


def camera_for(camera, image, path: Path):
    """Return the camera at the image's size.

    Raises:
        CameraError: when the image has another shape than the camera's.
    """
    from posefield.errors import CameraError

    height, width = image.shape[:2]
    if abs(width * camera.height - height * camera.width) > max(camera.width, camera.height):
        raise CameraError(
            f'{path} is {width}x{height}, which is not the shape of the '
            f'{camera.width}x{camera.height} camera.'
        )
    return camera.resized(width, height)


def as_dict(found) -> dict:
    """Return a Localization as plain values for JSON."""
    return {
        'T_map_cam': found.T_map_cam.tolist(),
        'covariance': found.covariance.tolist(),
        'accepted': bool(found.accepted),
        'score': float(found.score),
        'reason': found.reason,
        'hypothesis': found.hypothesis,
        'median_depth': float(found.median_depth),
        'renders': int(found.renders),
        'seconds': {name: float(value) for name, value in found.timings.items()},
    }
