"""The MCAP storage of rosbags with a short way to the disk for large messages.

rosbags copies each message five times; at 60 raw images a second that takes as much time as all
the rest of recording them.
"""

from io import BytesIO
import struct

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter, PendingChunk

# Smaller messages gather in chunks.
LARGE_BYTES = 64 * 1024
MESSAGE, CHUNK, MESSAGE_INDEX = b'\x05', b'\x06', b'\x07'
MESSAGE_HEAD, CHUNK_HEAD = struct.Struct('<cQHIQQ'), struct.Struct('<cQQQQIIQ')
# Bytes of these heads that follow the length in them.
AFTER_LENGTH = 9


class DirectMcapWriter(McapWriter):
    """Writes large messages straight into the file, in a chunk with what waited."""

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        """Write a message; nothing is changed but the end of the file where that fails."""
        if len(data) < LARGE_BYTES:
            super().write(connection, timestamp, data)
            return
        waiting = self.chunk.bio.getvalue()
        start = min(timestamp, self.chunk.message_start_time)
        end = max(timestamp, self.chunk.message_end_time)
        size = len(waiting) + MESSAGE_HEAD.size + len(data)
        chunk_start = self.bio.tell()
        self.bio.write(
            CHUNK_HEAD.pack(
                CHUNK, CHUNK_HEAD.size - AFTER_LENGTH + size, start, end, size, 0, 0, size
            )
        )
        self.bio.write(waiting)
        self.bio.write(
            MESSAGE_HEAD.pack(
                MESSAGE,
                MESSAGE_HEAD.size - AFTER_LENGTH + len(data),
                connection.id,
                0,
                timestamp,
                timestamp,
            )
        )
        self.bio.write(data)
        chunk_end = self.bio.tell()
        places = {channel: list(entries) for channel, entries in self.chunk.msgs.items()}
        places.setdefault(connection.id, []).append((timestamp, len(waiting)))
        index = self._write_message_indices(places)
        entry = struct.pack('<QQQQ', start, end, chunk_start, chunk_end - chunk_start)
        entry += struct.pack('<I', 10 * len(index)) + b''.join(
            struct.pack('<HQ', channel, place) for channel, place in index
        )
        entry += struct.pack('<QIQQ', self.bio.tell() - chunk_end, 0, size, size)
        self._count(connection, timestamp, entry)

    def _write_message_indices(
        self, places: dict[int, list[tuple[int, int]]]
    ) -> list[tuple[int, int]]:
        """Write where in the chunk messages are, and return where that is by channel."""
        index = []
        for channel, entries in places.items():
            index.append((channel, self.bio.tell()))
            content = struct.pack('<HI', channel, 16 * len(entries))
            content += b''.join(struct.pack('<QQ', time_ns, at) for time_ns, at in entries)
            self.bio.write(MESSAGE_INDEX + struct.pack('<Q', len(content)) + content)
        return index

    def _count(self, connection: Connection, timestamp: int, entry: bytes) -> None:
        """Take in what was written."""
        record = BytesIO()
        record.write(entry)
        self.chunks.append(record)
        self.message_start_time = min(timestamp, self.message_start_time)
        self.message_end_time = max(timestamp, self.message_end_time)
        self.channel_stats[connection.id] += 1
        fresh = type(self.chunk.msgs)(list)
        self.chunk = PendingChunk(2**63 - 1, 0, BytesIO(), fresh)


class DirectWriter(Writer):
    """Writes rosbag2 folders with that storage."""

    STORAGE_PLUGINS = {StoragePlugin.MCAP: DirectMcapWriter}
