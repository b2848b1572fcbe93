"""The messages of a bag as rclpy can publish them: serialised ROS 2 messages, by time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection, QosDurability
from rosbags.typesys import Stores, get_typestore

from posefield.errors import DataError

ROS1_RENAMES = {'tf/msg/tfMessage': 'tf2_msgs/msg/TFMessage'}


@dataclass(frozen=True)
class BagTopic:
    """A topic of a bag.

    Attributes:
        name: absolute topic name.
        message_type: such as `sensor_msgs/msg/Image`.
        latched: whether late subscribers get the messages of before.
    """

    name: str
    message_type: str
    latched: bool


class BagSource:
    """An open bag."""

    def __init__(self, bag: str):
        """Open a bag.

        Args:
            bag: a rosbag2 folder, or an .mcap, .db3 or ROS 1 .bag file.

        Raises:
            DataError: when it cannot be read or holds no message.
        """
        if not bag:
            raise DataError('Parameter bag is empty, expected a bag to play (-p bag:=/path).')
        # Bags written before Iron do not carry their message definitions.
        self._typestore = get_typestore(Stores.ROS2_HUMBLE)
        try:
            self._reader = AnyReader([Path(bag)], default_typestore=self._typestore)
            self._reader.open()
        except (AnyReaderError, OSError) as error:
            raise DataError(f'The bag {bag} cannot be read: {error}.') from error
        if self._reader.message_count == 0:
            self._reader.close()
            raise DataError(f'The bag {bag} holds no message.')
        self._converters: dict[str, Callable[[bytes], Any]] = {}
        self._cache: dict[str, object] = {}

    def close(self) -> None:
        """Close the bag."""
        self._reader.close()

    @property
    def start_ns(self) -> int:
        """When the first message was recorded."""
        return self._reader.start_time

    @property
    def end_ns(self) -> int:
        """When the last message was recorded."""
        return self._reader.end_time

    def topics(self) -> dict[str, BagTopic]:
        """Return the topics by name."""
        topics: dict[str, BagTopic] = {}
        for connection in self._reader.connections:
            name = connection.topic
            latched = is_latched(connection) or (name in topics and topics[name].latched)
            kind = ROS1_RENAMES.get(connection.msgtype, connection.msgtype)
            topics[name] = BagTopic(name, kind, latched)
        return topics

    def messages(
        self, names: set[str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[str, int, bytes]]:
        """Yield topic, time of recording (ns) and serialised ROS 2 message."""
        connections = [c for c in self._reader.connections if c.topic in names]
        if not connections:
            return
        for connection, stamp_ns, raw in self._reader.messages(connections, start_ns, stop_ns):
            yield connection.topic, stamp_ns, self._as_ros2(connection, raw)

    def _as_ros2(self, connection: Connection, raw: bytes) -> bytes:
        if self._reader.is2:
            return bytes(raw)
        kind = connection.msgtype
        if kind not in self._converters:
            self._converters[kind] = self._converter(kind)
        return bytes(self._converters[kind](raw))

    def _converter(self, kind: str) -> Callable[[bytes], Any]:
        """Return what turns a ROS 1 message into a ROS 2 one."""
        from rosbags.convert.converter import generate_message_converter

        target = ROS1_RENAMES.get(kind, kind)
        if target not in self._typestore.fielddefs:
            raise DataError(f'ROS 2 has no message type {target}; exclude its topics.')
        return generate_message_converter(
            self._reader.typestore,
            self._typestore,
            kind,
            target,
            self._cache,
            src_is2=False,
            dst_is2=True,
        )


def is_latched(connection: Connection) -> bool:
    """Whether a recorded topic was transient local (ROS 2) or latched (ROS 1)."""
    if connection.topic == '/tf_static':
        return True
    profiles = getattr(connection.ext, 'offered_qos_profiles', None)
    if profiles is None:
        return bool(connection.ext.latching)
    return any(profile.durability == QosDurability.TRANSIENT_LOCAL for profile in profiles)
