"""The life of a node's process: from arguments to exit code."""

from collections.abc import Callable, Sequence
import sys

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node

from posefield.errors import PosefieldError
from posefield.nodes.middleware import prepare_for_images


def run(
    make_node: Callable[[], Node],
    work: Callable[[Node, SingleThreadedExecutor], int],
    args: Sequence[str] | None = None,
) -> int:
    """Run a node until it ends or is interrupted and return the exit code of the process.

    Args:
        make_node: the node's constructor.
        work: spins the node; its return value is the exit code.
        args: command line; None takes sys.argv.
    """
    prepare_for_images()
    rclpy.init(args=args)
    node = executor = None
    try:
        node = make_node()
        # Callbacks are short, the heavy work has its own thread; and rclpy's executor of several
        # threads delivers images and TF late by hundreds of milliseconds.
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        return work(node, executor)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except rclpy_implementation.RCLError:
        # What a signal shuts down in the middle of a call fails like this.
        if rclpy.ok():
            raise
        return 0
    except PosefieldError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if executor is not None:
            executor.shutdown(timeout_sec=2.0)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


def spin_lifecycle(node: LifecycleNode, executor: SingleThreadedExecutor, autostart: bool) -> int:
    """Bring a lifecycle node up where asked to, spin it, and return the exit code."""
    success = TransitionCallbackReturn.SUCCESS
    if autostart and (node.trigger_configure() != success or node.trigger_activate() != success):
        # A transition fails too where a signal shuts down in the middle of it.
        return 1 if node.context.ok() else 0
    executor.spin()
    return 0
