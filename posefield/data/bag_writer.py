"""Writes rosbag2 folders (MCAP) message by message, readable even when the disk gets full."""

import errno
import os
from pathlib import Path
import shutil

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, WriterError
from rosbags.typesys import Stores, get_typestore

from posefield.data.mcap_storage import DirectWriter
from posefield.errors import DataError

# Held back beside the bag, so that its last messages and its index fit on a disk that is full.
RESERVE_BYTES = 64 * 1024 * 1024
LATCHED_DEPTH, LIVE_DEPTH = 100, 10
FOREVER = QosTime(0, 0)


class BagWriter:
    """A bag that is being written; `close` makes it readable.

    After an error of the disk the bag is closed with what was written before, and stays readable.
    Not safe for threads by itself.
    """

    def __init__(self, path: Path, reserve_bytes: int = RESERVE_BYTES):
        """Begin a bag.

        Args:
            path: folder to make; it must not exist.
            reserve_bytes: disk space that is held back for closing the bag.

        Raises:
            DataError: when the folder exists or cannot be written.
        """
        self.path = Path(path)
        self.bytes = self.messages = 0
        self._reserve = self.path / '.reserve'
        self._typestore = get_typestore(Stores.ROS2_HUMBLE)
        self._connections: dict[tuple[str, str], Connection] = {}
        self._is_open = False
        try:
            self._writer = DirectWriter(self.path, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
            self._is_open = True
            _allocate(self._reserve, reserve_bytes)
        except WriterError as error:
            raise DataError(f'The bag {self.path} exists already; choose another name.') from error
        except OSError as error:
            if self._is_open:
                self.discard()
            raise DataError(
                f'The bag {self.path} cannot be written: {error.strerror or error}.'
            ) from error

    @property
    def is_open(self) -> bool:
        """Whether messages can be written."""
        return self._is_open

    def write(
        self, topic: str, message_type: str, time_ns: int, cdr: bytes, *, latched: bool = False
    ) -> None:
        """Write a message.

        Args:
            topic: absolute name.
            message_type: such as `sensor_msgs/msg/Image`.
            time_ns: when it came.
            cdr: the serialised message.
            latched: whether players give it to late subscribers too.

        Raises:
            DataError: when the disk takes no more; the bag is then closed and readable, with the
                messages of before.
        """
        if not self._is_open:
            raise DataError(f'The bag {self.path} is closed already.')
        connection = self._connections.get((topic, message_type))
        if connection is None:
            connection = self._writer.add_connection(
                topic, message_type, typestore=self._typestore, offered_qos_profiles=[qos(latched)]
            )
            self._connections[topic, message_type] = connection
        whole = self._writer.storage.bio.tell()
        try:
            self._writer.write(connection, time_ns, cdr)
        except OSError as error:
            self._rescue(whole, connection, time_ns, error)
        self.bytes += len(cdr)
        self.messages += 1

    def close(self) -> None:
        """Write the index; a bag without messages is removed.

        Raises:
            DataError: when the disk does not take it even with what was held back.
        """
        if not self._is_open:
            return
        if not self.messages:
            self.discard()
            return
        self._is_open = False
        self._reserve.unlink(missing_ok=True)
        whole = self._writer.storage.bio.tell()
        try:
            self._writer.close()
        except OSError as error:
            self._abort(error, whole)

    def discard(self) -> None:
        """Remove the bag."""
        if self._is_open:
            self._writer.storage.bio.close()
        self._is_open = False
        shutil.rmtree(self.path, ignore_errors=True)

    def _rescue(self, whole: int, connection: Connection, time_ns: int, error: OSError) -> None:
        """Cut off what is half written, close the bag and tell why.

        Small messages that wait in memory are written into the space held back.
        """
        self._is_open = False
        self._reserve.unlink(missing_ok=True)
        writer = self._writer
        if writer.storage.channel_stats[connection.id] > writer.counts[connection.id]:
            # The message waits with others, but the writer has not counted it yet.
            writer.counts[connection.id] += 1
            writer.min_timestamp = min(time_ns, writer.min_timestamp)
            writer.max_timestamp = max(time_ns, writer.max_timestamp)
        try:
            writer.storage.bio.seek(whole)
            writer.storage.bio.truncate()
            writer.close()
        except OSError as second:
            self._abort(second, whole)
        raise DataError(
            f'The bag {self.path} was closed before its end, because the disk takes no more: '
            f'{error.strerror or error}; what was recorded before can be read.'
        ) from error

    def _abort(self, error: OSError, whole: int) -> None:
        try:
            self._writer.storage.bio.close()
        except OSError:
            # What could not be flushed is lost; the descriptor is closed all the same.
            pass
        os.truncate(self._writer.path / f'{self.path.name}.mcap', whole)
        raise DataError(
            f'The bag {self.path} has no index, because the disk takes no more: '
            f'{error.strerror or error}; "mcap recover" can still read it.'
        ) from error


def free_bytes(path: Path) -> int:
    """Return the disk space left where a path is or will be."""
    path = Path(path).resolve()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def qos(latched: bool) -> Qos:
    """Return what a bag says of how messages were published: reliable."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=LATCHED_DEPTH if latched else LIVE_DEPTH,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=FOREVER,
        lifespan=FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=FOREVER,
        avoid_ros_namespace_conventions=False,
    )


def _allocate(path: Path, size: int) -> None:
    """Make a file that really takes its space."""
    with path.open('wb') as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            file.write(bytes(size))
