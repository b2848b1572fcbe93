"""The capture node: synchronised images of several cameras into bags and multi-view folders."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
import time
import traceback
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import Executor
from rclpy.node import Node
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from posefield.data import bag_writer
from posefield.errors import DataError, PosefieldError
from posefield.nodes.capture_import import CaptureImport
from posefield.nodes.capture_parameters import CaptureParameters
from posefield.nodes.capture_session import CaptureSession
from posefield.nodes.capture_snapshot import take_snapshot
from posefield.nodes.diagnostics import diagnostic_status
from posefield.nodes.parameters import declare
from posefield.nodes.rig_input import MASK_NAME, RigInput, RigSet
from posefield.nodes.rig_recorder import CameraTopics, RigRecorder
from posefield.nodes.running import run
from posefield.nodes.throttle import ThrottledWarnings
from posefield.nodes.transform_history import TransformHistory, TransformTap
from posefield.nodes.transforms import make_transforms
from posefield.nodes.worker import Worker, WorkerStopped

# Images of a camera that may wait while the executor is busy: none may be lost.
IMAGE_DEPTH = 20
TICK_S = 0.1
RETRY_S = 0.5
STOP_TIMEOUT_S = 10.0
POLL_S = 0.1
IDLE, STARTING, RECORDING, FINISHING = 'idle', 'starting', 'recording', 'finishing'


class CaptureNode(Node):
    """Records the cameras of a rig on request."""

    def __init__(self, free_bytes: Callable[[Path], int] = bag_writer.free_bytes, **options: Any):
        """Declare parameters and listen.

        Args:
            free_bytes: tells the disk space that is left at a path.
            options: of rclpy's Node.

        Raises:
            PosefieldError: for bad parameters.
        """
        super().__init__('capture', **options)
        self._free_bytes = free_bytes
        self._worker: Worker | None = None
        self._import: CaptureImport | None = None
        self._session: CaptureSession | None = None
        self.parameters = declare(self, CaptureParameters)
        self.parameters.check()
        self._output = Path(self.parameters.output).expanduser()
        self.state = IDLE
        self.is_done = False
        self._failure: str | None = None
        self._has_begun = False
        self._unused_before: dict[str, int] = {}
        self._last_set: tuple[RigSet, float] | None = None
        self._retry_s = self._progress_s = 0.0
        self._warnings = ThrottledWarnings(self.get_logger())
        self._history = TransformHistory()
        self._worker = Worker(
            lambda job: job(), self.parameters.queue_size, self._on_worker_error, 'capture'
        )
        self._import = CaptureImport(self.parameters, self.get_logger())
        self._listen()

    def _listen(self) -> None:
        self._transforms = make_transforms(self, broadcasts=False)
        self._tap = TransformTap(self, self._on_transforms)
        self._rig = RigInput(
            self,
            self.parameters,
            self._on_set,
            transforms=self._transforms,
            warnings=self._warnings,
            with_masks=self.parameters.with_masks,
            depth=IMAGE_DEPTH,
        )
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TICK_S, self._tick, clock=steady)
        self.create_timer(
            self.parameters.diagnostics_period, self._publish_diagnostics, clock=steady
        )
        # A service that waits for the worker keeps its group busy, so each has one of its own.
        for name, answer in (
            ('start', self._start),
            ('stop', self._stop),
            ('snapshot', self._snapshot),
        ):
            self.create_service(
                Trigger,
                f'~/{name}',
                partial(self._serve, answer),
                callback_group=MutuallyExclusiveCallbackGroup(),
            )

    async def _serve(
        self, answer: Callable[[], Any], _: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        try:
            response.message = await answer()
            response.success = True
        except (PosefieldError, WorkerStopped) as error:
            response.success, response.message = False, str(error)
        return response

    # What comes in, in the executor's thread

    def _on_set(self, rig_set: RigSet) -> None:
        self._last_set = (rig_set, time.monotonic())
        if self.state == RECORDING:
            self._session.add(rig_set, self.get_clock().now().nanoseconds or rig_set.stamp_ns)

    def _on_transforms(self, topic: str, message: TFMessage) -> None:
        now_ns = self.get_clock().now().nanoseconds
        self._history.add(topic, message, now_ns)
        if self._session is not None:
            self._session.add_transform(topic, now_ns, message)

    def _tick(self) -> None:
        now_s = time.monotonic()
        parameters, session = self.parameters, self._session
        if self.state == IDLE and parameters.record_at_start and not self._has_begun:
            if now_s >= self._retry_s:
                self._retry_s = now_s + RETRY_S
                self.executor.create_task(self._start_when_possible)
        elif self.state == RECORDING:
            is_over = 0 < parameters.duration <= session.seconds
            if is_over or session.failure is not None:
                self.executor.create_task(self._end)
            elif 0 < parameters.progress_period <= now_s - self._progress_s:
                self._progress_s = now_s
                self.get_logger().info(self._progress(now_s))
        elif self.state == IDLE and self._has_begun and not self._import.is_busy:
            self.is_done = parameters.exit_after_recording

    # Requests

    async def _start_when_possible(self) -> None:
        try:
            await self._start()
        except PosefieldError as error:
            self._warnings.warn('start', f'Waiting to record. {error}')
        except WorkerStopped:
            return

    async def _end(self) -> None:
        """Stop, unless somebody else was faster."""
        try:
            if self.state == RECORDING:
                await self._stop()
        except WorkerStopped:
            return

    async def _start(self) -> str:
        if self.state != IDLE:
            raise DataError(f'A recording is {self.state} already ({self._where()}).')
        absent = self._absent()
        least = self.parameters.min_cameras or len(self.parameters.cameras)
        if len(self.parameters.cameras) - len(absent) < least:
            raise DataError(f'These cameras send nothing to record: {"; ".join(absent)}.')
        self.state = STARTING
        try:
            path = self._new_path()
            recorder = await self._worker.ask(
                lambda: self._begin(path), self.executor.wake
            ).arrival()
        finally:
            self.state = IDLE
        self._session = CaptureSession(recorder, self._worker, path, self._on_failure)
        self._unused_before = self._unused()
        self._failure, self._has_begun = None, True
        self._progress_s = time.monotonic()
        self.state = RECORDING
        message = f'Recording {len(self.parameters.cameras) - len(absent)} cameras to {path}.'
        if absent:
            message += f' Without {"; ".join(absent)}.'
        self.get_logger().info(message)
        return message

    def _absent(self) -> list[str]:
        """Return the cameras that send nothing usable, each with the reason."""
        reasons = []
        for name, feed in self._rig.feeds.items():
            if feed.rejection is not None:
                reasons.append(f'{name} ({feed.rejection.rstrip(".")})')
            elif feed.camera is None or feed.is_lost:
                reasons.append(f'{name} (no image on {feed.topic.topics[0]})')
        return reasons

    def _new_path(self) -> Path:
        now = datetime.fromtimestamp(self.get_clock().now().nanoseconds / 1e9)
        base = f'{self.parameters.name}_{now:%Y-%m-%d_%H-%M-%S}'
        path, count = self._output / base, 1
        while path.exists() or self._import.folder_of(path).exists():
            count += 1
            path = self._output / f'{base}-{count}'
        return path

    def _begin(self, path: Path) -> RigRecorder:
        """Check what is needed and begin a bag; in the worker's thread."""
        if self.parameters.require_tf:
            self._rig.extrinsics(self.parameters.world_frame, timeout_s=self.parameters.tf_timeout)
        return RigRecorder(
            path,
            {name: self._topics(name) for name in self.parameters.cameras},
            self._history.copy(),
            min_free_bytes=self.parameters.min_free_space,
            free_bytes=self._free_bytes,
            on_split=self.get_logger().warning,
        )

    def _topics(self, camera: str) -> CameraTopics:
        parameters = self.parameters
        image, info, mask = (
            self.resolve_topic_name(f'{camera}/{name}', only_expand=True)
            for name in (parameters.image_name, 'camera_info', MASK_NAME)
        )
        if parameters.image_transport == 'compressed':
            image += '/compressed'
        return CameraTopics(image, info, mask)

    async def _stop(self) -> str:
        if self.state != RECORDING:
            text = f'Nothing is being recorded; the state is {self.state}.'
            raise DataError(f'{text} {self._failure}' if self._failure else text)
        self.state = FINISHING
        session = self._session
        try:
            bags = await session.end(self.executor.wake).arrival()
            self._failure = session.failure
        except DataError as error:
            self._failure, bags = str(error), session.bags
        finally:
            self._session, self.state = None, IDLE
        message = self._summary(session, bags)
        self.get_logger().info(message)
        if self.parameters.multiview and bags and self._failure is None:
            self._import.begin(bags)
            message += f' It is being imported to {self._import.folder_of(bags[0])}.'
        return message

    def _summary(self, session: CaptureSession, bags: Sequence[Path]) -> str:
        if not bags:
            return f'Recorded nothing in {session.seconds:.1f} s: no set of images came.'
        dropped = f', {session.dropped} dropped' if session.dropped else ''
        sets = session.recorder.sets
        unused = {
            name: count - self._unused_before[name] for name, count in self._unused().items()
        }
        texts = [f'{count} of {name}' for name, count in unused.items() if count > 0]
        in_no_set = f' In no set were images: {", ".join(texts)}.' if texts else ''
        return (
            f'Recorded {sets} set{"s" if sets != 1 else ""} of images in '
            f'{session.seconds:.1f} s{dropped} to {", ".join(map(str, bags))}.{in_no_set}'
        )

    def _unused(self) -> dict[str, int]:
        """Return how many images of each camera were in no set so far."""
        counters = self._rig.synchroniser.counters(time.monotonic())
        return {name: of_camera.dropped for name, of_camera in counters.items()}

    async def _snapshot(self) -> str:
        if self._last_set is None or (
            time.monotonic() - self._last_set[1] > self.parameters.lost_after
        ):
            absent = '; '.join(self._absent()) or 'their images do not fit together'
            raise DataError(f'No set of images has come in time: {absent}.')
        rig_set = self._last_set[0]
        return await self._worker.ask(
            lambda: take_snapshot(self._rig, rig_set, self._output), self.executor.wake
        ).arrival()

    # What is told

    def _where(self) -> str:
        return str(self._session.path if self._session else self._output)

    def _progress(self, now_s: float) -> str:
        session = self._session
        cameras = []
        for name, counters in self._rig.synchroniser.counters(now_s).items():
            rate = 'lost' if name in self._rig.lost else f'{counters.rate_hz or 0.0:.1f} Hz'
            cameras.append(f'{name} {rate}')
        return (
            f'{session.seconds:.0f} s, {session.recorder.sets} sets, '
            f'{session.recorder.bytes / 1e6:.0f} MB, '
            f'{self._free_bytes(session.path) / 1e9:.1f} GB free, {session.dropped} dropped; '
            f'{", ".join(cameras)}'
        )

    def _publish_diagnostics(self) -> None:
        array = DiagnosticArray()
        array.header.stamp = self.get_clock().now().to_msg()
        array.status = [self._status(), *self._rig.diagnostics()]
        self._diagnostics.publish(array)

    def _status(self) -> DiagnosticStatus:
        level, message = DiagnosticStatus.OK, self.state
        session = self._session
        values = {
            'state': self.state,
            'disk space left [GB]': f'{self._free_bytes(self._output) / 1e9:.2f}',
            'import': self._import.text,
        }
        if session is not None:
            values |= {
                'recording': str(session.path),
                'duration [s]': f'{session.seconds:.1f}',
                'sets': str(session.recorder.sets),
                'sets dropped': str(session.dropped),
                'bytes': str(session.recorder.bytes),
            }
            if session.dropped:
                level = DiagnosticStatus.WARN
                message = f'{self.state}, {session.dropped} sets dropped: the disk is too slow'
        failure = self._failure or self._import.failure
        if failure is not None:
            level, message = DiagnosticStatus.ERROR, failure
        return diagnostic_status(
            f'{self.get_name()}: recording',
            level,
            message,
            self.get_fully_qualified_name(),
            values,
        )

    def _on_failure(self, text: str) -> None:
        self.get_logger().error(f'The recording ended. {text}')

    def _on_worker_error(self, error: Exception) -> None:
        if self.context.ok():
            text = ''.join(traceback.format_exception(error))
            self.get_logger().error(f'A set of images could not be written.\n{text}')

    # The end

    def spin_until_done(self, executor: Executor) -> int:
        """Spin until a recording is done, where `exit_after_recording` is set; the exit code."""
        while not self.is_done:
            executor.spin_once(timeout_sec=POLL_S)
        return 1 if self._failure or self._import.failure else 0

    def destroy_node(self) -> None:
        """Finish the recording, so that its bag can be read, before the node goes."""
        if self._session is not None and self._worker is not None:
            try:
                bags = self._session.end().result()
                print(self._summary(self._session, bags), flush=True)
            except (PosefieldError, WorkerStopped) as error:
                print(error, flush=True)
            self._session = None
        for thread in (self._worker, self._import):
            if thread is not None:
                thread.stop(STOP_TIMEOUT_S)
        super().destroy_node()


def main(args: Sequence[str] | None = None) -> int:
    """Record; 0 at the end, 1 where a recording failed or the parameters are bad."""
    return run(CaptureNode, CaptureNode.spin_until_done, args)
