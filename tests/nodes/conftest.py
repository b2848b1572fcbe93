"""A real ROS 2 on this machine alone: every test gets its own domain and context."""

from collections.abc import Callable, Iterator
from itertools import count
import os
import time

import pytest
import rclpy
from rclpy.executors import MultiThreadedExecutor

# Domains 1 to 101 keep Fast DDS clear of ephemeral ports.
DOMAINS = count(os.getpid())


class Graph:
    """A context, an executor that spins in the test's thread, and a plain node to talk from."""

    def __init__(self, domain: int):
        self.domain = domain
        self.executor = MultiThreadedExecutor(num_threads=3)
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

    def call(self, client, request, timeout_s: float = 10.0):
        """Return the service's response."""
        assert self.spin_until(client.service_is_ready, timeout_s), client.srv_name
        future = client.call_async(request)
        assert self.spin_until(future.done, timeout_s), f'{client.srv_name} did not answer'
        return future.result()


@pytest.fixture
def ros_environment(monkeypatch) -> int:
    """A fresh domain on this machine only, for this process and its children."""
    domain = 1 + next(DOMAINS) % 100
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    return domain


@pytest.fixture
def graph(ros_environment) -> Iterator[Graph]:
    """A spinning ROS 2 graph."""
    rclpy.init()
    graph = Graph(ros_environment)
    yield graph
    for node in graph.nodes:
        graph.executor.remove_node(node)
        node.destroy_node()
    graph.executor.shutdown()
    rclpy.try_shutdown()
