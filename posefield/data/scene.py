"""A static scene: posed images of one place, and how it lies on disk."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
import json
import os
from pathlib import Path, PurePosixPath
import shutil
from typing import Any, Literal

import numpy as np

from posefield import __version__
from posefield.data.image_files import image_size, read_rgb
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
    """

    name: str
    image_path: Path
    camera: Camera
    T_map_cam: np.ndarray | None
    stamp_s: float | None = None

    def read_image(self) -> np.ndarray:
        """Return the image, (H, W, 3) float32 RGB in [0, 1].

        Raises:
            DataError: when it does not open or its size is not the camera's.
        """
        image = read_rgb(self.image_path)
        height, width = image.shape[:2]
        check_image_size((width, height), self.camera, self.image_path)
        return to_float_rgb(image)


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
            unknown frame, or frames that are both in train and in test.
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
        for split, listed in self.splits.items():
            unknown = set(listed) - names
            if unknown:
                raise DataError(
                    f'The split {split} of {self.root} lists the unknown image {min(unknown)}.'
                )
        shared = set(self.splits.get('train', ())) & set(self.splits.get('test', ()))
        if shared:
            raise DataError(
                f'The image {min(shared)} of {self.root} is in the train and the test split.'
            )
        if self.units not in ('metres', 'arbitrary'):
            raise DataError(
                f'The units of {self.root} must be metres or arbitrary, found {self.units!r}.'
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
            copy_images: whether to copy the image files; otherwise the folder refers to them.

        Raises:
            DataError: when an image cannot be copied.
        """
        folder = Path(folder)
        with atomic_folder(folder) as new:
            paths = {}
            for frame in self.frames:
                if copy_images:
                    paths[frame.name] = f'images/{frame.name}'
                    _copy(frame.image_path, new / 'images' / frame.name)
                else:
                    target = frame.image_path.resolve()
                    paths[frame.name] = os.path.relpath(target, folder.resolve())
            write_json(new / 'transforms.json', self._transforms(paths))
            write_json(new / 'scene.json', self._about())
        moved = tuple(
            replace(frame, image_path=folder / paths[frame.name]) for frame in self.frames
        )
        return replace(self, root=folder, frames=moved)

    def _about(self) -> dict[str, Any]:
        return {
            'schema': SCENE_SCHEMA,
            'kind': 'scene',
            'posefield_version': __version__,
            'units': self.units,
            'provenance': dict(self.provenance),
            'skipped': list(self.skipped),
        }

    def _transforms(self, paths: Mapping[str, str]) -> dict[str, Any]:
        shared = Counter(frame.camera for frame in self.frames).most_common(1)[0][0]
        entries = []
        for frame in self.frames:
            entry: dict[str, Any] = {'file_path': paths[frame.name]}
            if entry['file_path'] != f'images/{frame.name}':
                entry['name'] = frame.name
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


def _load_frame(folder: Path, transforms: dict[str, Any], entry: dict[str, Any]) -> Frame:
    path = folder / entry['file_path']
    has_pose = 'transform_matrix' in entry
    return Frame(
        name=frame_name(entry.get('name', entry['file_path'])),
        image_path=path,
        camera=camera_from_entry({**transforms, **entry}, image_size(path), str(path)),
        T_map_cam=pose_from_entry(entry, str(path)) if has_pose else None,
        stamp_s=entry.get('stamp_s'),
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
        raise DataError(f'The image {source} cannot be copied to {target}: {error}.') from error
