"""What a process returns where its node does not come up."""

from collections.abc import Callable, Iterator

import pytest
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import Empty

from posefield.nodes.running import spin_lifecycle


class Configured(LifecycleNode):
    """Configures as it is told."""

    def __init__(self, context: Context, configure: Callable[[LifecycleNode], None]):
        super().__init__('configured', context=context)
        self._configure = configure

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        del state
        self._configure(self)
        return TransitionCallbackReturn.SUCCESS


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    context.init()
    yield context
    context.try_shutdown()


def interrupted(node: LifecycleNode) -> None:
    """As a signal does between two calls."""
    node.context.try_shutdown()
    node.create_publisher(Empty, 'anything', 1)


def broken(node: LifecycleNode) -> None:
    del node
    raise ValueError


@pytest.mark.parametrize(('configure', 'code'), [(interrupted, 0), (broken, 1)])
def test_only_a_node_that_nobody_interrupts_fails_to_configure(context, configure, code):
    node = Configured(context, configure)
    executor = SingleThreadedExecutor(context=context)
    try:
        assert spin_lifecycle(node, executor, autostart=True) == code
    finally:
        executor.shutdown()
        node.destroy_node()
