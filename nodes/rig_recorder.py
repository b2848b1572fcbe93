"""Writes synchronised sets into bags; belongs to one thread that is not the executor's."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage
from tf2_msgs.msg import TFMessage

from posefield.data.bag_writer import BagWriter
from posefield.errors import DataError
from posefield.nodes.camera_topic import message_content
from posefield.nodes.rig_input import RigImage, RigSet
from posefield.nodes.transform_history import TF_STATIC, TransformHistory

TF_TYPE = 'tf2_msgs/msg/TFMessage'
INFO_TYPE = 'sensor_msgs/msg/CameraInfo'


@dataclass(frozen=True, eq=False)
class Moment:
    """A set on its way into the bag.

    Attributes:
        rig_set: the images.
        time_ns: when it was complete, by the node's clock.
        transforms: topics, times and messages of TF since the last moment.
    """

    rig_set: RigSet
    time_ns: int
    transforms: Sequence[tuple[str, int, TFMessage]]


@dataclass(frozen=True)
class CameraTopics:
    """Names of a camera's topics in the bag: those of the camera, wherever they come from."""

    image: str
    info: str
    mask: str


class RigRecorder:
    """One recording: a bag, or several where a camera changes or time goes back.

    Each bag has one calibration of each camera and rising stamps, and begins with the static
    transforms, so that it can be imported and played by itself.
    """

    def __init__(
        self,
        path: Path,
        topics: Mapping[str, CameraTopics],
        history: TransformHistory,
        *,
        min_free_bytes: float,
        free_bytes: Callable[[Path], int],
        on_split: Callable[[str], None],
    ):
        """Begin the first bag.

        Args:
            path: folder of the first bag; others get `_2`, `_3`, ...
            topics: of the cameras.
            history: TF so far; it is changed.
            min_free_bytes: disk space at which recording ends.
            free_bytes: tells the disk space that is left at a path.
            on_split: told in a sentence why another bag begins.

        Raises:
            DataError: when there is too little space, or the bag cannot be begun.
        """
        self._path = path
        self._topics = topics
        self._history = history
        self._min_free_bytes = min_free_bytes
        self._free_bytes = free_bytes
        self._on_split = on_split
        self._kinds: dict[str, tuple] = {}
        self._last_stamp_ns: int | None = None
        self._is_new = True
        self.sets = 0
        self.first_stamp_ns: int | None = None
        self._closed_bytes = 0
        self.bags: list[Path] = []
        self._check_space()
        self._bag = BagWriter(path)

    @property
    def bytes(self) -> int:
        """Bytes of all messages so far."""
        return self._closed_bytes + self._bag.bytes

    def write(self, moment: Moment) -> None:
        """Write a set.

        Raises:
            DataError: when the disk takes no more; the bag is closed then, and can be read.
        """
        self._check_space()
        reason = self._reason_to_split(moment.rig_set)
        if reason is not None:
            self._split(reason)
        if self._is_new:
            self._is_new = False
            for topic, message in self._history.opening():
                self._write_transforms(topic, moment.time_ns, message)
        for topic, time_ns, message in moment.transforms:
            self._history.add(topic, message, time_ns)
            self._write_transforms(topic, min(time_ns, moment.time_ns), message)
        for name, view in moment.rig_set.views.items():
            self._write_view(self._topics[name], view, moment.time_ns)
            self._kinds[name] = _kind(view)
        self._last_stamp_ns = moment.rig_set.stamp_ns
        if self.first_stamp_ns is None:
            self.first_stamp_ns = self._last_stamp_ns
        self.sets += 1

    def close(self) -> list[Path]:
        """Finish the last bag and return all that hold something.

        Raises:
            DataError: when the disk does not take the index.
        """
        self._bag.close()
        self._keep()
        return self.bags

    def _keep(self) -> None:
        if self._bag.messages and self._bag.path not in self.bags:
            self.bags.append(self._bag.path)

    def _check_space(self) -> None:
        free = self._free_bytes(self._path)
        if free < self._min_free_bytes:
            raise DataError(
                f'The disk of {self._path.parent} has {free / 1e9:.2f} GB left, '
                f'min_free_space is {self._min_free_bytes / 1e9:g} GB.'
            )

    def _reason_to_split(self, rig_set: RigSet) -> str | None:
        last_ns = self._last_stamp_ns
        if last_ns is not None and rig_set.stamp_ns <= last_ns:
            return f'time went back by {(last_ns - rig_set.stamp_ns) / 1e9:.3f} s'
        for name, view in rig_set.views.items():
            old, new = self._kinds.get(name), _kind(view)
            if old is not None and old != new:
                texts = old[0], new[0]
                change = (
                    'has another calibration'
                    if texts[0] == texts[1]
                    else f'changed from {texts[0]} to {texts[1]}'
                )
                return f'camera {name} {change}'
        return None

    def _split(self, reason: str) -> None:
        self._bag.close()
        self._keep()
        self._closed_bytes += self._bag.bytes
        path = self._path.with_name(f'{self._path.name}_{len(self.bags) + 1}')
        self._bag = BagWriter(path)
        self._kinds.clear()
        self._is_new = True
        self._on_split(f'The recording goes on in {path}, because {reason}.')

    def _write_transforms(self, topic: str, time_ns: int, message: TFMessage) -> None:
        self._bag.write(
            topic, TF_TYPE, time_ns, serialize_message(message), latched=topic == TF_STATIC
        )

    def _write_view(self, topics: CameraTopics, view: RigImage, time_ns: int) -> None:
        # The calibration holds for the image: it gets its stamp, as image pipelines expect.
        info = copy(view.info)
        info.header = view.message.header
        self._write(topics.info, INFO_TYPE, time_ns, info)
        self._write(topics.image, _type_name(view.message), time_ns, view.message)
        if view.mask is not None:
            self._write(topics.mask, _type_name(view.mask), time_ns, view.mask)

    def _write(self, topic: str, message_type: str, time_ns: int, message: Any) -> None:
        self._bag.write(topic, message_type, time_ns, serialize_message(message))


def _kind(view: RigImage) -> tuple[str, tuple]:
    """Return what must not change in a bag: words for the image, and the calibration."""
    encoding = getattr(view.message, 'encoding', None) or view.message.format
    size = f'{view.info.width}x{view.info.height}'
    if not isinstance(view.message, CompressedImage):
        size = f'{view.message.width}x{view.message.height}'
    return f'{size} {encoding}', message_content(view.info)


def _type_name(message: Any) -> str:
    package, folder, _ = type(message).__module__.split('.', 2)
    return f'{package}/{folder}/{type(message).__name__}'
