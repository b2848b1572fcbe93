"""A real ROS 2 on this machine alone: every test gets its own domain and context."""

from collections.abc import Callable, Iterator
from itertools import count
import os
import sys
import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor

# Domains 1 to 101 keep Fast DDS clear of ephemeral ports.
DOMAINS = count(os.getpid())


class Graph:
    """A context, an executor that spins in the test's thread, and a plain node to talk from."""

    def __init__(self, capture: pytest.CaptureFixture):
        self._capture = capture
        self._log = ''
        self.executor = SingleThreadedExecutor()
        self.nodes = []

    def add(self, node):
        """Spin this node too and destroy it after the test."""
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def spin_until(self, done: Callable[[], bool], timeout_s: float = 10.0) -> bool:
        """Spin until the condition holds; False after the time-out."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if done():
                return True
            self.executor.spin_once(timeout_sec=0.02)
        return done()

    def spin_for(self, seconds: float) -> None:
        """Spin for a while, to see that something does not happen."""
        self.spin_until(lambda: False, seconds)

    @property
    def log(self) -> str:
        """What all nodes have logged to the console so far."""
        self._log += self._capture.readouterr().err
        return self._log

    def logged(self, *words: str, timeout_s: float = 5.0) -> bool:
        """Spin until one line of the log has all these words."""

        def found() -> bool:
            return any(all(word in line for word in words) for line in self.log.splitlines())

        return self.spin_until(found, timeout_s)

    def call(self, client, request, timeout_s: float = 10.0, tries: int = 1):
        """Return the service's response.

        The answer to the first request can be lost while two processes still discover each
        other; a request that may be repeated takes more than one try.
        """
        assert self.spin_until(client.service_is_ready, timeout_s), client.srv_name
        for _ in range(tries):
            future = client.call_async(request)
            if self.spin_until(future.done, timeout_s / tries):
                break
        assert future.done(), f'{client.srv_name} did not answer'
        return future.result()


@pytest.fixture
def ros_environment(monkeypatch) -> None:
    """A fresh domain on this machine only, for this process and its children."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(1 + next(DOMAINS) % 100))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')


@pytest.fixture
def graph(ros_environment, capfd) -> Iterator[Graph]:
    """A spinning ROS 2 graph."""
    rclpy.init()
    graph = Graph(capfd)
    yield graph
    sys.stderr.write(graph.log)
    for node in graph.nodes:
        graph.executor.remove_node(node)
        node.destroy_node()
    graph.executor.shutdown()
    rclpy.try_shutdown()
