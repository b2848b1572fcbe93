"""Importer of 7-Scenes folders, with the distributed poses or pseudo ground truth.

A scene has folders `seq-XX` of `frame-XXXXXX.color.png` (or JPEG) and `frame-XXXXXX.pose.txt`.
The distributed poses are those of the depth camera; for colour images the SfM pseudo ground truth
of Brachmann et al. (ICCV 2021) is several times more precise.  The two must not be mixed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
import re

from posefield.data.image_files import IMAGE_SUFFIXES, image_size
from posefield.data.pose_files import NamedPose, read_pgt, read_pose_matrix
from posefield.data.scene import Frame, Scene, with_found_masks
from posefield.data.splits import (
    DEFAULT_HOLD_OUT,
    Splits,
    hold_out,
    match_names,
    read_split_file,
)
from posefield.errors import DataError
from posefield.geometry.camera import Camera

# Focal lengths are in pixels of the images as published, which are so wide.
PUBLISHED_WIDTH = 640
# The focal length that goes with the distributed poses.
DEPTH_CAMERA_FOCAL = 585.0
SPLIT_FILES = {'train': 'TrainSplit.txt', 'test': 'TestSplit.txt'}
PGT_ENDINGS = {'train': '_train.txt', 'test': '_test.txt'}
SEQUENCE = re.compile(r'(?:sequence|seq-?)(\d+)', re.IGNORECASE)

# Poses by the name of the image, by the split that their file is of; `all` is of no split.
Listed = dict[str, dict[str, NamedPose]]


def read_seven_scenes(
    source: Path | str,
    *,
    poses: Path | str | None = None,
    split_file: Path | str | None = None,
    split_name: str | None = None,
    every: int | None = None,
) -> Scene:
    """Read a 7-Scenes folder.

    Images without a pose and listed sequences that are not there are skipped and listed.

    Args:
        source: the scene's folder with `seq-XX` folders, or one sequence's folder.
        poses: pseudo ground truth (see `read_pgt`): one file, one of a pair such as
            `chess_train.txt` and `chess_test.txt` (both are read), or the folder of such pairs;
            looked for in `source` too.  None takes the distributed `frame-XXXXXX.pose.txt`.
        split_file: JSON with `train` and `test` lists of image names, under `split_name`;
            looked for in `source` too.  Images in no list are left out.
        split_name: which split of the file.
        every: hold out every N-th image; None takes the split file, else TrainSplit.txt and
            TestSplit.txt, else the pair of pose files, else every 6th.

    Raises:
        DataError, PoseError, CameraError: when what is there cannot be used.
    """
    source = Path(source)
    images = _find_images(source)
    if poses is None:
        listed, absent = _distributed_poses(images, source), ()
    else:
        listed, absent = _pseudo_ground_truth(_resolve(poses, source), images, source)
    posed = {name: pose for of_split in listed.values() for name, pose in of_split.items()}
    names = [name for name in images if name in posed]
    skipped = [name for name in images if name not in posed]
    if split_file is not None:
        path = _resolve(split_file, source)
        splits, missing = match_names(read_split_file(path, split_name), names, str(path))
    elif split_name is not None:
        raise DataError(f'The split {split_name} needs a split file, found none.')
    elif every is None:
        splits, missing = _published_splits(source, names, listed)
    else:
        splits, missing = hold_out(names, every), ()
    used = sorted({name for of_split in splits.values() for name in of_split})
    frames = [_frame(images[name], name, posed[name]) for name in used]
    return Scene(
        root=source,
        frames=with_found_masks(source, frames),
        splits=splits,
        units='metres',
        skipped=tuple(dict.fromkeys((*skipped, *missing, *absent))),
        provenance={
            'format': '7scenes',
            'source': source.resolve().name,
            'poses': 'distributed' if poses is None else Path(poses).name,
            'split': split_name or '',
        },
    )


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
        archives = sorted(path.name for path in source.glob('seq-*.zip'))
        if archives:
            raise DataError(
                f'The sequences of {source} are still packed: unpack {", ".join(archives)} there.'
            )
        raise DataError(f'{source} has no images named seq-XX/frame-XXXXXX.color.png (or .jpg).')
    return images


def _resolve(path: Path | str, source: Path) -> Path:
    """Return the path as given, or inside the source where only that exists."""
    path = Path(path)
    inside = source / path
    return inside if inside.exists() and not path.exists() else path


def _distributed_poses(images: Mapping[str, Path], source: Path) -> Listed:
    """Return the poses of the files beside the images that have one."""
    posed = {}
    for name, image in images.items():
        path = image.with_name(image.name.partition('.')[0] + '.pose.txt')
        if path.is_file():
            posed[name] = NamedPose(name, read_pose_matrix(path))
    if not posed:
        raise DataError(
            f'None of the {len(images)} images below {source} has a pose: there is no '
            f'{path.name} beside the last; name a file of pseudo ground truth with --poses.'
        )
    return {'all': posed}


def _pseudo_ground_truth(
    poses: Path, images: Mapping[str, Path], source: Path
) -> tuple[Listed, tuple[str, ...]]:
    """Return the poses of a file, a pair of files or a folder of pairs, and sequences not there.

    Only a pair says what the whole scene is, and so what is not there; of one sequence's folder
    it says neither.
    """
    files = _pose_files(poses, source)
    lines = {split: read_pgt(path) for split, path in files.items()}
    listed = {split: _match_poses(of_split, images, source) for split, of_split in lines.items()}
    if not any(listed.values()):
        named = ' and '.join(map(str, files.values()))
        raise DataError(f'{named} has no pose of any image below {source}.')
    if 'all' in files:
        return listed, ()
    if all('/' not in name for name in images):
        return {'all': {**listed['train'], **listed['test']}}, ()
    sequences = {pose.name.partition('/')[0] for of_split in lines.values() for pose in of_split}
    return listed, _absent(source, sorted(sequences))


def _pose_files(poses: Path, source: Path) -> dict[str, Path]:
    """Return the files by the split that they are of; a file without a partner is of `all`."""
    folder = source.resolve()
    scene = folder.parent if SEQUENCE.fullmatch(folder.name) else folder
    stem = poses / scene.name
    if not poses.is_dir():
        ending = next((end for end in PGT_ENDINGS.values() if poses.name.endswith(end)), None)
        if ending is None:
            return {'all': poses}
        stem = poses.with_name(poses.name.removesuffix(ending))
    files = {split: stem.with_name(stem.name + ending) for split, ending in PGT_ENDINGS.items()}
    if all(path.is_file() for path in files.values()):
        return files
    if poses.is_dir():
        raise DataError(
            f'The folder {poses} has no {files["train"].name} and {files["test"].name}; name one '
            "of the scene's pose files instead."
        )
    return {'all': poses}


def _match_poses(
    posed: Sequence[NamedPose], images: Mapping[str, Path], source: Path
) -> dict[str, NamedPose]:
    """Return the poses of the images there are; a sequence folder's names lack their `seq-XX/`.

    Suffixes may differ: poses are listed for PNG files, which people turn into JPEG files.
    """
    by_stem = {pose.name.rpartition('.')[0] or pose.name: pose for pose in posed}
    sequence = source.resolve().name
    matched = {}
    for name in images:
        stem = name.rpartition('.')[0]
        pose = by_stem.get(stem) or by_stem.get(f'{sequence}/{stem}')
        if pose is not None:
            matched[name] = pose
    return matched


def _frame(path: Path, name: str, pose: NamedPose) -> Frame:
    """Return the frame of an image; its camera's principal point is the image's middle."""
    width, height = image_size(path)
    published = DEPTH_CAMERA_FOCAL if pose.focal is None else pose.focal
    focal = published * width / PUBLISHED_WIDTH
    camera = Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
    return Frame(name, path, camera, pose.T_map_cam)


def _published_splits(
    source: Path, names: Sequence[str], listed: Listed
) -> tuple[Splits, tuple[str, ...]]:
    """Return the splits that the files there say, else every 6th; and sequences not there."""
    files = {split: source / name for split, name in SPLIT_FILES.items()}
    if files['train'].is_file():
        sequences = {
            split: _listed_sequences(path) for split, path in files.items() if path.is_file()
        }
        splits = {
            split: tuple(name for name in names if name.partition('/')[0] in folders)
            for split, folders in sequences.items()
        }
        by = str(files['train'])
        absent = _absent(source, [folder for folders in sequences.values() for folder in folders])
    elif 'train' in listed:
        splits = {split: tuple(sorted(listed[split])) for split in listed}
        by = 'the pose file for training'
        absent = ()
    else:
        return hold_out(names, DEFAULT_HOLD_OUT), ()
    if not splits['train']:
        packed = f' ({", ".join(absent)} are not there)' if absent else ''
        raise DataError(f'No image of {source} is in a sequence that {by} lists{packed}.')
    return {split: found for split, found in splits.items() if found}, absent


def _listed_sequences(path: Path) -> list[str]:
    """Return the folders of the sequences in TrainSplit.txt or TestSplit.txt.

    Raises:
        DataError: for a line that is no `sequenceN`, with its number.
    """
    folders = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        match = SEQUENCE.fullmatch(line.strip())
        if match is None:
            raise DataError(f'Line {number} of {path} must be "sequenceN", found {line[:80]!r}.')
        folders.append(f'seq-{int(match[1]):02d}')
    return folders


def _absent(source: Path, sequences: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        f'{name}.zip (packed)' if (source / f'{name}.zip').is_file() else name
        for name in sequences
        if not (source / name).is_dir()
    )
