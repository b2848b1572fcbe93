"""The articulation node: cameras in, a moving thing's joints, skeleton and new poses out."""

from collections.abc import Callable, Sequence
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.time import Time
from sensor_msgs.msg import JointState

from posefield.articulation.described_model import DescribedModel, ModelPose
from posefield.articulation.joint_commands import commanded_positions
from posefield.articulation.tracking import PoseTracker, TrackingConfig
from posefield.errors import ArticulationError, PosefieldError
from posefield.nodes.articulation_diagnostics import FollowingStatistics, diagnostics
from posefield.nodes.articulation_learning import LearnServer
from posefield.nodes.articulation_output import ArticulationOutput, Shown, shown_pose
from posefield.nodes.articulation_parameters import ArticulationParameters
from posefield.nodes.articulation_rendering import RenderTopic, repose
from posefield.nodes.articulation_tracking import Follower, live_views
from posefield.nodes.conversions import NANOSECONDS
from posefield.nodes.parameters import declare, read
from posefield.nodes.rig_input import RigInput, RigSet
from posefield.nodes.running import run, spin_lifecycle
from posefield.nodes.transforms import Transforms, make_transforms
from posefield.nodes.worker import WorkerStopped
from posefield.nodes.worker_node import WorkerNode
from posefield_msgs.srv import Repose

MakeTracker = Callable[[Any, TrackingConfig], Any]


class ArticulationNode(WorkerNode):
    """Learns an articulated model from cameras, describes it, follows and re-poses it."""

    def __init__(self, make_tracker: MakeTracker = PoseTracker, **options: Any):
        """Declare parameters.

        Args:
            make_tracker: returns what finds poses of a model in images.
            options: of rclpy's Node.
        """
        super().__init__('articulation', 'tracking', **options)
        self._make_tracker = make_tracker
        self._transforms: Transforms | None = None
        self._output: ArticulationOutput | None = None
        self._learning: LearnServer | None = None
        self._rig: RigInput | None = None
        self._render: RenderTopic | None = None
        self._described: DescribedModel | None = None
        self._follower: Follower | None = None
        self._forget()
        # Last, because a bad value ends here, and what exists then is destroyed.
        self.parameters = declare(self, ArticulationParameters)
        if hasattr(self, 'add_post_set_parameters_callback'):
            self.add_post_set_parameters_callback(self._on_parameters_set)

    def _forget(self) -> None:
        """Begin anew with what is known of poses."""
        self._statistics = FollowingStatistics()
        self._command: ModelPose | None = None
        # The last pose from images, and the one that is published again and again.
        self._tracked: Shown | None = None
        self._held: tuple[ModelPose, str] | None = None
        self._last_stamp_ns: int | None = None
        self._epoch = object()

    # Life cycle

    def _configure(self) -> None:
        """Load the model, if one is named."""
        self.parameters = read(self, ArticulationParameters)
        if self.parameters.cameras:
            self.parameters.check_cameras()
        self._described = self._follower = None
        if self.parameters.model:
            self._described = DescribedModel.load(self.parameters.model, self.parameters.device)
        self._transforms = make_transforms(self)
        self._output = ArticulationOutput(self, self.parameters, self._transforms)
        self._learning = LearnServer(self, self.parameters, self._on_learned, self._warnings)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        if self._described is not None:
            self.get_logger().info(f'Loaded the model {self.parameters.model}.')

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen, answer and publish."""
        try:
            self._rig = self._make_rig()
        except PosefieldError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        result = super().on_activate(state)
        self._forget()
        self._start_worker(self._follow, 1)
        own_frame = f'{self.get_name()}_side_optical_frame'
        self._render = RenderTopic(
            self.parameters, self._output, self._transforms, self._rig, own_frame
        )
        self._learning.activate(self._rig)
        command = self.create_subscription(
            JointState, '~/joint_command', self._on_joint_command, 10
        )
        service = self.create_service(
            Repose, '~/repose', self._on_repose, callback_group=self._waiting_group
        )
        self._entities = [(self.destroy_subscription, command), (self.destroy_service, service)]
        self._every(1.0 / self.parameters.state_rate, self._show_held)
        self._every(1.0 / self.parameters.render_rate, self._request_render)
        self._every(self.parameters.diagnostics_period, self._publish_diagnostics)
        if self._described is not None:
            self._take_up(self._described)
        return result

    def _make_rig(self) -> RigInput | None:
        if not self.parameters.cameras:
            return None
        return RigInput(
            self,
            self.parameters,
            self._on_set,
            transforms=self._transforms,
            warnings=self._warnings,
            with_masks=True,
        )

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the model; not while learning has still to end."""
        if self._learning.is_busy:
            self.get_logger().warning('Learning has not stopped yet; clean up again in a moment.')
            return TransitionCallbackReturn.FAILURE
        return super().on_cleanup(state)

    def _stop_listening(self) -> None:
        """Stop learning, which keeps its checkpoint, and what brings images."""
        self._learning.deactivate()
        if self._rig is not None:
            self._rig.destroy()
        self._rig = self._render = None

    def _release(self) -> None:
        if self._output is not None:
            self._learning.destroy()
            self._output.destroy()
            self._transforms.destroy()
            self.destroy_publisher(self._diagnostics)
        self._output = self._transforms = self._learning = None
        self._described = self._follower = None

    def destroy_node(self) -> None:
        """Stop the threads before the node goes."""
        self._stop()
        if self._learning is not None:
            self._learning.destroy()
        super().destroy_node()

    def _on_parameters_set(self, _: list) -> None:
        self.parameters = read(self, ArticulationParameters)
        if self._render is not None:
            self._render.reconfigure(self.parameters)

    # Models

    @property
    def follows(self) -> bool:
        """Whether sets of images are tracked as they come."""
        return self._follower is not None

    def _on_learned(self, described: DescribedModel) -> None:
        if self._worker is not None:
            self._take_up(described)

    def _take_up(self, described: DescribedModel) -> None:
        """Describe a model, show it and follow it from the next images on."""
        self._forget()
        self._described, self._follower = described, None
        self._output.describe(described)
        self._held = (described.learned_pose, 'learned')
        self._show_held()
        self._worker.post(lambda: self._prepare(described, self._rig is not None))

    def _prepare(self, described: DescribedModel, follows: bool) -> None:
        self._output.prepare(described)
        if not follows:
            return
        tracker = self._make_tracker(described.model, self.parameters.tracking_config())
        follower = Follower(described, tracker, self.parameters)
        if self._described is described:
            self._follower = follower

    # Images, from the executor to the worker

    def _on_set(self, found: RigSet) -> None:
        self._statistics.arrived(time.monotonic())
        if self._learning.is_busy:
            self._learning.offer(found)
            return
        if self._follower is None or not self.parameters.tracking_enabled:
            return
        rate, last_ns = self.parameters.tracking_max_rate, self._last_stamp_ns
        if rate > 0 and last_ns is not None:
            if 0 <= found.stamp_ns - last_ns < NANOSECONDS / rate:
                return
        self._last_stamp_ns = found.stamp_ns
        self._worker.submit((found, time.monotonic(), self._epoch))

    def _follow(self, arrival: tuple[RigSet, float, object]) -> None:
        found, received_s, epoch = arrival
        follower, rig = self._follower, self._rig
        if epoch is not self._epoch or follower is None or rig is None:
            return
        if (
            self._tracked is not None
            and found.stamp_ns < Time.from_msg(self._tracked.stamp).nanoseconds
        ):
            self.get_logger().info('Time jumped back; searching for the thing again.')
            follower.forget()
        views = live_views(rig, found, self.parameters, self._warnings.tell)
        tracked = follower.follow(found.stamp_ns, views)
        if epoch is not self._epoch:
            return
        shown = shown_pose(tracked, found.stamp_ns)
        now_s = time.monotonic()
        self._statistics.finished(now_s, now_s - received_s, tracked.score, tracked.lost)
        self._tracked, self._held = shown, None
        self._output.show(follower.described, shown)

    # Poses that nobody saw

    def _show_held(self) -> None:
        held = self._held
        if held is None or self._described is None:
            return
        pose, state = held
        now = self.get_clock().now().to_msg()
        self._output.show(self._described, Shown(pose, state, 0.0, now))

    def _present(self) -> ModelPose:
        """Return where the model is: as seen, else as commanded or learned."""
        held = self._held
        return held[0] if held is not None else self._tracked.pose

    def _on_joint_command(self, message: JointState) -> None:
        if self._described is None:
            self._warnings.warn('no model', 'joint_command came, but there is no model yet.')
            return
        if not message.name and not message.position:
            self._command = None
            is_seen = self._tracked is not None
            self._held = None if is_seen else (self._described.learned_pose, 'learned')
            return
        start = self._command or self._present()
        try:
            command = commanded_positions(
                self._described.skeleton,
                message.name,
                message.position,
                start_D=start.positions_D,
                limits=self.parameters.limits,
            )
        except ArticulationError as error:
            self._warnings.warn('joint_command', f'joint_command was rejected: {error}')
            return
        for sentence in command.clamped:
            self._warnings.warn(sentence[:60], f'joint_command: {sentence}')
        self._command = ModelPose(command.positions_D, self._present().T_world_root)
        if not self._is_following():
            self._held = (self._command, 'command')
            self._show_held()

    def _is_following(self) -> bool:
        """Whether poses come from images now."""
        age_s = self._statistics.age_s(time.monotonic())
        return (
            self._tracked is not None
            and self.parameters.tracking_enabled
            and age_s is not None
            and age_s < self.parameters.lost_after
        )

    async def _on_repose(self, request: Repose.Request, response: Repose.Response):
        described = self._described
        if described is None:
            response.success = False
            response.message = 'There is no model yet: learn one, or set the parameter model.'
            return response
        parameters, transforms = self.parameters, self._transforms
        T_world_root = self._present().T_world_root

        def answer() -> Repose.Response:
            return repose(described, T_world_root, request, response, parameters, transforms)

        try:
            return await self._worker.ask(answer, self.executor.wake).arrival()
        except (PosefieldError, WorkerStopped) as error:
            return Repose.Response(success=False, message=str(error))

    def _request_render(self) -> None:
        if self._described is None or not self._output.wants_render:
            return
        described, pose = self._described, self._command or self._present()
        stamp = self.get_clock().now().to_msg()
        if self._command is None and self._held is None:
            stamp = self._tracked.stamp
        render = self._render
        if render.begin():
            self._worker.post(lambda: render.send(described, pose, stamp))

    def _publish_diagnostics(self) -> None:
        held, tracked = self._held, self._tracked
        state = held[1] if held is not None else tracked.state if tracked is not None else ''
        message = diagnostics(
            self.get_name(),
            self.get_fully_qualified_name(),
            self._described,
            state,
            self._learning.stage,
            self._rig,
            {
                'sets dropped': str(self._worker.dropped),
                **self._statistics.values(time.monotonic()),
            },
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main(args: Sequence[str] | None = None, make_tracker: MakeTracker = PoseTracker) -> int:
    """Run the node; 0 after Ctrl-C, 1 where it cannot be configured."""
    return run(
        lambda: ArticulationNode(make_tracker),
        lambda node, executor: spin_lifecycle(node, executor, node.parameters.autostart),
        args,
    )
