"""Importer of bags: images, their calibration, and where the camera was."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader

from posefield.data.bag_reader import (
    TransformTree,
    camera_at,
    camera_trajectory,
    cameras_by_stamp,
    frame_of,
    info_topic_beside,
    is_compressed,
    messages,
    only_image_topic,
    open_bag,
    picture,
    stamp_seconds,
)
from posefield.data.image_files import write_rgb
from posefield.data.scene import Frame, Scene, check_image_size
from posefield.data.splits import DEFAULT_HOLD_OUT, hold_out
from posefield.errors import DataError
from posefield.geometry.camera import Camera
from posefield.geometry.poses import pose_errors

PNG_START = b'\x89PNG'
JPEG_START = b'\xff\xd8'


@dataclass(frozen=True)
class BagTopics:
    """What is read from a bag.

    Attributes:
        image: topic of raw or compressed images; None takes the only one.
        camera_info: topic of their calibration; None takes the one beside the images.
        pose: topic of camera poses; None takes TF.
        map_frame: TF frame in which the poses are; not used with a pose topic.
        rectified: whether the images are rectified, so that P of camera_info holds.
    """

    image: str | None = None
    camera_info: str | None = None
    pose: str | None = None
    map_frame: str = 'map'
    rectified: bool = False


@dataclass(frozen=True)
class Thinning:
    """How far the camera moves or turns before another image is taken; None is no criterion.

    With both, either is enough.

    Raises:
        DataError: for a number that is not positive.
    """

    min_distance: float | None = None
    min_angle_deg: float | None = None

    def __post_init__(self):
        for value in (self.min_distance, self.min_angle_deg):
            if value is not None and not value > 0:
                raise DataError(f'Images can be thinned by positive steps only, got {value}.')

    def takes(self, T_map_cam: np.ndarray, T_map_last: np.ndarray | None) -> bool:
        """Whether an image adds enough to the last one taken."""
        if T_map_last is None or (self.min_distance is None and self.min_angle_deg is None):
            return True
        step = pose_errors(T_map_cam, T_map_last)
        moved = self.min_distance is not None and step.translation >= self.min_distance
        turned = self.min_angle_deg is not None and step.rotation_deg >= self.min_angle_deg
        return moved or turned


PoseLookup = Callable[[Any], np.ndarray | None]


def read_bag(
    source: Path | str,
    images_folder: Path | str,
    *,
    topics: BagTopics | None = None,
    thinning: Thinning | None = None,
    every: int | None = None,
) -> Scene:
    """Read a bag and write its pictures to a folder.

    Poses are interpolated to the stamps of the images; images further than 50 ms from a pose
    are skipped and listed.  Raw images become PNG files, compressed ones stay as they are.

    Args:
        source: rosbag2 folder, .mcap, .db3 or ROS 1 .bag file.
        images_folder: where to write the images.
        topics: what to read.
        thinning: which images to leave out.
        every: hold out every N-th image; None is every 6th.

    Returns:
        The scene, in metres.

    Raises:
        DataError, PoseError, CameraError: when what is there cannot be used.
    """
    topics = topics or BagTopics()
    with open_bag(Path(source)) as reader:
        image_topic = topics.image or only_image_topic(reader)
        first = next(messages(reader, image_topic), None)
        if first is None:
            raise DataError(f'The topic {image_topic} of {source} has no image.')
        info_topic = topics.camera_info or info_topic_beside(image_topic)
        cameras = cameras_by_stamp(reader, info_topic, rectified=topics.rectified)
        pose_of = _pose_lookup(reader, frame_of(first), topics)
        writer = _FrameWriter(Path(images_folder), cameras, pose_of, thinning or Thinning())
        for message in messages(reader, image_topic):
            writer.add(message)
    if not writer.frames:
        wanted = topics.pose or f'TF ({topics.map_frame} -> the camera)'
        raise DataError(
            f'None of the {len(writer.skipped)} images on {image_topic} of {source} has a pose '
            f'by {wanted} within 50 ms.'
        )
    frames = sorted(writer.frames, key=lambda frame: frame.name)
    return Scene(
        root=Path(source),
        frames=tuple(frames),
        splits=hold_out(
            (frame.name for frame in frames), DEFAULT_HOLD_OUT if every is None else every
        ),
        units='metres',
        skipped=tuple(writer.skipped),
        provenance={
            'format': 'bag',
            'source': Path(source).resolve().name,
            'images': image_topic,
            'poses': topics.pose or f'TF from {topics.map_frame}',
            'thinned_out': writer.thinned_out,
        },
    )


def _pose_lookup(reader: AnyReader, camera_frame: str, topics: BagTopics) -> PoseLookup:
    """Return what finds T_map_cam of an image message, or None where it is not known."""
    tree = TransformTree(reader)
    if topics.pose is None:
        return lambda message: tree.lookup(
            topics.map_frame, frame_of(message), stamp_seconds(message)
        )
    trajectory = camera_trajectory(reader, tree, topics.pose, camera_frame)
    return lambda message: trajectory.at(stamp_seconds(message))


class _FrameWriter:
    """Turns image messages into frames with files, one after another."""

    def __init__(
        self,
        folder: Path,
        cameras: dict[float, Camera],
        pose_of: PoseLookup,
        thinning: Thinning,
    ):
        self.frames: list[Frame] = []
        self.skipped: list[str] = []
        self.thinned_out = 0
        self._folder = folder
        self._cameras = cameras
        self._pose_of = pose_of
        self._thinning = thinning
        self._names: set[str] = set()

    def add(self, message: Any) -> None:
        """Write the image of a message, unless it has no pose, is thinned out or comes twice."""
        stamp = message.header.stamp
        name = f'{stamp.sec:010d}_{stamp.nanosec:09d}{_suffix(message)}'
        T_map_cam = self._pose_of(message)
        if T_map_cam is None or name in self._names:
            self.skipped.append(name)
            return
        last = self.frames[-1].T_map_cam if self.frames else None
        if not self._thinning.takes(T_map_cam, last):
            self.thinned_out += 1
            return
        stamp_s = stamp_seconds(message)
        camera = camera_at(self._cameras, stamp_s)
        path = self._folder / name
        _write(message, path, camera)
        self._names.add(name)
        self.frames.append(Frame(name, path, camera, T_map_cam, stamp_s))


def _suffix(message: Any) -> str:
    compressed_jpeg = is_compressed(message) and bytes(message.data[:2]) == JPEG_START
    return '.jpg' if compressed_jpeg else '.png'


def _write(message: Any, path: Path, camera: Camera) -> None:
    """Write an image file; JPEG and PNG as they came, everything else as PNG."""
    try:
        image = picture(message)
    except DataError as error:
        raise DataError(f'The image {path.stem} of the bag cannot be used: {error}') from error
    check_image_size((image.shape[1], image.shape[0]), camera, path)
    if is_compressed(message) and bytes(message.data[:4]).startswith((PNG_START, JPEG_START)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(message.data))
    else:
        write_rgb(path, image)
