"""The action that learns a model from the cameras."""

from collections.abc import Callable
from datetime import datetime
import math
from pathlib import Path
import queue
import threading
import traceback

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from posefield.articulation.described_model import DescribedModel
from posefield.articulation.live_learning import (
    LearnRequest,
    LiveProgress,
    RecordingRules,
    learn_live,
    make_progress,
)
from posefield.data.live_recording import LiveConfig, LiveView
from posefield.errors import DataError, LearningInterrupted, PosefieldError
from posefield.nodes.articulation_parameters import ArticulationParameters
from posefield.nodes.articulation_tracking import live_views
from posefield.nodes.conversions import NANOSECONDS
from posefield.nodes.rig_input import RigInput, RigSet
from posefield.nodes.throttle import ThrottledWarnings
from posefield.nodes.worker import Worker, WorkerStopped
from posefield_msgs.action import Learn

STOP_TIMEOUT_S = 30.0
# Sets that may wait while pictures are written.
WAITING_SETS = 60
SECONDS_A_MINUTE = 60.0


class SetQueue:
    """Sets on their way from the executor to the thread that records them."""

    def __init__(
        self,
        rig: RigInput,
        parameters: ArticulationParameters,
        on_problem: Callable[[str], None],
    ):
        self._rig = rig
        self._parameters = parameters
        self._on_problem = on_problem
        self._sets: queue.Queue[RigSet] = queue.Queue(WAITING_SETS)
        self.dropped = 0

    def put(self, found: RigSet) -> None:
        """Take a set; it is dropped and counted where too many wait."""
        try:
            self._sets.put_nowait(found)
        except queue.Full:
            self.dropped += 1

    def next_moment(self, timeout_s: float) -> tuple[float, dict[str, LiveView]] | None:
        """Wait for a set and return its stamp and what was seen; None where none came.

        Raises:
            InputError: naming the cameras whose TF is missing.
        """
        try:
            found = self._sets.get(timeout=timeout_s)
        except queue.Empty:
            return None
        views = live_views(self._rig, found, self._parameters, self._on_problem)
        return found.stamp_ns / NANOSECONDS, views


class LearnServer:
    """Serves `~/learn`: one goal at a time, in a thread of its own.

    Args:
        node: that serves.
        parameters: of the node.
        on_learned: takes the model, in the executor's thread.
        warnings: where images that cannot be recorded are told of.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parameters: ArticulationParameters,
        on_learned: Callable[[DescribedModel], None],
        warnings: ThrottledWarnings,
    ):
        self._node = node
        self._parameters = parameters
        self._on_learned = on_learned
        self._warnings = warnings
        self._worker = Worker(
            lambda _: None, 1, lambda error: node.get_logger().error(str(error)), 'learning'
        )
        self._rig: RigInput | None = None
        self._queue: SetQueue | None = None
        self._progress: LiveProgress | None = None
        self._stop = threading.Event()
        self._is_active = self._is_busy = False
        self._server = ActionServer(
            node,
            Learn,
            '~/learn',
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )

    @property
    def is_busy(self) -> bool:
        """Whether a goal is at work."""
        return self._is_busy

    @property
    def stage(self) -> str:
        """The stage at work; empty where none is."""
        return self._progress.status.stage if self._is_busy and self._progress else ''

    def activate(self, rig: RigInput | None) -> None:
        """Accept goals; `rig` None has no cameras to record."""
        self._rig, self._is_active = rig, True

    def deactivate(self) -> None:
        """Accept no goals and end the one at work, which keeps its checkpoint."""
        self._is_active = False
        self._stop.set()
        self._queue = self._rig = None

    def destroy(self) -> None:
        """Leave the graph, after the work has ended."""
        self.deactivate()
        if not self._worker.stop(STOP_TIMEOUT_S):
            self._node.get_logger().warning(
                f'Learning has not stopped within {STOP_TIMEOUT_S:.0f} s.'
            )
        # The executor has still to send the result of a goal at work, which needs the server.
        if not self._is_busy:
            self._server.destroy()

    def offer(self, found: RigSet) -> None:
        """Take a set of images, to be recorded where a goal is recording."""
        if self._queue is not None:
            self._queue.put(found)

    def _on_goal(self, goal: Learn.Goal) -> GoalResponse:
        if not self._is_active or self._is_busy:
            reason = 'another goal is at work' if self._is_busy else 'the node is not active'
            self._node.get_logger().warning(f'A goal to learn was rejected: {reason}.')
            return GoalResponse.REJECT
        # From here on, so that no second goal is accepted before this one begins.
        self._is_busy = True
        self._stop = threading.Event()
        return GoalResponse.ACCEPT

    def _on_cancel(self, _: ServerGoalHandle) -> CancelResponse:
        self._stop.set()
        return CancelResponse.ACCEPT

    async def _execute(self, handle: ServerGoalHandle) -> Learn.Result:
        timer = self._node.create_timer(
            self._parameters.feedback_period,
            lambda: self._send_feedback(handle),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        result, described = Learn.Result(), None
        try:
            request = self._request(handle.request)
            result.model = str(request.model)
            described = await self._learn(request)
        except (PosefieldError, WorkerStopped) as error:
            result.message = _sentence(error)
        except Exception as error:
            self._node.get_logger().error(f'Learning failed.\n{traceback.format_exc()}')
            result.message = f'Learning failed: {error!r}.'
        finally:
            self._node.destroy_timer(timer)
            self._queue, self._is_busy = None, False
        if described is None:
            self._node.get_logger().warning(result.message)
            handle.canceled() if handle.is_cancel_requested else handle.abort()
            return result
        self._send_feedback(handle)
        self._fill(result, described)
        handle.succeed()
        self._on_learned(described)
        return result

    def _request(self, goal: Learn.Goal) -> LearnRequest:
        """Return what a goal asks for.

        Raises:
            PosefieldError: for a goal that cannot be met, in a sentence.
        """
        if goal.resume and not goal.model:
            raise DataError('A goal that resumes must name the folder of its model.')
        model = goal.model or f'{self._parameters.models_dir}/{datetime.now():%Y-%m-%d_%H-%M-%S}'
        return LearnRequest(
            model=Path(model).expanduser().resolve(),
            seconds=goal.seconds,
            frames=goal.frames,
            recording=Path(goal.recording).expanduser().resolve() if goal.recording else None,
            preset=goal.preset or 'auto',
            minutes=goal.minutes or None,
            steps=goal.steps or None,
            parts=goal.parts or None,
            seed=goal.seed,
            resume=goal.resume,
            device=self._parameters.device,
        )

    async def _learn(self, request: LearnRequest) -> DescribedModel:
        waiting = None
        if request.records:
            if self._rig is None:
                raise DataError(
                    'Parameter cameras is empty, so there is nothing to record; name cameras or '
                    'give the goal a recording.'
                )
            waiting = self._queue = SetQueue(self._rig, self._parameters, self._warnings.tell)
        progress = self._progress = make_progress(request)
        stop = self._stop

        def learn() -> DescribedModel:
            return learn_live(
                request,
                waiting.next_moment if waiting else lambda _: None,
                self._rules(),
                progress,
                stop,
                self._warnings.tell,
            )

        self._node.get_logger().info(f'Learning the model {request.model}.')
        return await self._worker.ask(learn, self._node.executor.wake).arrival()

    def _rules(self) -> RecordingRules:
        parameters = self._parameters
        return RecordingRules(
            LiveConfig(size=parameters.record_size),
            rate_hz=parameters.record_rate,
            timeout_s=parameters.record_timeout,
        )

    def _send_feedback(self, handle: ServerGoalHandle) -> None:
        if self._progress is None or not handle.is_active:
            return
        status = self._progress.status
        left = status.seconds_left / SECONDS_A_MINUTE
        handle.publish_feedback(
            Learn.Feedback(
                stage=status.stage,
                progress=float(status.progress),
                sets=status.sets,
                iteration=status.iteration,
                loss=float(status.loss),
                psnr=float(status.psnr),
                parts=status.parts,
                minutes_left=left if math.isfinite(left) else math.nan,
            )
        )

    def _fill(self, result: Learn.Result, described: DescribedModel) -> None:
        parts, joints = described.model.motion.parts, len(described.skeleton.movable)
        result.success = True
        result.urdf = described.description
        result.parts, result.joints = parts, joints
        links = sum(1 for link in described.skeleton.links if link.parts)
        result.message = f'Learned {parts} parts, {links} links and {joints} joints.'
        self._node.get_logger().info(f'{described.folder}: {result.message}')


def _sentence(error: Exception) -> str:
    if isinstance(error, LearningInterrupted) and 'checkpoint' in str(error):
        return f'{error} The same goal with resume goes on.'
    return str(error)
