"""The relocalizer node: images in, the robot's pose in a learned map out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from posefield.errors import PoseError, PosefieldError
from posefield.nodes.camera_topic import ImageMessage, InputError
from posefield.nodes.conversions import (
    covariance_from_message,
    pose_from_message,
    seconds,
    stamp_ns,
)
from posefield.nodes.diagnostics import RunningStatistics, diagnostic_array
from posefield.nodes.image_input import ImageInput
from posefield.nodes.parameters import ParameterError, RelocalizerParameters, declare, read
from posefield.nodes.pose_output import PoseOutput
from posefield.nodes.relocalizer_services import relocalize
from posefield.nodes.running import run, spin_lifecycle
from posefield.nodes.transform_buffer import TransformMissing
from posefield.nodes.transforms import Transforms, make_transforms
from posefield.nodes.worker import WorkerStopped
from posefield.nodes.worker_node import WorkerNode
from posefield.relocalization.tracker import RelocalizationTracker, TrackingState
from posefield_msgs.srv import LoadMap, Relocalize

# Image stamps this far from the node's clock mean that the clocks are different ones.
CLOCK_DIFFERENCE_S = 10.0
LEVELS = {
    TrackingState.TRACKING: DiagnosticStatus.OK,
    TrackingState.LOST: DiagnosticStatus.ERROR,
}


def load_localizer(map_dir: str, device: str) -> Any:
    """Return the real thing."""
    from posefield.relocalization.localizer import Localizer

    return Localizer.load(map_dir, device=device)


@dataclass(frozen=True)
class _Arrival:
    """An image message, when it came, and the stretch of time that it belongs to."""

    message: ImageMessage
    received_s: float
    epoch: object


class RelocalizerNode(WorkerNode):
    """Localizes a camera in a map and publishes pose, TF, results and diagnostics."""

    def __init__(self, loader: Callable[[str, str], Any] = load_localizer, **options: Any):
        """Declare parameters.

        Args:
            loader: returns the Localizer of a map folder on a device.
            options: of rclpy's Node.
        """
        super().__init__('relocalizer', 'localization', **options)
        self._loader = loader
        self._statistics = RunningStatistics()
        self._localizer: Any = None
        self._map = ''
        self._transforms: Transforms | None = None
        self._output: PoseOutput | None = None
        self._tracker: RelocalizationTracker | None = None
        self._input: ImageInput | None = None
        self._jump_handle = None
        self._last_stamp_s: float | None = None
        # Last, because a bad value ends here, and what exists then is destroyed.
        self.parameters = declare(self, RelocalizerParameters)
        if hasattr(self, 'add_post_set_parameters_callback'):
            self.add_post_set_parameters_callback(self._on_parameters_set)

    # Life cycle

    def _configure(self) -> None:
        """Load the map."""
        self.parameters = read(self, RelocalizerParameters)
        self._map = self.parameters.map
        if not self._map:
            raise ParameterError(
                'Parameter map is empty, expected the folder of a map (-p map:=/path/to/map).'
            )
        self._localizer = self._loader(self._map, self.parameters.device)
        self._transforms = make_transforms(self)
        self._output = PoseOutput(self, self.parameters, self._transforms)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        self.get_logger().info(f'Loaded the map {self._map}.')

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen and answer."""
        self._tracker = RelocalizationTracker(self._localizer, self.parameters.tracker_config())
        self._start_worker(self._localize, self.parameters.queue_size)
        self._input = ImageInput(self, self.parameters, self._on_image, self._warnings)
        self._output.activate()
        hint = self.create_subscription(
            PoseWithCovarianceStamped, 'initialpose', self._on_initial_pose, 10
        )
        self._entities.append((self.destroy_subscription, hint))
        self._every(self.parameters.diagnostics_period, self._publish_diagnostics)
        for service_type, name, callback, group in (
            (LoadMap, '~/load_map', self._on_load_map, self._waiting_group),
            (Relocalize, '~/relocalize', self._on_relocalize, self._waiting_group),
            (Trigger, '~/reset', self._on_reset, None),
        ):
            service = self.create_service(service_type, name, callback, callback_group=group)
            self._entities.append((self.destroy_service, service))
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1))
        self._jump_handle = self.get_clock().create_jump_callback(
            threshold, post_callback=self._on_time_jump
        )
        image_topic, info_topic = self._input.topics
        self.get_logger().info(f'Localizing {image_topic} with {info_topic}.')
        return super().on_activate(state)

    def _stop_listening(self) -> None:
        """Stop what brings images, and publishing."""
        self._input.destroy()
        self._output.deactivate()
        self._jump_handle.unregister()

    def _release(self) -> None:
        if self._output is not None:
            self._output.destroy()
            self._transforms.destroy()
            self.destroy_publisher(self._diagnostics)
        self._output = self._transforms = self._localizer = self._tracker = None

    def _on_parameters_set(self, _: list) -> None:
        self.parameters = read(self, RelocalizerParameters)
        if self._output is not None:
            self._output.reconfigure(self.parameters)
        if self._worker is not None:
            config = self.parameters.tracker_config()
            self._worker.post(lambda: self._tracker.reconfigure(config))

    # Images, from the executor to the worker

    def _on_image(self, message: ImageMessage) -> None:
        received_s = time.monotonic()
        self._statistics.arrived(received_s)
        stamp_s = seconds(message.header.stamp)
        rate = self.parameters.max_rate
        if rate > 0 and self._last_stamp_s is not None:
            if 0 <= stamp_s - self._last_stamp_s < 1.0 / rate:
                return
        self._last_stamp_s = stamp_s
        self._worker.submit(_Arrival(message, received_s, self._epoch))

    def _localize(self, arrival: _Arrival) -> None:
        if arrival.epoch is not self._epoch:
            return
        header = arrival.message.header
        image, camera = self._input.view(arrival.message)
        self._check_clock(header)
        T_odom_base, T_base_cam = self._look_up(header)
        tracked = self._tracker.process(
            image, camera, seconds(header.stamp), T_odom_base, T_base_cam
        )
        if arrival.epoch is not self._epoch:
            return
        latency_s = self._output.publish(tracked, header, arrival.received_s)
        self._statistics.finished(latency_s, tracked.localization.renders, tracked.published)
        if self._output.wants_overlay:
            self._output.publish_overlay(
                self._localizer, tracked.localization.T_map_cam, image, camera, header
            )

    def _look_up(self, header: Header) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return odometry and extrinsics at the image's stamp, as far as tf_mode needs them."""
        parameters = self.parameters
        if parameters.tf_mode == 'map_to_camera':
            return None, None
        pairs = [(parameters.base_frame, header.frame_id)]
        if parameters.tf_mode == 'map_to_odom' or (
            parameters.tf_mode == 'none' and parameters.use_odometry
        ):
            pairs.append((parameters.odom_frame, parameters.base_frame))
        found = []
        for target, source in pairs:
            try:
                found.append(
                    self._transforms.lookup(
                        target, source, stamp_ns(header.stamp), parameters.tf_timeout
                    )
                )
            except TransformMissing as error:
                raise InputError(
                    'tf',
                    f'No pose, because TF has no "{target}" -> "{source}" at the stamp of the '
                    f'image within {parameters.tf_timeout:g} s: {error}. (tf_mode map_to_camera '
                    'needs no TF.)',
                ) from error
        return (found[1] if len(found) > 1 else None), found[0]

    def _check_clock(self, header: Header) -> None:
        difference_s = seconds(header.stamp) - self.get_clock().now().nanoseconds / 1e9
        if abs(difference_s) > CLOCK_DIFFERENCE_S:
            self._warnings.warn(
                'clock',
                f'The stamps of the images are {difference_s:+.1f} s from the clock of this node; '
                'with a played bag, set use_sim_time to true and play with a clock.',
            )

    # Requests

    def _start_again(self, forget: Callable[[RelocalizationTracker], None]) -> None:
        """Drop what waits and is being computed, then do this to the tracker."""
        self._epoch = object()
        self._last_stamp_s = None
        self._worker.clear()
        self._worker.post(lambda: forget(self._tracker))
        self._output.forget()

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        frame = message.header.frame_id.lstrip('/')
        try:
            if frame != self.parameters.map_frame:
                raise PoseError(
                    f'initialpose is in frame "{frame}", expected "{self.parameters.map_frame}".'
                )
            T_map_base = pose_from_message(message.pose.pose, 'initialpose')
            covariance = covariance_from_message(message.pose.covariance, 'initialpose')
        except PoseError as error:
            self.get_logger().warning(str(error))
            return
        self._start_again(lambda tracker: tracker.set_initial_pose(T_map_base, covariance))

    def _on_time_jump(self, _: Any) -> None:
        self.get_logger().info('Time jumped; starting again.')
        self._transforms.clear()
        self._start_again(RelocalizationTracker.reset)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._start_again(RelocalizationTracker.reset)
        response.success = True
        response.message = 'The next image is searched in the whole map.'
        return response

    async def _in_worker(self, job: Callable[[], Any]) -> Any:
        """Return what a job returns in the worker, while the executor goes on."""
        return await self._worker.ask(job, self.executor.wake).arrival()

    async def _on_load_map(self, request: LoadMap.Request, response: LoadMap.Response):
        try:
            await self._in_worker(lambda: self._replace_map(request.map))
        except (PosefieldError, WorkerStopped) as error:
            response.success, response.message = False, str(error)
            return response
        response.success, response.message = True, f'Loaded the map {request.map}.'
        return response

    def _replace_map(self, folder: str) -> None:
        localizer = self._loader(folder, self.parameters.device)
        self._epoch = object()
        self._output.forget()
        self._localizer, self._map = localizer, folder
        self._tracker = RelocalizationTracker(localizer, self.parameters.tracker_config())

    async def _on_relocalize(self, request: Relocalize.Request, response: Relocalize.Response):
        def answer() -> Relocalize.Response:
            return relocalize(
                self._localizer,
                request,
                response,
                map_frame=self.parameters.map_frame,
                rectified=self.parameters.image_is_rectified,
            )

        try:
            return await self._in_worker(answer)
        except WorkerStopped as error:
            response.success, response.message = False, str(error)
            return response

    def _publish_diagnostics(self) -> None:
        now_s = time.monotonic()
        state = self._tracker.state
        level, message = LEVELS.get(state, DiagnosticStatus.WARN), state.value
        age_s = self._statistics.age_s(now_s)
        if age_s is None or age_s > self.parameters.watchdog_period:
            level, message = DiagnosticStatus.WARN, f'no images on {self._input.topics[0]}'
        values = {
            'state': state.value,
            'map': self._map,
            'map units': str(self._localizer.info.get('units', '')),
            'images dropped': str(self._worker.dropped),
            **self._statistics.values(now_s),
        }
        stamp = self.get_clock().now().to_msg()
        name = f'{self.get_name()}: localization'
        self._diagnostics.publish(
            diagnostic_array(stamp, name, level, message, self.get_fully_qualified_name(), values)
        )


def main(
    args: Sequence[str] | None = None, loader: Callable[[str, str], Any] = load_localizer
) -> int:
    """Run the node; 0 after Ctrl-C, 1 where it cannot be configured."""
    return run(
        lambda: RelocalizerNode(loader),
        lambda node, executor: spin_lifecycle(node, executor, node.parameters.autostart),
        args,
    )
