"""What importers have in common: a recording somewhere, and what is taken from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from posefield.data.background import Background
from posefield.data.background_files import write_backgrounds
from posefield.data.multiview import Multiview, MultiviewWriter
from posefield.data.rig_camera import BACKGROUND, OBJECT, UNRELIABLE, RigCamera
from posefield.errors import DataError
from posefield.geometry.images import resize

# Returns the image (H, W, 3) uint8 RGB and the mask (H, W) of 0, 1 and 2 of (view, frame).
ReadView = Callable[[int, int], tuple[np.ndarray, np.ndarray]]
# Told how many of how many images are written.
OnImage = Callable[[int, int], None]


@dataclass(frozen=True)
class Selection:
    """What is taken from a recording.

    Attributes:
        cameras: names; empty for all.
        held_out_cameras: names of cameras that are for tests only.
        frames: how many, the first ones; None takes all.
        held_out_frames: share of these frames, the last ones, that are for tests only.
        size: pixels of the longer side of the images; None keeps them.
        background: what pixels outside the object are to become; None leaves it to the source.

    Raises:
        DataError: for a share outside [0, 1) or a size below 8.
    """

    cameras: tuple[str, ...] = ()
    held_out_cameras: tuple[str, ...] = ()
    frames: int | None = None
    held_out_frames: float = 0.2
    size: int | None = None
    background: Literal['white', 'black'] | None = None

    def __post_init__(self):
        if not 0 <= self.held_out_frames < 1:
            raise DataError(
                'The share of frames that are held out must be at least 0 and below 1, found '
                f'{self.held_out_frames}.'
            )
        if self.size is not None and self.size < 8:
            raise DataError(f'Images must have at least 8 pixels a side, found {self.size}.')


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording that has not been imported yet.

    Attributes:
        source: what it was read from.
        cameras: of its images, undistorted.
        stamps_s: rising times in seconds.
        read: gives an image and its mask.
        units: of the poses' translations.
        background: what pixels outside the object are to become.
        provenance: kept in multiview.json.
        backgrounds: what cameras see without the object, undistorted and not cut, for those who
            mask more pictures of theirs.
    """

    source: Path
    cameras: tuple[RigCamera, ...]
    stamps_s: tuple[float, ...]
    read: ReadView
    units: Literal['metres', 'arbitrary'] = 'metres'
    background: Literal['white', 'black'] = 'black'
    provenance: Mapping[str, Any] = field(default_factory=dict)
    backgrounds: Mapping[str, Background] = field(default_factory=dict)


def write_recording(
    recording: Recording,
    out: Path,
    selection: Selection | None = None,
    on_image: OnImage | None = None,
) -> Multiview:
    """Write what is selected of a recording as a folder.

    Raises:
        DataError: for an unknown camera, too few cameras or frames, or an image that cannot be
            read.
        BundleError: when the folder may not be replaced.
    """
    selection = selection or Selection()
    views = choose_views([rig.name for rig in recording.cameras], selection, recording.source)
    cameras = [_selected(recording.cameras[view], selection) for view in views]
    stamps_s = recording.stamps_s[: selection.frames]
    frames = len(stamps_s)
    with MultiviewWriter(
        out,
        cameras,
        units=recording.units,
        background=selection.background or recording.background,
        provenance={**recording.provenance, 'source': recording.source.resolve().name},
    ) as writer:
        for index, (view, rig) in enumerate(zip(views, cameras, strict=True)):
            size = rig.camera.width, rig.camera.height
            for frame in range(frames):
                image, mask = recording.read(view, frame)
                writer.add(index, frame, resize(image, *size), resize_mask(mask, *size))
                if on_image is not None:
                    on_image(index * frames + frame + 1, len(views) * frames)
        write_backgrounds(writer.folder, recording.backgrounds)
        return writer.finish(stamps_s, last_frames(frames, selection.held_out_frames))


def read_multiview(folder: Path) -> Recording:
    """Read a recording that was imported already, to take a part of it or make it smaller.

    Raises:
        DataError, PoseError, CameraError, BundleError: when it cannot be used.
    """
    multiview = Multiview.load(folder)

    def read(view: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        image = np.rint(255 * multiview.read_image(view, frame)).astype(np.uint8)
        return image, multiview.read_mask(view, frame)

    return Recording(
        source=folder,
        cameras=multiview.cameras,
        stamps_s=multiview.stamps_s,
        read=read,
        units=multiview.units,
        background=multiview.background,
        provenance=multiview.provenance,
    )


def choose_views(names: Sequence[str], selection: Selection, source: Path) -> list[int]:
    """Return the indices of the selected cameras, in the order of the recording.

    Raises:
        DataError: for a name that no camera has.
    """
    wanted = set(selection.cameras or names) | set(selection.held_out_cameras)
    unknown = sorted(wanted - set(names))
    if unknown:
        raise DataError(f'{source} has no camera {unknown[0]!r}, found {", ".join(names)}.')
    return [view for view, name in enumerate(names) if name in wanted]


def last_frames(count: int, share: float) -> range:
    """Return the indices of the last share of frames."""
    return range(count - round(share * count), count)


def resize_mask(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return a mask of 0, 1 and 2 at another size: what most of a pixel is, else unreliable."""
    if mask.shape == (height, width):
        return mask
    shares = {
        value: resize((mask == value).astype(np.float32), width, height)
        for value in (BACKGROUND, OBJECT)
    }
    resized = np.full((height, width), UNRELIABLE, np.uint8)
    resized[shares[BACKGROUND] > 0.5] = BACKGROUND
    resized[shares[OBJECT] >= 0.5] = OBJECT
    return resized


def _selected(rig: RigCamera, selection: Selection) -> RigCamera:
    """Return the camera at its new size, held out or not."""
    camera = rig.camera
    if selection.size is not None:
        scale = selection.size / max(camera.width, camera.height)
        camera = camera.resized(
            max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
        )
    held_out = rig.held_out or rig.name in selection.held_out_cameras
    return replace(rig, camera=camera, held_out=held_out)
