"""Synchronised video of one moving thing by several calibrated cameras that stand still.

As a folder: `multiview.json`, `images/<camera>/<frame>.png` (or jpg) and `masks/<camera>/
<frame>.png`, with six digits for the frame.  A mask is 0 at the background, 255 at the object and
128 where nobody knows.  Images are stored undistorted.
"""

from collections.abc import Iterable, Mapping, Sequence
import contextlib
from dataclasses import dataclass, field, replace
from itertools import pairwise
import math
from pathlib import Path
import shutil
from typing import Any, Literal

import cv2
import numpy as np

from posefield import __version__
from posefield.data.image_files import image_size, read_rgb
from posefield.data.rig_camera import (
    OBJECT,
    RigCamera,
    camera_from_json,
    camera_to_json,
    check_cameras,
    image_file,
    mask_file,
    mask_of_grey,
    write_view,
)
from posefield.errors import DataError
from posefield.geometry.images import to_float_rgb
from posefield.storage import atomic_folder, read_json, recover_folder, write_json

MULTIVIEW_SCHEMA = 1
MULTIVIEW_KIND = 'multiview'
LEAST_FRAMES = 2
BACKGROUND_LEVELS = {'white': 1.0, 'black': 0.0}


@dataclass(frozen=True, eq=False)
class Multiview:
    """V cameras that saw the same T moments.

    Attributes:
        root: its folder.
        cameras: V of them; at least two are for training.
        stamps_s: T rising times in seconds.
        held_out_frames: indices of the moments that are for tests only.
        units: of the poses' translations.
        background: what pixels outside the object are to become.
        image_suffix: `png` or `jpg`.
        provenance: where it is from, for people; kept in multiview.json.

    Raises:
        DataError: for too few cameras or frames, names used twice, times that do not rise, or a
            held-out frame that does not exist.
    """

    root: Path
    cameras: tuple[RigCamera, ...]
    stamps_s: tuple[float, ...]
    held_out_frames: frozenset[int] = frozenset()
    units: Literal['metres', 'arbitrary'] = 'metres'
    background: Literal['white', 'black'] = 'white'
    image_suffix: Literal['png', 'jpg'] = 'png'
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        check_cameras(self.cameras, str(self.root))
        self._check_frames()
        for key, allowed in (
            ('units', ('metres', 'arbitrary')),
            ('background', tuple(BACKGROUND_LEVELS)),
            ('image_suffix', ('png', 'jpg')),
        ):
            if getattr(self, key) not in allowed:
                raise DataError(
                    f'The {key} of {self.root} must be {" or ".join(allowed)}, found '
                    f'{getattr(self, key)!r}.'
                )

    def _check_frames(self) -> None:
        stamps = self.stamps_s
        if not all(math.isfinite(stamp) for stamp in stamps):
            raise DataError(f'The stamps_s of {self.root} must be finite numbers.')
        if any(later <= earlier for earlier, later in pairwise(stamps)):
            raise DataError(f'The stamps_s of {self.root} must rise from frame to frame.')
        unknown = [frame for frame in self.held_out_frames if not 0 <= frame < len(stamps)]
        if unknown:
            raise DataError(
                f'The held-out frame {unknown[0]} of {self.root} does not exist; there are '
                f'{len(stamps)} frames.'
            )
        if len(self.training_frames) < LEAST_FRAMES:
            raise DataError(
                f'{self.root} has {len(self.training_frames)} frames to learn from, at least '
                f'{LEAST_FRAMES} are needed.'
            )

    @property
    def num_frames(self) -> int:
        """The number T of moments, held-out ones too."""
        return len(self.stamps_s)

    @property
    def training_views(self) -> tuple[int, ...]:
        """Indices of the cameras to learn from."""
        return tuple(v for v, camera in enumerate(self.cameras) if not camera.held_out)

    @property
    def held_out_views(self) -> tuple[int, ...]:
        """Indices of the cameras that are for tests only."""
        return tuple(v for v, camera in enumerate(self.cameras) if camera.held_out)

    @property
    def training_frames(self) -> tuple[int, ...]:
        """Indices of the moments to learn from, in order."""
        return tuple(f for f in range(self.num_frames) if f not in self.held_out_frames)

    @property
    def held_out_frames_sorted(self) -> tuple[int, ...]:
        """Indices of the moments that are for tests only, in order."""
        return tuple(sorted(self.held_out_frames))

    @property
    def background_level(self) -> float:
        """The background as a level of all three colours in [0, 1]."""
        return BACKGROUND_LEVELS[self.background]

    def view_named(self, name: str) -> int:
        """Return the index of a camera.

        Raises:
            DataError: when there is no camera of this name.
        """
        for view, camera in enumerate(self.cameras):
            if camera.name == name:
                return view
        known = ', '.join(camera.name for camera in self.cameras)
        raise DataError(f'{self.root} has no camera {name!r}, found {known}.')

    def image_path(self, view: int, frame: int) -> Path:
        """Return where an image lies."""
        return self.root / image_file(self.cameras[view].name, frame, self.image_suffix)

    def mask_path(self, view: int, frame: int) -> Path:
        """Return where a mask lies."""
        return self.root / mask_file(self.cameras[view].name, frame)

    def read_image(self, view: int, frame: int) -> np.ndarray:
        """Return an image as the camera saw it, (H, W, 3) float32 RGB in [0, 1].

        Raises:
            DataError: when it does not open or is not of its camera's size.
        """
        path = self.image_path(view, frame)
        image = read_rgb(path)
        self._check_size(view, image, path)
        return to_float_rgb(image)

    def read_mask(self, view: int, frame: int) -> np.ndarray:
        """Return a mask, (H, W) uint8: 0 background, 1 object, 2 unreliable.

        Raises:
            DataError: when it does not open or is not of its camera's size.
        """
        path = self.mask_path(view, frame)
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
        if grey is None:
            raise DataError(f'The mask {path} does not open: it is missing or no picture.')
        self._check_size(view, grey, path)
        return mask_of_grey(grey)

    def read_masked(self, view: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an image whose pixels outside the object are background, and its mask.

        Returns:
            (H, W, 3) float32 RGB in [0, 1], and (H, W) uint8 as by `read_mask`.
        """
        image, mask = self.read_image(view, frame), self.read_mask(view, frame)
        return np.where(mask[..., None] == OBJECT, image, self.background_level), mask

    def _check_size(self, view: int, pixels: np.ndarray, path: Path) -> None:
        camera = self.cameras[view].camera
        height, width = pixels.shape[:2]
        if (width, height) != (camera.width, camera.height):
            raise DataError(
                f'{path} is {width}x{height} but its camera is {camera.width}x{camera.height}.'
            )

    @classmethod
    def load(cls, folder: Path | str) -> 'Multiview':
        """Read a folder; images are looked for, but only the first of a camera is opened.

        Raises:
            DataError, PoseError, CameraError: when anything in it cannot be used.
            BundleError: when multiview.json is damaged or of a newer version.
        """
        folder = Path(folder)
        recover_folder(folder)
        if not (folder / 'multiview.json').is_file():
            raise DataError(
                f'{folder} is no multi-view recording: it has no multiview.json (make one with '
                '"posefield articulation import" or "articulation simulate").'
            )
        about = read_json(folder / 'multiview.json', schema=MULTIVIEW_SCHEMA, kind=MULTIVIEW_KIND)
        multiview = _from_json(folder, about)
        check_files(multiview)
        return multiview

    def save(self, folder: Path | str) -> 'Multiview':
        """Copy the recording to a folder, atomically, and return it as it lies there.

        Raises:
            DataError: when a file cannot be copied.
        """
        folder = Path(folder)
        with atomic_folder(folder) as new:
            for view in range(len(self.cameras)):
                for frame in range(self.num_frames):
                    for path in (self.image_path(view, frame), self.mask_path(view, frame)):
                        _copy(path, new / path.relative_to(self.root))
            write_json(new / 'multiview.json', _to_json(self))
        return replace(self, root=folder)


class MultiviewWriter:
    """Writes a recording frame by frame; nothing is at its place before all of it is.

    Use it in a `with` block and call `finish` in it.  `folder` is where it is being made: more
    files may be put there, and other processes may write images there with `write_view`.
    """

    def __init__(
        self,
        folder: Path | str,
        cameras: Sequence[RigCamera],
        *,
        units: Literal['metres', 'arbitrary'] = 'metres',
        background: Literal['white', 'black'] = 'white',
        image_suffix: Literal['png', 'jpg'] = 'png',
        provenance: Mapping[str, Any] | None = None,
    ):
        """Take what does not change from frame to frame; see `Multiview`.

        Raises:
            DataError: for too few cameras or two of one name.
        """
        check_cameras(cameras, str(folder))
        self._target = Path(folder)
        self._cameras = tuple(cameras)
        self._about = {
            'units': units,
            'background': background,
            'image_suffix': image_suffix,
            'provenance': dict(provenance or {}),
        }
        self._stack = contextlib.ExitStack()
        self._finished: Multiview | None = None
        self.folder: Path | None = None

    def __enter__(self) -> 'MultiviewWriter':
        """Begin a folder under another name."""
        self.folder = self._stack.enter_context(atomic_folder(self._target))
        return self

    def __exit__(self, *exception) -> bool | None:
        """Put the folder at its place, or delete it after an error or without `finish`."""
        if exception[0] is None and self._finished is None:
            error = DataError(f'The recording {self._target} was not finished.')
            self._stack.__exit__(DataError, error, None)
            raise error
        return self._stack.__exit__(*exception)

    def add(self, view: int, frame: int, image: np.ndarray, mask: np.ndarray) -> None:
        """Write one image, (H, W, 3) uint8 RGB, and its mask, (H, W) of 0, 1 and 2."""
        write_view(self.folder, self._cameras[view], frame, image, mask, self.image_suffix)

    @property
    def image_suffix(self) -> str:
        """The format of the images, `png` or `jpg`."""
        return self._about['image_suffix']

    def finish(self, stamps_s: Sequence[float], held_out_frames: Iterable[int] = ()) -> Multiview:
        """Say when the frames were, check that all are there, and write the index.

        Returns:
            the recording as it lies at its place when the `with` block has ended.

        Raises:
            DataError: when an image or mask is missing, or as `Multiview` does.
        """
        made = Multiview(
            root=self.folder,
            cameras=self._cameras,
            stamps_s=tuple(float(stamp) for stamp in stamps_s),
            held_out_frames=frozenset(int(frame) for frame in held_out_frames),
            **self._about,
        )
        check_files(made)
        write_json(self.folder / 'multiview.json', _to_json(made))
        self._finished = replace(made, root=self._target)
        return self._finished


def check_files(multiview: Multiview) -> None:
    """Raise a DataError when an image or mask is missing, or an image's size is not its camera's.

    Only the headers of each camera's first image and mask are opened.
    """
    frames = multiview.num_frames
    for view, rig in enumerate(multiview.cameras):
        for kind, path_of in (('images', multiview.image_path), ('masks', multiview.mask_path)):
            folder = path_of(view, 0).parent
            suffix = path_of(view, 0).suffix
            found = {path.name for path in folder.glob(f'*{suffix}')}
            if len(found) != frames:
                raise DataError(
                    f'The camera {rig.name} of {multiview.root} has {len(found)} {kind}, '
                    f'expected {frames}, one for every moment of multiview.json.'
                )
            for frame in range(frames):
                if path_of(view, frame).name not in found:
                    raise DataError(f'The file {path_of(view, frame)} is missing.')
            size = image_size(path_of(view, 0))
            if size != (rig.camera.width, rig.camera.height):
                raise DataError(
                    f'{path_of(view, 0)} is {size[0]}x{size[1]} but its camera is '
                    f'{rig.camera.width}x{rig.camera.height}.'
                )


def _to_json(multiview: Multiview) -> dict[str, Any]:
    return {
        'schema': MULTIVIEW_SCHEMA,
        'kind': MULTIVIEW_KIND,
        'posefield_version': __version__,
        'units': multiview.units,
        'background': multiview.background,
        'image_suffix': multiview.image_suffix,
        'provenance': dict(multiview.provenance),
        'cameras': [camera_to_json(rig) for rig in multiview.cameras],
        'stamps_s': list(multiview.stamps_s),
        'held_out_frames': list(multiview.held_out_frames_sorted),
    }


def _from_json(folder: Path, about: Mapping[str, Any]) -> Multiview:
    path = folder / 'multiview.json'
    try:
        cameras = tuple(camera_from_json(entry) for entry in about['cameras'])
        return Multiview(
            root=folder,
            cameras=cameras,
            stamps_s=tuple(float(stamp) for stamp in about['stamps_s']),
            held_out_frames=frozenset(int(frame) for frame in about['held_out_frames']),
            units=about['units'],
            background=about['background'],
            image_suffix=about['image_suffix'],
            provenance=about.get('provenance', {}),
        )
    except KeyError as error:
        raise DataError(f'The file {path} has no key {error}.') from error
    except (TypeError, ValueError) as error:
        raise DataError(f'The file {path} has a value of the wrong type: {error}.') from error


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise DataError(f'The file {source} cannot be copied to {target}: {error}.') from error
