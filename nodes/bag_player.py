"""The bag player node: plays a bag with /clock on machines without rosbag2."""

from collections.abc import Sequence
from importlib import import_module
import time
from typing import Any

from rclpy.duration import Duration
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock

from posefield.errors import DataError
from posefield.nodes.bag_source import BagSource, BagTopic
from posefield.nodes.parameters import BagPlayerParameters, declare
from posefield.nodes.running import run

LIVE_DEPTH = 10
LATCHED_DEPTH = 100
ACKNOWLEDGE_TIMEOUT_S = 2.0
POLL_S = 0.02
# A publisher may know of a subscriber before that knows of the publisher: what is sent in between
# can be lost.
SETTLE_S = 0.5


class BagPlayer(Node):
    """Publishes the messages of a bag at the pace of their recording."""

    def __init__(self, **options: Any):
        """Declare parameters and open the bag.

        Raises:
            PosefieldError: for a bad parameter or bag.
        """
        super().__init__('bag_player', **options)
        self._source: BagSource | None = None
        self.parameters = declare(self, BagPlayerParameters)
        self._source = BagSource(self.parameters.bag)
        self._publishers_by_topic = self._create_publishers()
        self._clock_publisher = None
        if self.parameters.clock_rate > 0:
            self._clock_publisher = self.create_publisher(Clock, '/clock', LIVE_DEPTH)
        self._last_tick_s = 0.0

    def _create_publishers(self) -> dict[str, Any]:
        topics = self._source.topics()
        asked = {*self.parameters.exclude_topics, *self.parameters.wait_for_subscribers}
        for name in sorted(asked - set(topics)):
            raise DataError(
                f'The bag {self.parameters.bag} has no topic {name}, it has '
                f'{", ".join(sorted(topics))}.'
            )
        excluded = set(self.parameters.exclude_topics)
        if self.parameters.clock_rate > 0:
            excluded.add('/clock')
        publishers = {}
        for name in sorted(set(topics) - excluded):
            message_class = find_message_class(topics[name])
            if message_class is None:
                self.get_logger().warning(
                    f'{name} is not played: its type {topics[name].message_type} is not installed.'
                )
                continue
            publishers[name] = self.create_publisher(
                message_class, name, qos_of(topics[name].latched)
            )
        return publishers

    def play(self, executor: Executor) -> int:
        """Play to the end (or again and again), spinning the node meanwhile; return 0.

        Raises:
            DataError: when the subscribers to wait for do not come, or nothing is left to play.
        """
        start_ns = self._source.start_ns + round(self.parameters.start_offset * 1e9)
        if start_ns > self._source.end_ns:
            raise DataError(
                f'The bag lasts {(self._source.end_ns - self._source.start_ns) / 1e9:.3f} s, '
                f'start_offset is {self.parameters.start_offset:g} s.'
            )
        self._wait_for_subscribers(executor)
        while True:
            count = self._play_once(executor, start_ns)
            self.get_logger().info(f'Played {count} messages of {self.parameters.bag}.')
            if not self.parameters.loop:
                break
        for publisher in self._publishers_by_topic.values():
            publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_TIMEOUT_S))
        return 0

    def _wait_for_subscribers(self, executor: Executor) -> None:
        """Return when all topics to wait for have a subscriber that is ready."""
        if not self.parameters.wait_for_subscribers:
            return
        deadline_s = time.monotonic() + self.parameters.wait_timeout
        while True:
            missing = [
                name
                for name in self.parameters.wait_for_subscribers
                if not self._publishers_by_topic[name].get_subscription_count()
            ]
            if not missing:
                break
            if time.monotonic() > deadline_s:
                raise DataError(
                    f'Nobody subscribed to {", ".join(missing)} within '
                    f'{self.parameters.wait_timeout:g} s.'
                )
            executor.spin_once(timeout_sec=POLL_S)
        settled_s = time.monotonic() + SETTLE_S
        while time.monotonic() < settled_s:
            executor.spin_once(timeout_sec=POLL_S)

    def _play_once(self, executor: Executor, start_ns: int) -> int:
        """Play the bag from a time on and return the number of messages."""
        count = self._publish_latched_before(start_ns)
        begun_s = time.monotonic()
        names = set(self._publishers_by_topic)
        for name, stamp_ns, message in self._source.messages(names, start_ns):
            due_s = begun_s + (stamp_ns - start_ns) / 1e9 / self.parameters.rate
            self._wait_until(executor, due_s, stamp_ns)
            self._tick(stamp_ns)
            self._publishers_by_topic[name].publish(message)
            count += 1
        return count

    def _publish_latched_before(self, start_ns: int) -> int:
        """Publish what late subscribers would have got, such as /tf_static."""
        topics = self._source.topics()
        latched = {name for name in self._publishers_by_topic if topics[name].latched}
        count = 0
        for name, _, message in self._source.messages(latched, stop_ns=start_ns):
            self._publishers_by_topic[name].publish(message)
            count += 1
        return count

    def _wait_until(self, executor: Executor, due_s: float, stamp_ns: int) -> None:
        """Spin until a message is due, with the clock going on."""
        period_s = 1.0 / self.parameters.clock_rate if self._clock_publisher else POLL_S
        while (remaining_s := due_s - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=min(remaining_s, period_s))
            behind_s = due_s - time.monotonic()
            if behind_s > 0 and time.monotonic() - self._last_tick_s >= period_s:
                self._tick(stamp_ns - round(behind_s * self.parameters.rate * 1e9))
        if not self.context.ok():
            raise ExternalShutdownException()

    def _tick(self, time_ns: int) -> None:
        if self._clock_publisher is not None:
            self._last_tick_s = time.monotonic()
            self._clock_publisher.publish(Clock(clock=Time(nanoseconds=time_ns).to_msg()))

    def destroy_node(self) -> None:
        """Close the bag with the node."""
        if self._source is not None:
            self._source.close()
        super().destroy_node()


def find_message_class(topic: BagTopic) -> type | None:
    """Return the Python class of a message type, None where its package is not installed."""
    package, namespace, name = topic.message_type.split('/')
    try:
        return getattr(import_module(f'{package}.{namespace}'), name, None)
    except ImportError:
        return None


def qos_of(latched: bool) -> QoSProfile:
    """Return the profile to play with: reliable, which every subscriber can hear."""
    if latched:
        return QoSProfile(depth=LATCHED_DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return QoSProfile(depth=LIVE_DEPTH)


def main(args: Sequence[str] | None = None) -> int:
    """Play the bag; 0 at its end or after Ctrl-C, 1 where it cannot be played."""
    return run(BagPlayer, BagPlayer.play, args)
