"""The bag player over DDS, on bags of all kinds."""

import subprocess
import threading
import time

from geometry_msgs.msg import PointStamped
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rosbags.rosbag2 import StoragePlugin
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

from posefield.errors import DataError
from posefield.nodes.bag_player import BagPlayer
from posefield.nodes.conversions import stamp_ns
from support.bags import COUNT, START, STEP, write_bag, write_ros1_bag
from support.processes import node_command


class Listener:
    """Hears what is played."""

    def __init__(self, graph, topic='/points'):
        self.graph = graph
        self.node = graph.add(rclpy.create_node('listener'))
        self.points, self.clocks, self.times_s = [], [], []
        self.node.create_subscription(PointStamped, topic, self.on_point, 100)
        self.node.create_subscription(Clock, '/clock', self.clocks.append, qos_profile_sensor_data)
        self.thread = None

    def on_point(self, message):
        self.points.append(message.point.x)
        self.times_s.append(time.monotonic())

    def clock_went_back(self):
        ticks = [stamp_ns(message.clock) for message in self.clocks]
        return any(later < earlier for earlier, later in zip(ticks, ticks[1:], strict=False))

    def play(self, bag, **parameters):
        """Play in a thread, as the node's process does; return its exit code when it ends."""
        values = {'bag': str(bag), 'wait_for_subscribers': ['/points'], **parameters}
        player = BagPlayer(
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()]
        )
        executor = SingleThreadedExecutor()
        executor.add_node(player)
        codes = []
        self.thread = threading.Thread(target=lambda: codes.append(player.play(executor)))
        self.thread.start()
        assert self.graph.spin_until(lambda: codes, 20.0)
        self.thread.join()
        self.graph.spin_for(0.1)
        executor.remove_node(player)
        player.destroy_node()
        executor.shutdown()
        return codes[0]


@pytest.mark.parametrize('plugin', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_bag_is_played_in_order_at_its_pace_with_a_clock(graph, tmp_path, plugin):
    listener = Listener(graph)
    assert listener.play(write_bag(tmp_path / 'bag', plugin)) == 0
    assert listener.points == [float(index) for index in range(COUNT)]
    lasted_s = listener.times_s[-1] - listener.times_s[0]
    assert 0.3 < lasted_s < 2.0
    ticks = [stamp_ns(message.clock) for message in listener.clocks]
    assert ticks == sorted(ticks) and ticks[-1] == START + (COUNT - 1) * STEP
    # The recorded clock, which says 0, is not played beside the player's own.
    assert ticks[0] >= START and len(ticks) > COUNT


def test_a_single_mcap_file_is_played(graph, tmp_path):
    (file,) = write_bag(tmp_path / 'bag').glob('*.mcap')
    listener = Listener(graph)
    assert listener.play(file, rate=10.0) == 0
    assert listener.points == [float(index) for index in range(COUNT)]


def test_a_ros_1_bag_is_played(graph, tmp_path):
    listener = Listener(graph)
    assert listener.play(write_ros1_bag(tmp_path / 'old.bag'), rate=10.0) == 0
    assert listener.points == [float(index) for index in range(COUNT)]


def test_rate_and_start_offset(graph, tmp_path):
    listener = Listener(graph)
    static = []
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    listener.node.create_subscription(TFMessage, '/tf_static', static.append, latched)
    listener.play(write_bag(tmp_path / 'bag', count=40), rate=4.0, start_offset=1.0)
    assert listener.points == [float(index) for index in range(20, 40)]
    assert listener.times_s[-1] - listener.times_s[0] < 0.8
    assert stamp_ns(listener.clocks[0].clock) >= START + 10**9
    assert len(static) == 1, 'static transforms of before the offset are needed too'


def test_topics_can_be_left_out_and_remapped(graph, tmp_path):
    listener = Listener(graph)
    heard = []
    listener.node.create_subscription(TFMessage, '/tf_static', heard.append, 10)
    listener.play(
        write_bag(tmp_path / 'bag'), rate=10.0, exclude_topics=['/tf_static'], clock_rate=0.0
    )
    assert len(listener.points) == COUNT and not heard
    # Without a clock of its own the player plays the recorded one.
    assert {stamp_ns(message.clock) for message in listener.clocks} == {0}


def test_a_loop_starts_again(graph, tmp_path):
    process = subprocess.Popen(
        node_command('bag_player_node')
        + ['--ros-args', '-p', f'bag:={write_bag(tmp_path / "bag")}', '-p', 'loop:=true']
        + ['-p', 'rate:=5.0', '-r', '/points:=/elsewhere']
    )
    listener = Listener(graph, '/elsewhere')
    # The clock comes on a topic of its own, so its second start may come after the point's.
    looped = graph.spin_until(
        lambda: listener.points.count(0.0) >= 2 and listener.clock_went_back(), 30.0
    )
    process.terminate()
    assert process.wait(15) == 0
    assert looped


def test_subscribers_that_do_not_come_end_the_wait(graph, tmp_path):
    player = BagPlayer(
        parameter_overrides=[
            Parameter('bag', value=str(write_bag(tmp_path / 'bag'))),
            Parameter('wait_for_subscribers', value=['/points']),
            Parameter('wait_timeout', value=0.2),
        ]
    )
    with pytest.raises(DataError, match='Nobody subscribed to /points within 0.2 s'):
        player.play(graph.executor)
    player.destroy_node()


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({'bag': ''}, 'Parameter bag is empty'),
        ({'bag': 'nowhere'}, 'nowhere'),
        ({'exclude_topics': ['/nothing']}, 'has no topic /nothing, it has /clock, /points'),
        ({'start_offset': 99.0}, 'lasts 0.450 s'),
    ],
)
def test_what_cannot_be_played_is_a_sentence(graph, tmp_path, parameters, words):
    values = {'bag': str(write_bag(tmp_path / 'bag')), **parameters}
    with pytest.raises(DataError, match=words):
        player = BagPlayer(
            parameter_overrides=[Parameter(name, value=v) for name, v in values.items()]
        )
        graph.nodes.append(player)
        player.play(graph.executor)


def test_a_truncated_bag_is_a_sentence(graph, tmp_path):
    (file,) = write_bag(tmp_path / 'bag').glob('*.mcap')
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match=file.name):
        BagPlayer(parameter_overrides=[Parameter('bag', value=str(file))])


def test_the_process_exits_at_the_end_of_the_bag(ros_environment, tmp_path):
    done = subprocess.run(
        node_command('bag_player_node')
        + ['--ros-args', '-p', f'bag:={write_bag(tmp_path / "bag")}', '-p', 'rate:=10.0'],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f'Played {2 * COUNT + 1 - COUNT} messages' in done.stderr
