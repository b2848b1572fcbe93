"""Finding out what kind of source a folder is, and importing it as a scene."""

from dataclasses import dataclass, replace
from enum import Enum
import json
from pathlib import Path
import tempfile
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
        rectified: whether the images are rectified (bags).
        min_distance, min_angle_deg: how far the camera goes between two images (bags).
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
    rectified: bool = False
    min_distance: float | None = None
    min_angle_deg: float | None = None
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
    from posefield.data.colmap import model_folders

    if model_folders(source):
        return SceneFormat.COLMAP
    raise DataError(
        f'{source} is no scene that can be recognised: expected transforms.json, a 7-Scenes '
        'folder (seq-XX/frame-XXXXXX.color.png), a COLMAP model (cameras and images as .bin or '
        '.txt) or a bag; name the format with --format.'
    )


def import_scene(
    source: Path,
    scene_format: SceneFormat,
    options: ImportOptions,
    out: Path,
    *,
    copy_images: bool = True,
) -> 'Scene':
    """Read a foreign scene and save it as a scene folder.

    Args:
        source: folder or file.
        scene_format: what it is.
        options: for its importer.
        out: scene folder to write.
        copy_images: whether to copy the images; those of bags are always written there.
    """
    from posefield.storage import ensure_replaceable

    if scene_format is SceneFormat.AUTO:
        scene_format = detect_format(source)
    ensure_replaceable(out, 'scene')
    if scene_format is SceneFormat.BAG:
        return _import_bag(source, options, out)
    readers = {
        SceneFormat.NERF: _read_nerf,
        SceneFormat.COLMAP: _read_colmap,
        SceneFormat.SEVEN_SCENES: _read_seven_scenes,
    }
    return readers[scene_format](source, options).save(out, copy_images=copy_images)


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

    units = 'metres' if options.metric else 'arbitrary'
    return read_colmap(source, images=options.images, every=options.hold_out, units=units)


def _import_bag(source: Path, options: ImportOptions, out: Path) -> 'Scene':
    """Decode the images beside the scene folder, on the disk that must hold them anyway."""
    from posefield.data.bag import BagTopics, Thinning, read_bag

    topics = BagTopics(
        image=options.image_topic,
        camera_info=options.camera_info_topic,
        pose=options.pose_topic,
        map_frame=options.map_frame,
        rectified=options.rectified,
    )
    thinning = Thinning(options.min_distance, options.min_angle_deg)
    out.resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.resolve().parent, prefix='.bag-') as images:
        scene = read_bag(source, images, topics=topics, thinning=thinning, every=options.hold_out)
        return scene.save(out)


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
