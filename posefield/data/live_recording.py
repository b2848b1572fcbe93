"""Making a multi-view recording from cameras while they see, without knowing how it will go on.

Cameras may be missing at some moments, come late or leave for good: in the end those cameras are
kept that were there most of the time, and the moments that all of these saw.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from posefield.data.background import Background
from posefield.data.image_files import write_rgb
from posefield.data.multiview import Multiview
from posefield.data.recording import OnImage, Recording, Selection, write_recording
from posefield.data.rig_camera import LEAST_CAMERAS, OBJECT, RigCamera, mask_of_grey
from posefield.data.unmasked import (
    MaskingConfig,
    Unmasked,
    find_background,
    kept_file,
    masked,
    plain_picture,
)
from posefield.errors import DataError
from posefield.geometry.camera import Camera

LEAST_MOMENTS = 3
# A camera that moves or turns further than this (world units, and entries of a rotation) moved.
STILL = 1e-3
# A camera that missed more than this share of the moments is left out.
MOST_MISSED = 0.5


@dataclass(frozen=True, eq=False)
class LiveView:
    """What one camera saw at one moment.

    Attributes:
        image: (H, W, 3) uint8 RGB, as it came.
        mask_grey: (H, W) uint8: 0 background, 255 object, 128 unknown; None where none came.
        camera: of the image.
        T_world_cam: (4, 4).
    """

    image: np.ndarray
    mask_grey: np.ndarray | None
    camera: Camera
    T_world_cam: np.ndarray


@dataclass(frozen=True)
class LiveConfig:
    """How a recording is made of what came.

    Attributes:
        size: pixels of the longer side of the images.
        held_out_frames: share of the moments, the last ones, that are for tests only.
        masking: how masks are made where none came.
    """

    size: int = 256
    held_out_frames: float = 0.0
    masking: MaskingConfig = MaskingConfig()


@dataclass(eq=False)
class _Seen:
    """One camera: how it was at first, and the moments that it saw."""

    camera: Camera
    T_world_cam: np.ndarray
    kept: Camera
    moments: list[int] = field(default_factory=list)
    masked_moments: set[int] = field(default_factory=set)


class LiveRecorder:
    """Keeps what cameras see, moment by moment; `finish` makes the recording.

    Not safe for threads by itself.

    Args:
        folder: empty, for the pictures meanwhile; whoever gave it deletes it.
        config: how.
    """

    def __init__(self, folder: Path, config: LiveConfig | None = None):
        self._folder = folder
        self._config = config or LiveConfig()
        self._selection = Selection(
            size=self._config.size, held_out_frames=self._config.held_out_frames
        )
        self._stamps_s: list[float] = []
        self._cameras: dict[str, _Seen] = {}

    @property
    def moments(self) -> int:
        """How many moments were taken."""
        return len(self._stamps_s)

    @property
    def seconds(self) -> float:
        """The time from the first to the last moment."""
        return self._stamps_s[-1] - self._stamps_s[0] if self._stamps_s else 0.0

    def add(self, stamp_s: float, views: Mapping[str, LiveView]) -> list[str]:
        """Take a moment and return, in sentences, what of it could not be used.

        Args:
            stamp_s: when it was, later than the moment before.
            views: by camera; those that missed it are not in it.
        """
        if self._stamps_s and stamp_s <= self._stamps_s[-1]:
            return [
                f'The images of {stamp_s:.3f} are not later than those before, of '
                f'{self._stamps_s[-1]:.3f}.'
            ]
        moment, problems = self.moments, []
        for name, view in views.items():
            problem = self._problem(name, view)
            if problem is None:
                self._keep(name, moment, view)
            else:
                problems.append(problem)
        if any(seen.moments and seen.moments[-1] == moment for seen in self._cameras.values()):
            self._stamps_s.append(stamp_s)
        return problems

    def _problem(self, name: str, view: LiveView) -> str | None:
        seen = self._cameras.get(name)
        if seen is None:
            return None
        if view.camera != seen.camera:
            return (
                f'The camera {name} has changed: it was calibrated for '
                f'{seen.camera.width}x{seen.camera.height} when the recording began and is for '
                f'{view.camera.width}x{view.camera.height} now.'
            )
        moved = float(np.abs(view.T_world_cam - seen.T_world_cam).max())
        if moved > STILL:
            return (
                f'The camera {name} has moved since the recording began, by up to {moved:.3g} in '
                'its pose; expected one that stands still.'
            )
        return None

    def _keep(self, name: str, moment: int, view: LiveView) -> None:
        longest_side = 2 * self._config.size
        picture, kept = plain_picture(view.image, view.camera, longest_side)
        seen = self._cameras.setdefault(name, _Seen(view.camera, view.T_world_cam, kept))
        write_rgb(kept_file(self._folder / 'images', name, moment), picture)
        seen.moments.append(moment)
        if view.mask_grey is not None:
            mask = np.repeat(view.mask_grey[..., None], 3, axis=2)
            mask, _ = plain_picture(mask, view.camera, longest_side)
            write_rgb(kept_file(self._folder / 'masks', name, moment), mask)
            seen.masked_moments.add(moment)

    def finish(
        self,
        out: Path,
        *,
        provenance: Mapping[str, object] | None = None,
        on_image: OnImage | None = None,
    ) -> Multiview:
        """Mask what was kept where no masks came, and write the recording.

        Args:
            out: folder to write.
            provenance: where it is from, for people.
            on_image: told of masks and images, how many of how many.

        Raises:
            DataError: when too few cameras or moments were kept, or nothing moved.
            BundleError: when the folder may not be replaced.
        """
        names, moments = self._chosen()
        for kind in ('images', 'masks'):
            for name in names:
                self._renumber(kind, name, moments)
        rigs = tuple(
            RigCamera(name, self._cameras[name].kept, self._cameras[name].T_world_cam)
            for name in names
        )
        unmasked = Unmasked(self._folder / 'images', rigs, len(moments))
        backgrounds: dict[str, Background] = {}
        if all(self._cameras[name].masked_moments.issuperset(moments) for name in names):
            read = _masked_by_topic(unmasked, self._folder / 'masks')
            _check_objects(unmasked, self._folder / 'masks')
        else:
            masking = self._config.masking
            backgrounds = {
                rig.name: find_background(unmasked, view, masking) for view, rig in enumerate(rigs)
            }
            rigs, read = masked(unmasked, backgrounds, masking, on_image)
        recording = Recording(
            source=out,
            cameras=rigs,
            stamps_s=tuple(self._stamps_s[moment] for moment in moments),
            read=read,
            provenance={
                **(provenance or {}),
                'format': 'cameras',
                'dropped': self.moments - len(moments),
                'masks': self._config.masking.method if backgrounds else 'cameras',
            },
            backgrounds=backgrounds,
        )
        return write_recording(recording, out, self._selection, on_image)

    def _chosen(self) -> tuple[list[str], list[int]]:
        """Return the cameras that were there most of the time, and what all of them saw."""
        least = (1.0 - MOST_MISSED) * self.moments
        names = [name for name, seen in self._cameras.items() if len(seen.moments) >= least]
        counts = ', '.join(f'{name} {len(seen.moments)}' for name, seen in self._cameras.items())
        found = f'found {self.moments} moments ({counts or "no images"})'
        if len(names) < LEAST_CAMERAS:
            raise DataError(
                f'A recording needs at least {LEAST_CAMERAS} cameras that see most moments, '
                f'{found}.'
            )
        common = set.intersection(*(set(self._cameras[name].moments) for name in names))
        if len(common) < LEAST_MOMENTS:
            raise DataError(
                f'A recording needs at least {LEAST_MOMENTS} moments that {", ".join(names)} all '
                f'see, found {len(common)} in {self.moments} ({counts}).'
            )
        return names, sorted(common)

    def _renumber(self, kind: str, name: str, moments: list[int]) -> None:
        """Name the kept pictures of a camera by their place among the moments."""
        for frame, moment in enumerate(moments):
            path = kept_file(self._folder / kind, name, moment)
            if path.exists():
                path.rename(kept_file(self._folder / kind, name, frame))


def _masked_by_topic(unmasked: Unmasked, folder: Path):
    masks = Unmasked(folder, unmasked.cameras, unmasked.frames)

    def read(view: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        return unmasked.picture(view, frame), mask_of_grey(masks.picture(view, frame)[..., 0])

    return read


def _check_objects(unmasked: Unmasked, folder: Path) -> None:
    """Raise a DataError for a camera whose masks are all empty."""
    masks = Unmasked(folder, unmasked.cameras, unmasked.frames)
    for view, rig in enumerate(unmasked.cameras):
        if not any(
            (mask_of_grey(masks.picture(view, frame)[..., 0]) == OBJECT).any()
            for frame in range(unmasked.frames)
        ):
            raise DataError(f'The masks of camera {rig.name} never show an object.')
