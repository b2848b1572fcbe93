"""posefield scene: make and check scenes."""

from pathlib import Path
from typing import Annotated

import typer

from posefield.cli.importing import ImportOptions, SceneFormat

app = typer.Typer(help='Make and check scenes.', no_args_is_help=True)


@app.command('import')
def import_command(
    source: Annotated[Path, typer.Argument(help='Folder or file of the foreign scene, or a bag.')],
    out: Annotated[Path, typer.Option('--out', help='Scene folder to write.')],
    scene_format: Annotated[
        SceneFormat, typer.Option('--format', help='Format of the source; auto looks.')
    ] = SceneFormat.AUTO,
    hold_out: Annotated[
        int | None,
        typer.Option(
            '--hold-out',
            min=0,
            help='Keep every N-th image, starting with the first, for testing; 0 keeps none. '
            'Default: the splits of the source, or 6.',
        ),
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(
            '--validation',
            min=2,
            help='Keep every N-th training image, starting with the first, for choosing settings '
            'and calibrating. Default: the val split of the source, if any.',
        ),
    ] = None,
    poses: Annotated[
        Path | None,
        typer.Option(
            '--poses', help='7-Scenes: SfM pseudo ground truth, a file, or the folder of all.'
        ),
    ] = None,
    split_file: Annotated[
        Path | None, typer.Option('--split-file', help='7-Scenes: JSON with train and test lists.')
    ] = None,
    split_name: Annotated[
        str | None, typer.Option('--split-name', help='Which split of the split file.')
    ] = None,
    images: Annotated[
        Path | None, typer.Option('--images', help='COLMAP: folder of the images.')
    ] = None,
    focal: Annotated[
        float | None,
        typer.Option(
            '--focal',
            help='Cambridge: focal length of all images in pixels; default reconstruction.nvm.',
        ),
    ] = None,
    image_topic: Annotated[
        str | None, typer.Option('--image', help='Bag: image topic, raw or compressed.')
    ] = None,
    camera_info_topic: Annotated[
        str | None, typer.Option('--camera-info', help='Bag: camera_info topic.')
    ] = None,
    pose_topic: Annotated[
        str | None, typer.Option('--pose', help='Bag: topic of camera poses; default TF.')
    ] = None,
    map_frame: Annotated[
        str, typer.Option('--map-frame', help='Bag: TF frame in which the poses are.')
    ] = 'map',
    rectified: Annotated[
        bool, typer.Option('--rectified', help='Bag: the images are rectified (P holds).')
    ] = False,
    min_distance: Annotated[
        float | None,
        typer.Option('--min-distance', help='Bag: metres between two images that are taken.'),
    ] = None,
    min_angle_deg: Annotated[
        float | None,
        typer.Option('--min-angle-deg', help='Bag: or degrees between them. Default: all images.'),
    ] = None,
    metric: Annotated[
        bool, typer.Option('--metric', help='The poses are in metres (formats that do not say).')
    ] = False,
) -> None:
    """Import photos with poses, or a bag, as a scene."""
    from posefield.cli.importing import import_scene

    options = ImportOptions(
        hold_out=hold_out,
        validation=validation,
        poses=poses,
        split_file=split_file,
        split_name=split_name,
        images=images,
        focal=focal,
        image_topic=image_topic,
        camera_info_topic=camera_info_topic,
        pose_topic=pose_topic,
        map_frame=map_frame,
        rectified=rectified,
        min_distance=min_distance,
        min_angle_deg=min_angle_deg,
        metric=metric,
    )
    scene = import_scene(source, scene_format, options, out)
    if scene.skipped:
        typer.echo(
            f'warning: {len(scene.skipped)} images were skipped (no file or no usable pose), '
            f'such as {scene.skipped[0]}.',
            err=True,
        )
    typer.echo(f'{out}: {describe_splits(scene)}')


@app.command()
def simulate(
    out: Annotated[Path, typer.Option('--out', help='Scene folder to write.')],
    seed: Annotated[int, typer.Option('--seed', help='Of furniture, textures and paths.')] = 0,
    train_views: Annotated[int, typer.Option('--train-views', min=2)] = 60,
    test_views: Annotated[int, typer.Option('--test-views', min=1)] = 24,
    width: Annotated[int, typer.Option('--width', min=16, help='Pixels.')] = 320,
    height: Annotated[int, typer.Option('--height', min=16, help='Pixels.')] = 240,
) -> None:
    """Render a furnished room with exact poses: one camera path to learn, another to test."""
    from posefield.data.simulate import simulate_scene

    scene = simulate_scene(
        out,
        seed=seed,
        train_views=train_views,
        test_views=test_views,
        width=width,
        height=height,
    )
    typer.echo(f'{out}: {describe_splits(scene)}')


@app.command()
def info(
    scene: Annotated[Path, typer.Argument(help='Scene folder.')],
    check: Annotated[bool, typer.Option('--check', help='Open every image and mask.')] = False,
) -> None:
    """Say what is in a scene; fails when it cannot be used."""
    import numpy as np

    from posefield.data.scene import Scene
    from posefield.fields.scene_transform import looked_at_point, scene_scale

    loaded = Scene.load(scene)
    poses = [frame.T_map_cam for frame in loaded.frames if frame.T_map_cam is not None]
    cameras = {frame.camera for frame in loaded.frames}
    if check:
        for frame in loaded.frames:
            frame.read_image()
            frame.read_mask()
    typer.echo(f'{scene}: {describe_splits(loaded)}')
    typer.echo(f'posed images   {len(poses)}')
    masks = sum(frame.mask_path is not None for frame in loaded.frames)
    typer.echo(f'skipped        {len(loaded.skipped)}')
    typer.echo(f'masks          {masks}')
    for camera in sorted(cameras, key=lambda camera: (camera.width, camera.height, camera.fx)):
        typer.echo(
            f'camera         {camera.width}x{camera.height} {camera.model}, '
            f'fx {camera.fx:.2f}, fy {camera.fy:.2f}, cx {camera.cx:.2f}, cy {camera.cy:.2f}'
        )
    poses_N44 = np.stack(poses)
    x, y, z = looked_at_point(poses_N44)
    typer.echo(f'units          {loaded.units}')
    scale = scene_scale(poses_N44)
    typer.echo(f'scale          {scale:.3f} (mean distance to the point looked at)')
    typer.echo(f'looked at      {x:.3f} {y:.3f} {z:.3f}')


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help='Scene folder.')],
    second: Annotated[
        Path, typer.Argument(help='Scene folder of the same images with other poses.')
    ],
    out: Annotated[
        Path, typer.Option('--out', help='Folder for comparison.json and report.html.')
    ],
) -> None:
    """Compare two sets of poses of the same images, such as depth SLAM and SfM."""
    from posefield.data.scene import Scene
    from posefield.evaluation.compare_scenes import compare_scenes, comparison_figures
    from posefield.evaluation.comparison_report import write_comparison_report
    from posefield.evaluation.relocalization_report import angle, length
    from posefield.storage import write_json

    scenes = Scene.load(first), Scene.load(second)
    comparison = compare_scenes(*scenes)
    figures = comparison_figures(comparison, scenes)
    write_json(out / 'comparison.json', figures)
    write_comparison_report(out / 'report.html', comparison, *scenes)
    typer.echo(
        f'images         {len(comparison.names)} ({len(comparison.only_first)} only in the '
        f'first, {len(comparison.only_second)} only in the second)'
    )
    for name, found in comparison.stages:
        distance = length(figures[name]['translation']['median'], scenes[0].units)
        turned = angle(figures[name]['rotation_deg']['median'])
        scale = f', scale {found.alignment.scale:.5f}' if name == 'sim3' else ''
        typer.echo(f'{name:<14} median {distance}, {turned}{scale}')
    if comparison.failure:
        typer.echo(f'warning: {comparison.failure}', err=True)
    typer.echo(f'report: {out / "report.html"}')


def describe_splits(scene) -> str:
    """Return `91 images (84 train, 7 test)`."""
    splits = ', '.join(f'{len(names)} {split}' for split, names in scene.splits.items())
    return f'{len(scene.frames)} images ({splits})'
