"""Finding out what kind of source a folder is, and importing it as a scene."""

from dataclasses import dataclass, replace
from enum import Enum
import json
from pathlib import Path
from typing import TYPE_CHECKING

from posefield.errors import DataError

if TYPE_CHECKING:
    from posefield.data.scene import Scene

PSEUDO_GROUND_TRUTH = 'sfm_pgt.txt'
SPLIT_FILE = 'splits.json'
BAG_SUFFIXES = ('.mcap', '.db3', '.bag')


class SceneFormat(str, Enum):
    """What `scene import` reads."""

    AUTO = 'auto'
    NERF = 'nerf'
    COLMAP = 'colmap'
    SEVEN_SCENES = '7scenes'
    BAG = 'bag'


@dataclass(frozen=True)
class ImportOptions:
    """What an importer is told; None leaves it to the source.

    Attributes:
        hold_out: every N-th image becomes a test image.
        poses: file of pseudo ground truth (7-Scenes).
        split_file, split_name: named lists of train and test images (7-Scenes).
        images: folder of images (COLMAP).
        image_topic, camera_info_topic, pose_topic: topics (bags); pose_topic None reads TF.
        map_frame: frame of the poses on TF (bags).
        metric: whether the poses are in metres, for formats that do not say.
    """

    hold_out: int | None = None
    poses: Path | None = None
    split_file: Path | None = None
    split_name: str | None = None
    images: Path | None = None
    image_topic: str | None = None
    camera_info_topic: str | None = None
    pose_topic: str | None = None
    map_frame: str = 'map'
    metric: bool = False


def detect_format(source: Path) -> SceneFormat:
    """Return the format of a source by the files in it.

    Raises:
        DataError: when nothing known is there.
    """
    if not source.exists():
        raise DataError(f'{source} does not exist.')
    if source.suffix in BAG_SUFFIXES or (source / 'metadata.yaml').is_file():
        return SceneFormat.BAG
    if source.name.endswith('.json') or (source / 'transforms.json').is_file():
        return SceneFormat.NERF
    if any(source.glob('seq-*/frame-*.color.*')) or any(source.glob('frame-*.color.*')):
        return SceneFormat.SEVEN_SCENES
    if any(_has_colmap_model(folder) for folder in colmap_folders(source)):
        return SceneFormat.COLMAP
    raise DataError(
        f'{source} is no scene that can be recognised: expected transforms.json, a 7-Scenes '
        'folder (seq-XX/frame-XXXXXX.color.png), a COLMAP model (images.bin or images.txt) or '
        'a bag; name the format with --format.'
    )


def colmap_folders(source: Path) -> tuple[Path, ...]:
    """Return where a COLMAP model may lie below a project folder, likeliest first."""
    return (source, source / 'sparse' / '0', source / 'sparse')


def _has_colmap_model(folder: Path) -> bool:
    return any((folder / f'images.{suffix}').is_file() for suffix in ('bin', 'txt'))


def import_scene(source: Path, scene_format: SceneFormat, options: ImportOptions) -> 'Scene':
    """Read a foreign scene; nothing is written."""
    if scene_format is SceneFormat.AUTO:
        scene_format = detect_format(source)
    readers = {
        SceneFormat.NERF: _read_nerf,
        SceneFormat.COLMAP: _read_colmap,
        SceneFormat.SEVEN_SCENES: _read_seven_scenes,
        SceneFormat.BAG: _read_bag,
    }
    return readers[scene_format](source, options)


def _read_nerf(source: Path, options: ImportOptions) -> 'Scene':
    from posefield.data.nerf import read_nerf

    units = 'metres' if options.metric else 'arbitrary'
    return read_nerf(source, every=options.hold_out, units=units)


def _read_seven_scenes(source: Path, options: ImportOptions) -> 'Scene':
    from posefield.data.seven_scenes import read_seven_scenes

    return read_seven_scenes(
        source,
        poses=options.poses,
        split_file=options.split_file,
        split_name=options.split_name,
        every=options.hold_out,
    )


def _read_colmap(source: Path, options: ImportOptions) -> 'Scene':
    from posefield.data.colmap import read_colmap

    return read_colmap(source, every=options.hold_out)


def _read_bag(source: Path, options: ImportOptions) -> 'Scene':
    from posefield.data.bag import read_bag

    return read_bag(source, every=options.hold_out)


def with_found_files(source: Path, options: ImportOptions) -> ImportOptions:
    """Return options that use the pseudo ground truth and first split lying in a 7-Scenes folder.

    For the demo, which has no options of its own for these.
    """
    if options.poses is None and (source / PSEUDO_GROUND_TRUTH).is_file():
        options = replace(options, poses=source / PSEUDO_GROUND_TRUTH)
    split_file = source / SPLIT_FILE
    if options.split_file is None and options.hold_out is None and split_file.is_file():
        names = list(json.loads(split_file.read_text()))
        options = replace(
            options,
            split_file=split_file,
            split_name=options.split_name or (names[0] if names else None),
        )
    return options
