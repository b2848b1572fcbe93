"""Importer of 7-Scenes folders, with the distributed poses or SfM pseudo ground truth.

A scene has folders `seq-XX` of `frame-XXXXXX.color.png` (or JPEG) and `frame-XXXXXX.pose.txt`.
The distributed poses are those of the depth camera; for colour images the pseudo ground truth
of Brachmann et al. (ICCV 2021) is several times more precise.  The two must not be mixed.
"""

from collections.abc import Mapping, Sequence
import math
from pathlib import Path

import numpy as np

from posefield.data.image_files import IMAGE_SUFFIXES, image_size
from posefield.data.scene import Frame, Scene
from posefield.data.splits import (
    DEFAULT_HOLD_OUT,
    Splits,
    hold_out,
    match_names,
    read_split_file,
)
from posefield.errors import DataError, PoseError
from posefield.geometry.camera import Camera
from posefield.geometry.poses import as_rigid, from_quat_xyzw, invert

# The focal length that goes with the distributed poses, in pixels of a 640 pixels wide image.
DEPTH_CAMERA_FOCAL = 585.0
SPLIT_FILES = {'train': 'TrainSplit.txt', 'test': 'TestSplit.txt'}

Posed = dict[str, tuple[np.ndarray, float | None]]


def read_seven_scenes(
    source: Path | str,
    *,
    poses: Path | str | None = None,
    split_file: Path | str | None = None,
    split_name: str | None = None,
    every: int | None = None,
) -> Scene:
    """Read a 7-Scenes folder.

    Args:
        source: the scene's folder with `seq-XX` folders, or one sequence's folder.
        poses: file of SfM pseudo ground truth, `image qw qx qy qz tx ty tz focal` a line
            (world-to-camera, optical axes); looked for in `source` too.  None takes the
            distributed `frame-XXXXXX.pose.txt`.
        split_file: JSON with `train` and `test` lists of image names, under `split_name`;
            looked for in `source` too.  Images in no list are left out.
        split_name: which split of the file.
        every: hold out every N-th image; None takes the split file, else TrainSplit.txt and
            TestSplit.txt, else every 6th.

    Raises:
        DataError, PoseError, CameraError: when what is there cannot be used.
    """
    source = Path(source)
    images = _find_images(source)
    if poses is None:
        posed = {name: _read_pose_file(path) for name, path in images.items()}
    else:
        pose_file = _resolve(poses, source)
        posed = _match_poses(read_pseudo_ground_truth(pose_file), images, source)
        if not any(posed.values()):
            raise DataError(f'{pose_file} has no pose of any image below {source}.')
    names = [name for name in images if posed[name] is not None]
    skipped = [name for name in images if posed[name] is None]
    splits, missing = _splits(source, names, split_file, split_name, every)
    used = {name for listed in splits.values() for name in listed}
    frames = [
        Frame(name, images[name], _camera(images[name], posed[name][1]), posed[name][0])
        for name in sorted(used)
    ]
    return Scene(
        root=source,
        frames=tuple(frames),
        splits=splits,
        units='metres',
        skipped=(*skipped, *missing),
        provenance={
            'format': '7scenes',
            'source': source.resolve().name,
            'poses': 'distributed' if poses is None else Path(poses).name,
            'split': split_name or '',
        },
    )


def read_pseudo_ground_truth(path: Path) -> Posed:
    """Return image name without suffix -> T_map_cam (4, 4) and focal length in pixels.

    Raises:
        DataError, PoseError: when a line is not a name, a unit quaternion, translation and focal.
    """
    posed: Posed = {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'The pose file {path} cannot be read: {error}.') from error
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith('#'):
            continue
        try:
            name, *texts = words
            qw, qx, qy, qz, *translation, focal = map(float, texts)
        except ValueError:
            texts = []
        if len(texts) != 8:
            raise DataError(
                f'Line {number} of {path} must be "image qw qx qy qz tx ty tz focal", '
                f'found {line[:80]!r}.'
            )
        norm = math.hypot(qw, qx, qy, qz)
        if not abs(norm - 1.0) < 1e-2 or not np.isfinite(translation).all():
            raise PoseError(
                f'Line {number} of {path} is no rigid pose: the quaternion has norm {norm:.3g} '
                f'and the translation is {translation}.'
            )
        T_cam_map = from_quat_xyzw(np.array([qx, qy, qz, qw]), np.array(translation))
        posed[name.rpartition('.')[0] or name] = (invert(T_cam_map), focal)
    return posed


def _find_images(source: Path) -> dict[str, Path]:
    """Return the colour images below a scene or sequence folder, by name, sorted."""
    if not source.is_dir():
        raise DataError(f'{source} is not a folder, expected a 7-Scenes scene.')
    paths = [*source.glob('frame-*.color.*'), *source.glob('seq-*/frame-*.color.*')]
    images = {
        path.relative_to(source).as_posix(): path
        for path in sorted(paths)
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    if not images:
        raise DataError(f'{source} has no images named seq-XX/frame-XXXXXX.color.png (or .jpg).')
    return images


def _resolve(path: Path | str, source: Path) -> Path:
    """Return the path as given, or inside the source where only that exists."""
    path = Path(path)
    inside = source / path
    return inside if inside.is_file() and not path.is_file() else path


def _read_pose_file(image_path: Path) -> tuple[np.ndarray, None] | None:
    """Return T_map_cam of the pose file beside an image; None where there is none."""
    path = image_path.with_name(image_path.name.partition('.')[0] + '.pose.txt')
    if not path.is_file():
        return None
    try:
        rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
        matrix = np.array(rows, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise PoseError(f'The pose file {path} is not a matrix of numbers: {error}.') from error
    return as_rigid(matrix, f'The pose in {path}'), None


def _match_poses(
    posed: Posed, images: Mapping[str, Path], source: Path
) -> dict[str, tuple[np.ndarray, float | None] | None]:
    """Return each image's pose or None; a sequence folder's names lack their `seq-XX/`."""
    sequence = source.resolve().name
    matched = {}
    for name in images:
        stem = name.rpartition('.')[0]
        matched[name] = posed.get(stem) or posed.get(f'{sequence}/{stem}')
    return matched


def _camera(path: Path, focal: float | None) -> Camera:
    """Return the pinhole camera of an image; its principal point is the image's middle."""
    width, height = image_size(path)
    if focal is None:
        focal = DEPTH_CAMERA_FOCAL * width / 640
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def _splits(
    source: Path,
    names: Sequence[str],
    split_file: Path | str | None,
    split_name: str | None,
    every: int | None,
) -> tuple[Splits, tuple[str, ...]]:
    if split_file is not None:
        path = _resolve(split_file, source)
        return match_names(read_split_file(path, split_name), names, str(path))
    if split_name is not None:
        raise DataError(f'The split {split_name} needs a split file, found none.')
    if every is None and (source / SPLIT_FILES['train']).is_file():
        return _sequence_splits(source, names)
    return hold_out(names, DEFAULT_HOLD_OUT if every is None else every), ()


def _sequence_splits(source: Path, names: Sequence[str]) -> tuple[Splits, tuple[str, ...]]:
    """Return the splits of TrainSplit.txt and TestSplit.txt, which list `sequenceN` a line."""
    splits: Splits = {}
    missing: list[str] = []
    for split, file_name in SPLIT_FILES.items():
        path = source / file_name
        lines = path.read_text().split() if path.is_file() else []
        folders = [f'seq-{int("".join(filter(str.isdigit, line)) or 0):02d}' for line in lines]
        splits[split] = tuple(name for name in names if name.partition('/')[0] in folders)
        missing += [folder for folder in folders if not (source / folder).is_dir()]
    if not splits['train']:
        raise DataError(f'No image of {source} is in a sequence that TrainSplit.txt lists.')
    return splits, tuple(missing)
