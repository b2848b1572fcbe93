"""Videos of several cameras, frame by frame."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from posefield.errors import DataError

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.m4v')


@dataclass(frozen=True)
class Video:
    """A video file.

    Attributes:
        path: the file; its name without suffix is the camera's.
        width, height: of its pictures in pixels.
        rate_hz: frames a second.
        frames: how many it has, counted.
    """

    path: Path
    width: int
    height: int
    rate_hz: float
    frames: int

    @property
    def name(self) -> str:
        """The name of its camera."""
        return self.path.stem

    def pictures(self, every: int = 1) -> Iterator[np.ndarray]:
        """Yield every N-th picture, (H, W, 3) uint8 RGB."""
        for index, frame in enumerate(_frames(self.path)):
            if index % every == 0:
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def open_videos(source: Path) -> list[Video]:
    """Return the videos in a folder or one folder below it, by name.

    Raises:
        DataError: when there is none, one does not open, or they do not belong together: another
            number of frames or rate.
    """
    files = sorted([*source.glob('*'), *source.glob('*/*')])
    videos = [
        _open(path) for path in files if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
    ]
    if not videos:
        raise DataError(f'{source} has no video, expected {", ".join(VIDEO_SUFFIXES)}.')
    first = videos[0]
    for video in videos[1:]:
        if video.frames != first.frames:
            raise DataError(
                f'The videos of {source} are not synchronised: {first.path.name} has '
                f'{first.frames} frames, {video.path.name} has {video.frames}.'
            )
        if abs(video.rate_hz - first.rate_hz) > 1e-3 * first.rate_hz:
            raise DataError(
                f'The videos of {source} are not synchronised: {first.path.name} has '
                f'{first.rate_hz:g} frames a second, {video.path.name} has {video.rate_hz:g}.'
            )
    return videos


def _open(path: Path) -> Video:
    capture = cv2.VideoCapture(str(path))
    width, height = (
        int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    rate_hz = capture.get(cv2.CAP_PROP_FPS)
    frames = 0
    while capture.grab():
        frames += 1
    capture.release()
    if not frames or rate_hz <= 0:
        raise DataError(f'The video {path} does not open: it is damaged or no video.')
    return Video(path, width, height, float(rate_hz), frames)


def _frames(path: Path) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    try:
        while True:
            read, frame = capture.read()
            if not read:
                return
            yield frame
    finally:
        capture.release()
