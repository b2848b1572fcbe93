"""A static scene: posed images of one place, and how it lies on disk."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
import json
import os
from pathlib import Path, PurePosixPath
import shutil
from typing import Any, Literal

import numpy as np

from posefield import __version__
from posefield.data.image_files import image_size, read_rgb
from posefield.data.masks import MASK_FOLDER, check_mask_size, find_masks, read_mask
from posefield.data.splits import Splits
from posefield.data.transforms_json import (
    camera_from_entry,
    camera_to_entry,
    pose_from_entry,
    pose_to_entry,
)
from posefield.errors import DataError
from posefield.geometry.camera import Camera
from posefield.geometry.images import to_float_rgb
from posefield.storage import atomic_folder, read_json, recover_folder, write_json

SCENE_SCHEMA = 1
SPLIT_KEYS = {'train': 'train_filenames', 'val': 'val_filenames', 'test': 'test_filenames'}


@dataclass(frozen=True, eq=False)
class Frame:
    """One image, the camera that took it and, where known, from where and when.

    Attributes:
        name: unique in its scene; the path of the image below the scene's `images` folder.
        image_path: the image file.
        camera: intrinsics at the image's size.
        T_map_cam: (4, 4) pose, optical axes; None where unknown.
        stamp_s: seconds, or None where the source has no time.
        mask_path: picture of the static pixels; None where all pixels are.
    """

    name: str
    image_path: Path
    camera: Camera
    T_map_cam: np.ndarray | None
    stamp_s: float | None = None
    mask_path: Path | None = None

    def read_image(self) -> np.ndarray:
        """Return the image, (H, W, 3) float32 RGB in [0, 1].

        Raises:
            DataError: when it does not open or its size is not the camera's.
        """
        image = read_rgb(self.image_path)
        height, width = image.shape[:2]
        check_image_size((width, height), self.camera, self.image_path)
        return to_float_rgb(image)

    def read_mask(self) -> np.ndarray:
        """Return which pixels show the static place, (H, W) bool; all, where there is no mask.

        Like the image, it is as the camera sees: undistort both alike.

        Raises:
            DataError: when the mask does not open, is not of the camera's size, or is all false.
        """
        if self.mask_path is None:
            return np.ones((self.camera.height, self.camera.width), bool)
        return read_mask(self.mask_path, (self.camera.width, self.camera.height))


@dataclass(frozen=True, eq=False)
class Scene:
    """Posed images of one place.

    Attributes:
        root: the folder it was read from.
        frames: sorted by name.
        splits: split name (`train`, `val`, `test`) to frame names.
        units: of all translations.
        skipped: images that the source names but that cannot be used, such as missing files.
        provenance: where the scene is from, for people; kept in scene.json.

    Raises:
        DataError: for fewer than two posed frames, a name used twice, a split that names an
            unknown frame, or a frame that is in two splits.
    """

    root: Path
    frames: tuple[Frame, ...]
    splits: Splits
    units: Literal['metres', 'arbitrary']
    skipped: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        posed = sum(frame.T_map_cam is not None for frame in self.frames)
        if posed < 2:
            skipped = f' ({len(self.skipped)} skipped)' if self.skipped else ''
            found = f'only {posed} image with a pose' if posed else 'no image with a pose'
            raise DataError(f'The scene {self.root} has {found}{skipped}; at least 2 are needed.')
        names = {frame.name for frame in self.frames}
        if len(names) != len(self.frames):
            raise DataError(f'The scene {self.root} has two images of the same name.')
        self._check_splits(names)
        if self.units not in ('metres', 'arbitrary'):
            raise DataError(
                f'The units of {self.root} must be metres or arbitrary, found {self.units!r}.'
            )

    def _check_splits(self, names: set[str]) -> None:
        for split, listed in self.splits.items():
            unknown = set(listed) - names
            if unknown:
                raise DataError(
                    f'The split {split} of {self.root} lists the unknown image {min(unknown)}.'
                )
        for (one, listed), (other, others) in combinations(self.splits.items(), 2):
            shared = set(listed) & set(others)
            if shared:
                raise DataError(
                    f'The image {min(shared)} of {self.root} is in the {one} and the {other} '
                    'split.'
                )

    def split(self, name: str) -> tuple[Frame, ...]:
        """Return the frames of a split, sorted by name; `all` returns every frame.

        Raises:
            DataError: when the scene has no such split.
        """
        if name == 'all':
            return self.frames
        if name not in self.splits:
            raise DataError(
                f'The scene {self.root} has no split {name!r}, found '
                f'{", ".join([*self.splits, "all"])}.'
            )
        listed = set(self.splits[name])
        return tuple(frame for frame in self.frames if frame.name in listed)

    @classmethod
    def load(cls, folder: Path | str) -> 'Scene':
        """Read a scene folder; images are only looked at for their size.

        Raises:
            DataError, PoseError, CameraError: when anything in it cannot be used.
            BundleError: when scene.json is damaged or of a newer version.
        """
        folder = Path(folder)
        recover_folder(folder)
        if not (folder / 'scene.json').is_file():
            raise DataError(
                f'{folder} is no scene: it has no scene.json '
                '(make one with "posefield scene import" or "scene simulate").'
            )
        about = read_json(folder / 'scene.json', schema=SCENE_SCHEMA, kind='scene')
        transforms = read_transforms(folder / 'transforms.json')
        frames = []
        names = {}
        for entry in transforms['frames']:
            frame = _load_frame(folder, transforms, entry)
            frames.append(frame)
            names[entry['file_path']] = frame.name
        splits = {
            split: tuple(names.get(listed, listed) for listed in transforms[key])
            for split, key in SPLIT_KEYS.items()
            if key in transforms
        }
        return cls(
            root=folder,
            frames=tuple(sorted(frames, key=lambda frame: frame.name)),
            splits=splits,
            units=about.get('units', 'arbitrary'),
            skipped=tuple(about.get('skipped', ())),
            provenance=about.get('provenance', {}),
        )

    def save(self, folder: Path | str, copy_images: bool = True) -> 'Scene':
        """Write the scene as a folder, atomically, and return it as it lies there.

        Args:
            folder: replaced when it exists.
            copy_images: whether to copy the files of images and masks; otherwise the folder
                refers to them.

        Raises:
            DataError: when a file cannot be copied.
        """
        folder = Path(folder)
        images, masks = self._files(None if copy_images else folder)
        with atomic_folder(folder) as new:
            if copy_images:
                for frame in self.frames:
                    _copy(frame.image_path, new / images[frame.name])
                    if frame.mask_path is not None:
                        _copy(frame.mask_path, new / masks[frame.name])
            write_json(new / 'transforms.json', self._transforms(images, masks))
            write_json(new / 'scene.json', self._about())
        moved = tuple(
            replace(
                frame,
                image_path=folder / images[frame.name],
                mask_path=folder / masks[frame.name] if frame.name in masks else None,
            )
            for frame in self.frames
        )
        return replace(self, root=folder, frames=moved)

    def _files(self, seen_from: Path | None) -> tuple[dict[str, str], dict[str, str]]:
        """Return the images and the masks of a scene folder by frame name.

        They are inside it, or, given a folder, where they lie as seen from there.
        """
        masked = [frame for frame in self.frames if frame.mask_path is not None]
        if seen_from is None:
            return (
                {frame.name: f'images/{frame.name}' for frame in self.frames},
                {frame.name: f'{MASK_FOLDER}/{frame.name}.png' for frame in masked},
            )
        start = seen_from.resolve()
        return (
            {f.name: os.path.relpath(f.image_path.resolve(), start) for f in self.frames},
            {f.name: os.path.relpath(f.mask_path.resolve(), start) for f in masked},
        )

    def _about(self) -> dict[str, Any]:
        return {
            'schema': SCENE_SCHEMA,
            'kind': 'scene',
            'posefield_version': __version__,
            'units': self.units,
            'provenance': dict(self.provenance),
            'skipped': list(self.skipped),
        }

    def _transforms(self, paths: Mapping[str, str], masks: Mapping[str, str]) -> dict[str, Any]:
        shared = Counter(frame.camera for frame in self.frames).most_common(1)[0][0]
        entries = []
        for frame in self.frames:
            entry: dict[str, Any] = {'file_path': paths[frame.name]}
            if entry['file_path'] != f'images/{frame.name}':
                entry['name'] = frame.name
            if frame.name in masks:
                entry['mask_path'] = masks[frame.name]
            if frame.stamp_s is not None:
                entry['stamp_s'] = frame.stamp_s
            if frame.camera != shared:
                entry.update(_overriding_keys(frame.camera, shared))
            if frame.T_map_cam is not None:
                entry['transform_matrix'] = pose_to_entry(frame.T_map_cam)
            entries.append(entry)
        transforms = {**camera_to_entry(shared), 'frames': entries}
        for split, key in SPLIT_KEYS.items():
            if split in self.splits:
                transforms[key] = [paths[name] for name in self.splits[split]]
        return transforms


def check_image_size(size: tuple[int, int], camera: Camera, path: Path) -> None:
    """Raise a DataError unless the image's (width, height) are the camera's."""
    if size != (camera.width, camera.height):
        raise DataError(
            f'The image {path} is {size[0]}x{size[1]} but its intrinsics are for '
            f'{camera.width}x{camera.height}.'
        )


def with_found_masks(source: Path, frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """Return the frames with the masks in a folder `masks`, unless some have masks already.

    Raises:
        DataError: when that folder has no mask of any frame, or one that is not of its size.
    """
    if any(frame.mask_path is not None for frame in frames):
        return tuple(frames)
    masks = find_masks(source, (frame.name for frame in frames))
    for frame in frames:
        if frame.name in masks:
            check_mask_size(masks[frame.name], (frame.camera.width, frame.camera.height))
    return tuple(replace(frame, mask_path=masks.get(frame.name)) for frame in frames)


def read_transforms(path: Path) -> dict[str, Any]:
    """Return the content of a transforms.json file.

    Raises:
        DataError: when it is missing, no JSON, or has no list of frames with file paths.
    """
    try:
        transforms = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f'The file {path} cannot be read: {error}.') from error
    frames = transforms.get('frames') if isinstance(transforms, dict) else None
    if not isinstance(frames, list) or not frames:
        raise DataError(f'The file {path} has no list of frames.')
    for entry in frames:
        if not isinstance(entry, dict) or not isinstance(entry.get('file_path'), str):
            raise DataError(f'A frame of {path} has no file_path, found {entry!r:.80}.')
    return transforms


def frame_name(file_path: str) -> str:
    """Return the name of a frame: its path below `images`, with no way out of that folder."""
    parts = [part for part in PurePosixPath(file_path).parts if part not in ('/', '..')]
    return '/'.join(parts).removeprefix('images/')


def mask_of_entry(folder: Path, entry: Mapping[str, Any]) -> Path | None:
    """Return the mask that a frame's `mask_path` names, or None where it has none.

    Raises:
        DataError: when it is no path.
    """
    mask = entry.get('mask_path')
    if mask is None:
        return None
    if not isinstance(mask, str):
        raise DataError(
            f'The mask_path of {entry["file_path"]} must be a path, found {mask!r:.80}.'
        )
    return folder / mask


def _load_frame(folder: Path, transforms: dict[str, Any], entry: dict[str, Any]) -> Frame:
    path = folder / entry['file_path']
    has_pose = 'transform_matrix' in entry
    size = image_size(path)
    mask_path = mask_of_entry(folder, entry)
    if mask_path is not None:
        check_mask_size(mask_path, size)
    return Frame(
        name=frame_name(entry.get('name', entry['file_path'])),
        image_path=path,
        camera=camera_from_entry({**transforms, **entry}, size, str(path)),
        T_map_cam=pose_from_entry(entry, str(path)) if has_pose else None,
        stamp_s=entry.get('stamp_s'),
        mask_path=mask_path,
    )


def _overriding_keys(camera: Camera, shared: Camera) -> dict[str, Any]:
    """Return the camera's keys, with zeros for distortion that only the shared one has."""
    own = camera_to_entry(camera)
    return {**{key: 0.0 for key in camera_to_entry(shared) if key not in own}, **own}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise DataError(f'The file {source} cannot be copied to {target}: {error}.') from error
