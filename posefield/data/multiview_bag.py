"""Importer of bags that several cameras are in, with where they stand on TF."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader

from posefield.data.bag_reader import (
    IMAGE_TYPES,
    TransformTree,
    cameras_by_stamp,
    frame_of,
    info_topic_beside,
    message_count,
    messages,
    open_bag,
    picture,
    stamp_seconds,
)
from posefield.data.multiview import Multiview
from posefield.data.recording import OnImage, Recording, Selection, choose_views, write_recording
from posefield.data.rig_camera import mask_of_grey
from posefield.data.unmasked import MaskingConfig, Unmasked, keep_pictures, masked
from posefield.errors import DataError
from posefield.geometry.camera import Camera

DEFAULT_SIZE = 256
# A camera that moves or turns further than this (metres, and entries of a rotation) has moved.
STILL = 1e-3
MASK_NAME = 'mask'


@dataclass(frozen=True)
class BagImport:
    """What the importer of bags is told.

    Attributes:
        world_frame: TF frame in which the cameras stand.
        max_skew_s: how far apart in time images of one moment are at most.
        rectified: whether the images are rectified, so that P of camera_info holds.
        masking: how masks are made for cameras without a topic of masks.

    Raises:
        DataError: for a skew that is not positive.
    """

    world_frame: str = 'world'
    max_skew_s: float = 0.01
    rectified: bool = False
    masking: MaskingConfig = MaskingConfig()

    def __post_init__(self):
        if not self.max_skew_s > 0:
            raise DataError(f'The skew of images must be positive, found {self.max_skew_s} s.')


@dataclass(frozen=True, eq=False)
class _BagCamera:
    """One camera of a bag: topics, calibration, pose and the stamps of its images."""

    name: str
    topic: str
    mask_topic: str | None
    camera: Camera
    T_world_cam: np.ndarray
    stamps_N: np.ndarray


def import_multiview_bag(
    source: Path,
    out: Path,
    selection: Selection | None = None,
    options: BagImport | None = None,
    on_image: OnImage | None = None,
) -> Multiview:
    """Read the images of several cameras of a bag and write them as a recording.

    The camera `left` has the topics `left/image_raw` (or any one image topic in `left`),
    `left/camera_info` and, if it brings masks, `left/mask` (0, 255 at the object, 128 unknown).
    Moments that a camera missed are left out.

    Args:
        source: rosbag2 folder, .mcap, .db3 or ROS 1 .bag file.
        out: folder to write.
        selection: which cameras and how large.
        options: how to read and mask.
        on_image: is told about progress.

    Raises:
        DataError, CameraError, PoseError: when what is there cannot be used.
    """
    selection, options = selection or Selection(), options or BagImport()
    if selection.size is None:
        selection = replace(selection, size=DEFAULT_SIZE)
    out.resolve().parent.mkdir(parents=True, exist_ok=True)
    with (
        open_bag(source) as reader,
        tempfile.TemporaryDirectory(dir=out.resolve().parent, prefix='.bag-') as folder,
    ):
        cameras = _cameras(reader, selection, options)
        moments_VT = _moments(cameras, options.max_skew_s, source)[:, : selection.frames]
        recording = _recording(
            reader, Path(folder), cameras, moments_VT, selection, options, on_image
        )
        return write_recording(recording, out, selection, on_image)


def _cameras(reader: AnyReader, selection: Selection, options: BagImport) -> list[_BagCamera]:
    topics = _image_topics(reader)
    source = reader.paths[0]
    views = choose_views(list(topics), selection, source)
    tree = TransformTree(reader)
    names = list(topics)
    return [_camera(reader, tree, names[view], topics[names[view]], options) for view in views]


def _image_topics(reader: AnyReader) -> dict[str, str]:
    """Return the image topic of each camera, by the camera's name."""
    topics: dict[str, list[str]] = {}
    for connection in reader.connections:
        base = connection.topic.removesuffix('/compressed')
        if connection.msgtype in IMAGE_TYPES and not base.endswith(f'/{MASK_NAME}'):
            name = base.strip('/').rpartition('/')[0].replace('/', '_')
            topics.setdefault(name or base.strip('/'), []).append(connection.topic)
    if not topics:
        raise DataError(f'The bag {reader.paths[0]} has no image topic.')
    return {name: min(found, key=_preference) for name, found in sorted(topics.items())}


def _preference(topic: str) -> tuple[bool, bool, str]:
    """Order image topics of a camera: raw pictures before any other, uncompressed first."""
    return 'image_raw' not in topic, topic.endswith('/compressed'), topic


def _camera(
    reader: AnyReader, tree: TransformTree, name: str, topic: str, options: BagImport
) -> _BagCamera:
    source = reader.paths[0]
    stamps, frame = [], ''
    for message in messages(reader, topic):
        stamps.append(stamp_seconds(message))
        frame = frame_of(message)
    if not stamps:
        raise DataError(f'The topic {topic} of {source} has no image.')
    infos = cameras_by_stamp(reader, info_topic_beside(topic), rectified=options.rectified)
    if len(set(infos.values())) != 1:
        raise DataError(f'The calibration of camera {name} in {source} changes over time.')
    poses = [tree.lookup(options.world_frame, frame, stamp) for stamp in (stamps[0], stamps[-1])]
    if any(pose is None for pose in poses):
        raise DataError(
            f'TF in {source} never has {options.world_frame} -> {frame}, the frame of camera '
            f'{name}; --world-frame names another.'
        )
    if np.abs(poses[0] - poses[1]).max() > STILL:
        raise DataError(f'The camera {name} of {source} moves, expected one that stands still.')
    base = topic.removesuffix('/compressed').rpartition('/')[0]
    masks = (f'{base}/{MASK_NAME}', f'{base}/{MASK_NAME}/compressed')
    return _BagCamera(
        name=name,
        topic=topic,
        mask_topic=next((mask for mask in masks if message_count(reader, mask)), None),
        camera=next(iter(infos.values())),
        T_world_cam=poses[0],
        stamps_N=np.array(sorted(stamps)),
    )


def _moments(cameras: Sequence[_BagCamera], max_skew_s: float, source: Path) -> np.ndarray:
    """Return the stamps (V, T) of images that were taken together."""
    moments = []
    for stamp_s in cameras[0].stamps_N:
        nearest = [
            camera.stamps_N[np.abs(camera.stamps_N - stamp_s).argmin()] for camera in cameras
        ]
        later = not moments or all(np.array(nearest) > moments[-1])
        if later and np.ptp(nearest) <= max_skew_s:
            moments.append(nearest)
    if len(moments) < 2:
        counts = ', '.join(f'{camera.name} {len(camera.stamps_N)}' for camera in cameras)
        raise DataError(
            f'The cameras of {source} are not synchronised: {len(moments)} moments have an image '
            f'of each within {max_skew_s:g} s ({counts} images).'
        )
    return np.array(moments).T


def _recording(
    reader: AnyReader,
    folder: Path,
    cameras: Sequence[_BagCamera],
    moments_VT: np.ndarray,
    selection: Selection,
    options: BagImport,
    on_image: OnImage | None,
) -> Recording:
    kept = [
        keep_pictures(
            folder / 'images',
            camera.name,
            _pictures(reader, camera.topic, stamps_T),
            camera.camera,
            camera.T_world_cam,
            2 * selection.size,
        )
        for camera, stamps_T in zip(cameras, moments_VT, strict=True)
    ]
    rigs = tuple(rig for rig, _ in kept)
    unmasked = Unmasked(folder / 'images', rigs, moments_VT.shape[1])
    if all(camera.mask_topic for camera in cameras):
        masks = _kept_masks(reader, folder / 'masks', cameras, moments_VT, selection)

        def read(view: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
            return unmasked.picture(view, frame), mask_of_grey(masks.picture(view, frame)[..., 0])

    else:
        rigs, read = masked(unmasked, {}, options.masking, on_image)
    return Recording(
        source=Path(reader.paths[0]),
        cameras=rigs,
        stamps_s=tuple(moments_VT.mean(axis=0)),
        read=read,
        provenance={
            'format': 'bag',
            'images': [camera.topic for camera in cameras],
            'dropped': int(max(len(c.stamps_N) for c in cameras) - moments_VT.shape[1]),
        },
    )


def _kept_masks(
    reader: AnyReader,
    folder: Path,
    cameras: Sequence[_BagCamera],
    moments_VT: np.ndarray,
    selection: Selection,
) -> Unmasked:
    """Undistort the masks of all moments into a folder, as the images are."""
    kept = []
    for camera, stamps_T in zip(cameras, moments_VT, strict=True):
        masks = _pictures(reader, camera.mask_topic, stamps_T)
        rig, count = keep_pictures(
            folder, camera.name, masks, camera.camera, camera.T_world_cam, 2 * selection.size
        )
        if count != len(stamps_T):
            raise DataError(
                f'The topic {camera.mask_topic} of {reader.paths[0]} has a mask with the stamp of '
                f'its image for {count} of {len(stamps_T)} moments.'
            )
        kept.append(rig)
    return Unmasked(folder, tuple(kept), moments_VT.shape[1])


def _pictures(reader: AnyReader, topic: str, stamps_T: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the pictures (H, W, 3) uint8 RGB with these stamps, in the order of time."""
    wanted = set(stamps_T.tolist())
    last: Any = None
    for message in messages(reader, topic):
        stamp_s = stamp_seconds(message)
        if stamp_s in wanted:
            if last is not None and stamp_s < last:
                raise DataError(
                    f'The images on {topic} of {reader.paths[0]} are not in the order of their '
                    'stamps.'
                )
            last = stamp_s
            wanted.remove(stamp_s)
            yield picture(message)
