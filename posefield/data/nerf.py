"""Importer of NeRF-style transforms.json files (instant-ngp, nerfstudio)."""

from pathlib import Path
from typing import Literal

from posefield.data.image_files import image_size
from posefield.data.masks import check_mask_size
from posefield.data.scene import (
    SPLIT_KEYS,
    Frame,
    Scene,
    frame_name,
    mask_of_entry,
    read_transforms,
    with_found_masks,
)
from posefield.data.splits import DEFAULT_HOLD_OUT, Splits, hold_out
from posefield.data.transforms_json import camera_from_entry, find_image, pose_from_entry


def read_nerf(
    source: Path | str,
    *,
    every: int | None = None,
    units: Literal['metres', 'arbitrary'] = 'arbitrary',
) -> Scene:
    """Read a transforms.json file, or the folder that holds one.

    Frames without an image file or without a pose are skipped and listed.

    Args:
        source: the file or its folder.
        every: hold out every N-th image; None takes the splits of the file
            (`train_filenames`, ...) or, where it has none, every 6th.
        units: of the poses, which the file does not say.

    Raises:
        DataError, PoseError, CameraError: when what is there cannot be used.
    """
    path = Path(source)
    path = path / 'transforms.json' if path.is_dir() else path
    transforms = read_transforms(path)
    frames, skipped = [], []
    for entry in transforms['frames']:
        image_path = find_image(path.parent, entry['file_path'])
        if image_path is None or 'transform_matrix' not in entry:
            skipped.append(frame_name(entry['file_path']))
        else:
            frames.append(_frame(path, transforms, entry, image_path))
    frames.sort(key=lambda frame: frame.name)
    return Scene(
        root=path.parent,
        frames=with_found_masks(path.parent, frames),
        splits=_splits(transforms, frames, every),
        units=units,
        skipped=tuple(skipped),
        provenance={'format': 'nerf', 'source': path.name},
    )


def _frame(path: Path, transforms: dict, entry: dict, image_path: Path) -> Frame:
    mask_path = mask_of_entry(path.parent, entry)
    size = image_size(image_path)
    if mask_path is not None:
        check_mask_size(mask_path, size)
    return Frame(
        name=frame_name(image_path.relative_to(path.parent).as_posix()),
        image_path=image_path,
        camera=camera_from_entry({**transforms, **entry}, size, str(image_path)),
        T_map_cam=pose_from_entry(entry, f'{entry["file_path"]} in {path}'),
        mask_path=mask_path,
    )


def _splits(transforms: dict, frames: list[Frame], every: int | None) -> Splits:
    names = {frame.name for frame in frames}
    if every is None:
        listed = {
            split: tuple(map(frame_name, transforms[key]))
            for split, key in SPLIT_KEYS.items()
            if key in transforms
        }
        present = {
            split: tuple(name for name in of_split if name in names)
            for split, of_split in listed.items()
        }
        if present.get('train'):
            return _without_tested(present)
    return hold_out(names, DEFAULT_HOLD_OUT if every is None else every)


def _without_tested(splits: Splits) -> Splits:
    """Return the splits without those validation images that are test images too.

    Many files list the test images for both; chosen settings would then owe to the test.
    """
    kept = tuple(name for name in splits.get('val', ()) if name not in splits.get('test', ()))
    others = {split: names for split, names in splits.items() if split != 'val'}
    return {**others, 'val': kept} if kept else others
