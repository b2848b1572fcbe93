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
SEVEN_SCENES_FILES = ('seq-*/frame-*.color.*', 'frame-*.color.*', 'seq-*.zip')
BAG_SUFFIXES = ('.mcap', '.db3', '.bag')


class SceneFormat(str, Enum):
    """What `scene import` reads."""

    AUTO = 'auto'
    NERF = 'nerf'
    COLMAP = 'colmap'
    SEVEN_SCENES = '7scenes'
    CAMBRIDGE = 'cambridge'
    BAG = 'bag'


@dataclass(frozen=True)
class ImportOptions:
    """What an importer is told; None leaves it to the source.

    Attributes:
        hold_out: every N-th image becomes a test image.
        validation: every N-th of the remaining images becomes a validation image.
        poses: pseudo ground truth, a file or a folder (7-Scenes).
        split_file, split_name: named lists of train and test images (7-Scenes).
        images: folder of images (COLMAP).
        focal: focal length of all images in pixels (Cambridge).
        image_topic, camera_info_topic, pose_topic: topics (bags); pose_topic None reads TF.
        map_frame: frame of the poses on TF (bags).
        rectified: whether the images are rectified (bags).
        min_distance, min_angle_deg: how far the camera goes between two images (bags).
        metric: whether the poses are in metres, for formats that do not say.
    """

    hold_out: int | None = None
    validation: int | None = None
    poses: Path | None = None
    split_file: Path | None = None
    split_name: str | None = None
    images: Path | None = None
    focal: float | None = None
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
    if any(any(source.glob(pattern)) for pattern in SEVEN_SCENES_FILES):
        return SceneFormat.SEVEN_SCENES
    if (source / 'dataset_train.txt').is_file():
        return SceneFormat.CAMBRIDGE
    from posefield.data.colmap import model_folders

    if model_folders(source):
        return SceneFormat.COLMAP
    raise DataError(
        f'{source} is no scene that can be recognised: expected transforms.json, a 7-Scenes '
        'folder (seq-XX/frame-XXXXXX.color.png), a Cambridge Landmarks folder '
        '(dataset_train.txt), a COLMAP model (cameras and images as .bin or .txt) or a bag; name '
        'the format with --format.'
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
    if options.focal is not None and scene_format is not SceneFormat.CAMBRIDGE:
        raise DataError(
            f'--focal is for Cambridge Landmarks only; {source} ({scene_format.value}) brings its '
            'own intrinsics.'
        )
    ensure_replaceable(out, 'scene')
    if scene_format is SceneFormat.BAG:
        return _import_bag(source, options, out)
    readers = {
        SceneFormat.NERF: _read_nerf,
        SceneFormat.COLMAP: _read_colmap,
        SceneFormat.SEVEN_SCENES: _read_seven_scenes,
        SceneFormat.CAMBRIDGE: _read_cambridge,
    }
    scene = _with_validation(readers[scene_format](source, options), options)
    return scene.save(out, copy_images=copy_images)


def _with_validation(scene: 'Scene', options: ImportOptions) -> 'Scene':
    from posefield.data.splits import hold_out_validation

    if options.validation is None:
        return scene
    return replace(scene, splits=hold_out_validation(scene.splits, options.validation))


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


def _read_cambridge(source: Path, options: ImportOptions) -> 'Scene':
    from posefield.data.cambridge import read_cambridge

    return read_cambridge(source, focal=options.focal, every=options.hold_out)


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
        return _with_validation(scene, options).save(out)


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
