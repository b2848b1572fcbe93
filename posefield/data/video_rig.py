"""Synchronised videos with a calibration, moment by moment."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posefield.data.rig_calibration import CalibratedCamera, find_calibration, read_calibration
from posefield.data.videos import Video, open_videos
from posefield.errors import DataError
from posefield.geometry.camera import Camera
from posefield.geometry.images import resize


@dataclass(frozen=True, eq=False)
class RigVideo:
    """The video of one camera.

    Attributes:
        video: the file.
        camera: at the size of the pictures that are given, with its distortion.
        T_world_cam: (4, 4) pose, optical axes.
    """

    video: Video
    camera: Camera
    T_world_cam: np.ndarray

    @property
    def name(self) -> str:
        """The name of the camera."""
        return self.video.name


@dataclass(frozen=True, eq=False)
class VideoRig:
    """Videos of several cameras of the same moments.

    Attributes:
        videos: one a camera.
        every: every N-th picture is given.
    """

    videos: tuple[RigVideo, ...]
    every: int = 1

    @property
    def period_s(self) -> float:
        """Seconds from moment to moment."""
        return self.every / self.videos[0].video.rate_hz

    @property
    def num_moments(self) -> int:
        """How many moments there are."""
        return -(-self.videos[0].video.frames // self.every)

    def moments(self) -> Iterator[list[np.ndarray]]:
        """Yield the pictures, (H, W, 3) uint8 RGB, of one moment after another."""
        streams = [rig.video.pictures(self.every) for rig in self.videos]
        for pictures in zip(*streams, strict=False):
            yield [
                resize(picture, rig.camera.width, rig.camera.height)
                for picture, rig in zip(pictures, self.videos, strict=True)
            ]


def open_video_rig(
    source: Path,
    calibration: Path | None = None,
    cameras: Sequence[str] = (),
    size: int | None = None,
    every: int = 1,
) -> VideoRig:
    """Open videos and their calibration.

    Args:
        source: folder with one video a camera, here or one folder below.
        calibration: file or folder; None looks for it beside the videos.
        cameras: names of those to take; empty takes all.
        size: pixels of the longer side of the pictures; None keeps them.
        every: take every N-th picture.

    Raises:
        DataError, CameraError, PoseError: when what is there cannot be used.
    """
    videos = {video.name: video for video in open_videos(source)}
    unknown = sorted(set(cameras) - set(videos))
    if unknown:
        raise DataError(f'{source} has no camera {unknown[0]!r}, found {", ".join(videos)}.')
    calibration = calibration or find_calibration(source)
    calibrated = {camera.name: camera for camera in read_calibration(calibration)}
    chosen = []
    for video in (videos[name] for name in cameras or videos):
        camera_in_file = camera_of_video(video, calibrated, calibration)
        camera = camera_in_file.at_size(video.width, video.height)
        if size is not None:
            scale = size / max(video.width, video.height)
            camera = camera.resized(
                max(1, round(video.width * scale)), max(1, round(video.height * scale))
            )
        chosen.append(RigVideo(video, camera, camera_in_file.T_world_cam))
    return VideoRig(tuple(chosen), every)


def camera_of_video(
    video: Video, calibrated: Mapping[str, CalibratedCamera], calibration: Path
) -> CalibratedCamera:
    """Return the camera that a video is from.

    Raises:
        DataError: when the calibration has none of its name.
    """
    if video.name not in calibrated:
        raise DataError(
            f'The calibration {calibration} has no camera {video.name} for the video '
            f'{video.path.name}, found {", ".join(calibrated)}.'
        )
    return calibrated[video.name]
