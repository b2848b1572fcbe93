"""Importing a recording by the importer of its format."""

from dataclasses import dataclass
from pathlib import Path

from posefield.data.multiview import MULTIVIEW_KIND, Multiview
from posefield.data.multiview_bag import BagImport, import_multiview_bag
from posefield.data.multiview_videos import VideoImport, import_videos
from posefield.data.recording import (
    OnImage,
    Recording,
    Selection,
    read_multiview,
    write_recording,
)
from posefield.data.unmasked import MaskingConfig
from posefield.data.wim_pickle import read_pickle
from posefield.data.wim_robots import read_robots
from posefield.errors import DataError
from posefield.learning.progress import make_progress
from posefield.storage import ensure_replaceable


@dataclass(frozen=True)
class RecordingOptions:
    """What importers are told.

    Attributes:
        rate_hz: frames a second (wim-robots, wim-pickle).
        calibration, every, background_images: of videos, see `VideoImport`.
        method: how backgrounds are found, see `MaskingConfig`.
        crop: whether images are cut to the object (videos, bags without masks).
        world_frame, max_skew_s, rectified: of bags, see `BagImport`.
    """

    rate_hz: float = 15.0
    calibration: Path | None = None
    every: int = 1
    background_images: Path | None = None
    method: str = 'video'
    crop: bool = True
    world_frame: str = 'world'
    max_skew_s: float = 0.01
    rectified: bool = False


def import_recording(
    source: Path,
    recording_format: str,
    out: Path,
    selection: Selection,
    options: RecordingOptions,
    quiet: bool = False,
) -> Multiview:
    """Read a recording of some format and write it as a folder.

    Raises:
        DataError, CameraError, PoseError, BundleError: when it cannot be read or written.
    """
    if not source.exists():
        raise DataError(f'{source} does not exist.')
    ensure_replaceable(out, MULTIVIEW_KIND)
    progress = make_progress(quiet)
    progress.start('images', total_fraction_known=True)
    try:
        return _import(
            source,
            recording_format,
            out,
            selection,
            options,
            lambda done, total: progress.update('images', done / total, {}, None),
        )
    finally:
        progress.close()


def _import(
    source: Path,
    recording_format: str,
    out: Path,
    selection: Selection,
    options: RecordingOptions,
    on_image: OnImage,
) -> Multiview:
    masking = MaskingConfig(method=options.method, crop=options.crop)
    if recording_format == 'videos':
        videos = VideoImport(
            calibration=options.calibration,
            every=options.every,
            backgrounds=options.background_images,
            masking=masking,
        )
        return import_videos(source, out, selection, videos, on_image)
    if recording_format == 'bag':
        bag = BagImport(
            world_frame=options.world_frame,
            max_skew_s=options.max_skew_s,
            rectified=options.rectified,
            masking=masking,
        )
        return import_multiview_bag(source, out, selection, bag, on_image)
    return write_recording(
        _read(source, recording_format, options.rate_hz), out, selection, on_image
    )


def _read(source: Path, recording_format: str, rate_hz: float) -> Recording:
    if recording_format == 'wim-robots':
        return read_robots(source, rate_hz=rate_hz)
    if recording_format == 'wim-pickle':
        return read_pickle(source, rate_hz=rate_hz)
    return read_multiview(source)
