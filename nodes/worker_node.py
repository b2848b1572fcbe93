"""Lifecycle nodes whose heavy work has a thread of its own."""

from collections.abc import Callable
import traceback
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from posefield.errors import PosefieldError
from posefield.nodes.camera_topic import InputError
from posefield.nodes.throttle import ThrottledWarnings
from posefield.nodes.worker import Worker

STOP_TIMEOUT_S = 10.0


class WorkerNode(LifecycleNode):
    """A node that configures, works on images in a thread while it is active, and lets go.

    What a node adds is in `_configure`, `_stop_listening` and `_release`.
    """

    def __init__(self, name: str, work: str, **options: Any):
        """Make the node; a subclass declares its parameters last.

        Args:
            name: of the node.
            work: what the thread does, for warnings.
            options: of rclpy's Node.
        """
        super().__init__(name, **options)
        self._work = work
        self._warnings = ThrottledWarnings(self.get_logger())
        self._worker: Worker | None = None
        # What exists only while the node is active, with what destroys it.
        self._entities: list[tuple[Callable[[Any], bool], Any]] = []
        # Changes whenever what is being worked on is no longer wanted.
        self._epoch = object()
        # A service that waits for the worker keeps its group busy, so it has one of its own.
        self._waiting_group = MutuallyExclusiveCallbackGroup()

    def _configure(self) -> None:
        """Load and make what lasts until cleanup.

        Raises:
            PosefieldError: where that cannot be; the node stays unconfigured.
        """
        raise NotImplementedError

    def _stop_listening(self) -> None:
        """End what brings images, before the worker is stopped."""
        raise NotImplementedError

    def _release(self) -> None:
        """Let go of what `_configure` made, as far as it did."""
        raise NotImplementedError

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load; failing leaves the node unconfigured, to be tried again."""
        try:
            self._configure()
        except PosefieldError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f'Configuring failed.\n{traceback.format_exc()}')
            return TransitionCallbackReturn.ERROR
        return super().on_configure(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; what is being computed is not published."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of what was loaded."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and let go."""
        self._stop()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Become unconfigured after an unexpected error."""
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop the thread before the node goes."""
        self._stop()
        super().destroy_node()

    def _start_worker(self, work: Callable[[Any], None], queue_size: int) -> None:
        self._worker = Worker(work, queue_size, self._on_worker_error, self._work)

    def _every(self, period_s: float, callback: Callable[[], None]) -> None:
        """Call something while the node is active, whatever the clock of the topics does."""
        timer = self.create_timer(
            period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._entities.append((self.destroy_timer, timer))

    def _stop(self) -> None:
        self._epoch = object()
        if self._worker is None:
            return
        self._stop_listening()
        for destroy, entity in self._entities:
            destroy(entity)
        self._entities = []
        if not self._worker.stop(STOP_TIMEOUT_S):
            self.get_logger().warning(
                f'The last images are still in {self._work} after {STOP_TIMEOUT_S:.0f} s.'
            )
        self._worker = None

    def _on_worker_error(self, error: Exception) -> None:
        if isinstance(error, InputError):
            self._warnings.warn(error.kind, str(error))
        elif isinstance(error, PosefieldError):
            self._warnings.warn(self._work, str(error))
        elif self.context.ok():
            text = ''.join(traceback.format_exception(error))
            self.get_logger().error(f'Error in {self._work}.\n{text}')
