"""Bags are readable by others, and stay so when the disk gets full."""

import errno
from pathlib import Path

import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from rosbags.typesys import Stores, get_typestore
import yaml

from posefield.data.bag_writer import BagWriter, free_bytes
from posefield.errors import DataError

STORE = get_typestore(Stores.ROS2_HUMBLE)
STRING = 'std_msgs/msg/String'


def text(index: int, size: int = 10) -> bytes:
    message = STORE.types[STRING](data=f'{index:08d}'.ljust(size, 'x'))
    return bytes(STORE.serialize_cdr(message, STRING))


def read(path: Path) -> list[tuple[str, int, str]]:
    with AnyReader([path]) as reader:
        return [
            (connection.topic, time_ns, reader.deserialize(data, connection.msgtype).data)
            for connection, time_ns, data in reader.messages()
        ]


class SmallDisk:
    """A file that takes a number of bytes, and as many more as the reserve had once it is gone."""

    def __init__(self, writer: BagWriter, capacity: int, reserve: int):
        self._writer, self._capacity, self._reserve = writer, capacity, reserve
        self._file = writer._writer.storage.bio

    def write(self, content: bytes) -> int:
        is_held_back = (self._writer.path / '.reserve').exists()
        capacity = self._capacity + (0 if is_held_back else self._reserve)
        room = capacity - self._file.tell()
        self._file.write(content[: max(room, 0)])
        if len(content) > room:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return len(content)

    def __getattr__(self, name):
        return getattr(self._file, name)


def filled(
    path: Path, capacity: int, reserve: int, size: int = 100_000
) -> tuple[BagWriter, int, str]:
    """Write until the disk is full; the writer, how many messages it had taken, and the error."""
    writer = BagWriter(path, reserve_bytes=reserve)
    writer._writer.storage.bio = SmallDisk(writer, capacity, reserve)
    with pytest.raises(DataError) as caught:
        for index in range(10_000):
            writer.write('/chat', STRING, index, text(index, size))
    return writer, index, str(caught.value)


def test_messages_are_read_as_they_were_written(tmp_path):
    writer = BagWriter(tmp_path / 'bag')
    for index in range(5):
        writer.write('/chat', STRING, 100 + index, text(index))
    writer.write('/fixed', STRING, 200, text(9), latched=True)
    writer.close()
    assert read(tmp_path / 'bag') == [
        *(('/chat', 100 + index, f'{index:08d}xx') for index in range(5)),
        ('/fixed', 200, '00000009xx'),
    ]
    assert writer.messages == 6 and writer.bytes == 6 * len(text(0))
    assert {path.name for path in (tmp_path / 'bag').iterdir()} == {'bag.mcap', 'metadata.yaml'}
    about = yaml.safe_load((tmp_path / 'bag' / 'metadata.yaml').read_text())
    assert about['rosbag2_bagfile_information']['storage_identifier'] == 'mcap'
    with AnyReader([tmp_path / 'bag']) as reader:
        durability = {
            connection.topic: connection.ext.offered_qos_profiles[0].durability
            for connection in reader.connections
        }
    assert durability == {
        '/chat': QosDurability.VOLATILE,
        '/fixed': QosDurability.TRANSIENT_LOCAL,
    }


def test_large_messages_go_into_the_bag_with_the_small_ones_before(tmp_path):
    writer, expected = BagWriter(tmp_path / 'bag'), []
    for index in range(30):
        size = 200_000 if index % 3 == 2 else 20
        topic = f'/topic_{index % 2}'
        writer.write(topic, STRING, 1000 - index, text(index, size))
        expected.append((topic, 1000 - index, f'{index:08d}'.ljust(size, 'x')))
    writer.close()
    assert read(tmp_path / 'bag') == expected[::-1]
    about = yaml.safe_load((tmp_path / 'bag' / 'metadata.yaml').read_text())
    assert about['rosbag2_bagfile_information']['message_count'] == 30
    # By topic and time, which goes through the indices.
    with AnyReader([tmp_path / 'bag']) as reader:
        chosen = [c for c in reader.connections if c.topic == '/topic_1']
        times = [t for _, t, _ in reader.messages(chosen, start=980, stop=990)]
        assert times == [981, 983, 985, 987, 989]
        assert reader.message_count == 30
        assert (reader.start_time, reader.end_time) == (971, 1001)


def test_a_bag_without_messages_leaves_nothing(tmp_path):
    BagWriter(tmp_path / 'bag').close()
    assert not (tmp_path / 'bag').exists()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / 'bag').mkdir()
    with pytest.raises(DataError, match='exists already'):
        BagWriter(tmp_path / 'bag')


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(DataError, match=r'file/bag cannot be written: Not a directory'):
        BagWriter(tmp_path / 'file' / 'bag')


@pytest.mark.parametrize(('size', 'waits'), [(100_000, 0), (10_000, 1)])
def test_a_full_disk_closes_a_readable_bag_with_every_message_before(tmp_path, size, waits):
    """Of small messages the last one, which did not fit, waits with others in memory."""
    writer, taken, message = filled(tmp_path / 'bag', 5_000_000, 4_000_000, size)
    assert 'No space left' in message and 'can be read' in message
    assert not writer.is_open and taken > 30
    found = read(tmp_path / 'bag')
    assert [time_ns for _, time_ns, _ in found] == list(range(taken + waits))
    about = yaml.safe_load((tmp_path / 'bag' / 'metadata.yaml').read_text())
    assert about['rosbag2_bagfile_information']['message_count'] == taken + waits
    assert all(data == f'{time_ns:08d}'.ljust(size, 'x') for _, time_ns, data in found)
    assert {path.name for path in (tmp_path / 'bag').iterdir()} == {'bag.mcap', 'metadata.yaml'}
    with pytest.raises(DataError, match='closed already'):
        writer.write('/chat', STRING, 0, text(0))
    writer.close()


def test_a_disk_without_room_for_the_index_is_told_and_whole_messages_are_left(tmp_path):
    _, _, message = filled(tmp_path / 'bag', 5_000_000, 100, size=10_000)
    assert 'mcap recover' in message
    assert 0 < (tmp_path / 'bag' / 'bag.mcap').stat().st_size <= 5_000_000


def test_space_is_told_for_places_that_do_not_exist_yet(tmp_path):
    assert free_bytes(tmp_path / 'a' / 'b') == pytest.approx(free_bytes(tmp_path), rel=0.1)
