"""Importer of calibrated videos, which brings masks of its own making."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
import tempfile

import numpy as np

from posefield.data.background import Background
from posefield.data.image_files import IMAGE_SUFFIXES, read_rgb
from posefield.data.multiview import Multiview
from posefield.data.recording import OnImage, Recording, Selection, choose_views, write_recording
from posefield.data.rig_calibration import CalibratedCamera, find_calibration, read_calibration
from posefield.data.unmasked import MaskingConfig, Unmasked, keep_pictures, masked
from posefield.data.video_rig import camera_of_video
from posefield.data.videos import Video, open_videos
from posefield.errors import DataError
from posefield.geometry.images import resize, undistort

DEFAULT_SIZE = 256


@dataclass(frozen=True)
class VideoImport:
    """What the importer of videos is told.

    Attributes:
        calibration: file or folder; None looks for it beside the videos.
        every: take every N-th frame.
        backgrounds: folder with a picture of the empty background for each camera, by its name;
            None finds backgrounds in the videos.
        masking: how masks are made.

    Raises:
        DataError: for a step below 1.
    """

    calibration: Path | None = None
    every: int = 1
    backgrounds: Path | None = None
    masking: MaskingConfig = MaskingConfig()

    def __post_init__(self):
        if self.every < 1:
            raise DataError(f'Every N-th frame can be taken from N = 1 on, found {self.every}.')


def import_videos(
    source: Path,
    out: Path,
    selection: Selection | None = None,
    options: VideoImport | None = None,
    on_image: OnImage | None = None,
) -> Multiview:
    """Read synchronised videos with a calibration and write them as a recording.

    Pictures are undistorted, masked by what differs from the background, and cut to the object.
    The longer side of what is cut out gets 256 pixels unless the selection says another size.

    Args:
        source: folder with one video a camera, here or one folder below.
        out: folder to write.
        selection: which cameras and how large.
        options: how to read and mask.
        on_image: is told about progress: masks are half of it.

    Raises:
        DataError, CameraError, PoseError: when what is there cannot be used.
    """
    selection, options = selection or Selection(), options or VideoImport()
    if selection.size is None:
        selection = replace(selection, size=DEFAULT_SIZE)
    videos = open_videos(source)
    calibration = options.calibration or find_calibration(source)
    calibrated = {camera.name: camera for camera in read_calibration(calibration)}
    views = choose_views([video.name for video in videos], selection, source)
    pairs = [
        (videos[view], camera_of_video(videos[view], calibrated, calibration)) for view in views
    ]
    out.resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.resolve().parent, prefix='.videos-') as folder:
        unmasked = _undistorted(Path(folder), pairs, selection, options.every)
        backgrounds = _backgrounds(pairs, unmasked, options.backgrounds)
        cameras, read = masked(unmasked, backgrounds, options.masking, _half(on_image, 0))
        recording = Recording(
            source=source,
            cameras=cameras,
            stamps_s=tuple(
                frame * options.every / videos[0].rate_hz for frame in range(unmasked.frames)
            ),
            read=read,
            provenance={
                'format': 'videos',
                'calibration': calibration.name,
                'every': options.every,
                'masks': 'background images' if options.backgrounds else options.masking.method,
            },
        )
        return write_recording(recording, out, selection, _half(on_image, 1))


def _undistorted(
    folder: Path,
    pairs: Sequence[tuple[Video, CalibratedCamera]],
    selection: Selection,
    every: int,
) -> Unmasked:
    """Write undistorted pictures, twice as large as wanted since they will be cut."""
    kept = [
        keep_pictures(
            folder,
            video.name,
            _first(video.pictures(every), selection.frames),
            calibrated.at_size(video.width, video.height),
            calibrated.T_world_cam,
            2 * selection.size,
        )
        for video, calibrated in pairs
    ]
    return Unmasked(folder, tuple(rig for rig, _ in kept), kept[0][1])


def _first(pictures: Iterable[np.ndarray], count: int | None) -> Iterator[np.ndarray]:
    for index, picture in enumerate(pictures):
        if index == count:
            return
        yield picture


def _backgrounds(
    pairs: Sequence[tuple[Video, CalibratedCamera]], unmasked: Unmasked, folder: Path | None
) -> dict[str, Background]:
    """Return the backgrounds as large as the other pictures, undistorted, by camera."""
    if folder is None:
        return {}
    backgrounds = {}
    for (video, calibrated), rig in zip(pairs, unmasked.cameras, strict=True):
        files = [folder / f'{video.name}{suffix}' for suffix in IMAGE_SUFFIXES]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            raise DataError(
                f'{folder} has no background for camera {video.name}, expected {files[0].name}.'
            )
        picture = read_rgb(found)
        height, width = picture.shape[:2]
        picture, _ = undistort(picture, calibrated.at_size(width, height))
        picture = resize(picture, rig.camera.width, rig.camera.height)
        backgrounds[video.name] = Background.of_image(picture)
    return backgrounds


def _half(on_image: OnImage | None, half: int) -> OnImage | None:
    """Return what is told about one half of the work."""
    if on_image is None:
        return None
    return lambda done, total: on_image(done + half * total, 2 * total)
