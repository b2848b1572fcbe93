"""The simulated rig node: a robot in PyBullet, filmed by cameras in real time."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
import os
import threading
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

from posefield.data.commanded_motion import CommandedMotion
from posefield.data.simulated_rig import ENDED, LiveDrawer, make_scene
from posefield.data.simulated_robot import SimulatedRobot
from posefield.errors import DataError
from posefield.nodes.camera_publisher import CameraPublisher, StaticTransforms
from posefield.nodes.conversions import transform_to_message
from posefield.nodes.parameters import declare
from posefield.nodes.running import run
from posefield.nodes.simulated_rig_interface import SimulatedRigParameters
from posefield.nodes.throttle import ThrottledWarnings
from posefield.nodes.transforms import TF_QOS
from posefield.nodes.worker import Worker

try:
    from trajectory_msgs.msg import JointTrajectory
except ImportError:
    JointTrajectory = None

DEPTH = 10
# Moments that may wait to be drawn, for every process that draws.
WAITING = 2
# Longer than any queue of moments can get.
MOST_WAITING = 1000
NANOSECONDS = 1e9


@dataclass(frozen=True)
class Moment:
    """A moment that is being drawn."""

    stamp: Any
    drawn: Future


class SimulatedRig(Node):
    """Moves the robot, has it drawn, and publishes what the cameras see."""

    def __init__(self, **options: Any):
        """Declare parameters, load the robot and start the processes that draw.

        Raises:
            PosefieldError: for a bad parameter or robot.
        """
        super().__init__('simulated_rig', **options)
        self._worker: Worker | None = None
        self._drawer: LiveDrawer | None = None
        self._robot: SimulatedRobot | None = None
        self.parameters = parameters = declare(self, SimulatedRigParameters)
        self._warnings = ThrottledWarnings(self.get_logger())
        self.scene = make_scene(
            parameters.urdf,
            cameras=parameters.cameras,
            size=parameters.size,
            duration_s=parameters.duration,
            max_joint_speed=parameters.max_joint_speed,
            seed=parameters.seed,
        )
        self._motion = CommandedMotion(self.scene.joints, parameters.max_joint_speed)
        self._is_random = parameters.motion == 'random'
        self._is_paused = parameters.paused
        self._names = [joint.name for joint in self.scene.joints]
        self._create_publishers()
        processes = parameters.processes or max(1, len(os.sched_getaffinity(0)) - 1)
        self._most_waiting = WAITING * processes
        self._waiting = 0
        self._lock = threading.Lock()
        self._drawer = LiveDrawer(self.scene.drawing, processes)
        # Time of the random motion: what had passed when it was last paused or begun, and when.
        self._passed_s, self._begun_s = 0.0, self._now_s()
        self._worker = Worker(self._send, MOST_WAITING, self._on_error, 'sender')
        self._failure: str | None = None
        if parameters.publish_link_tf:
            self._robot = SimulatedRobot(parameters.urdf).__enter__()
        self._create_inputs()

    def _create_publishers(self) -> None:
        parameters = self.parameters
        self._cameras = [CameraPublisher(self, rig.name) for rig in self.scene.cameras]
        self._frames = [f'{rig.name}{parameters.frame_suffix}' for rig in self.scene.cameras]
        self._masks = [
            self.create_publisher(Image, f'{rig.name}/mask', DEPTH)
            for rig in self.scene.cameras
            if parameters.publish_masks
        ]
        self._joint_states = self.create_publisher(JointState, '~/joint_states', DEPTH)
        self._tf = self.create_publisher(TFMessage, '/tf', TF_QOS)
        self._static = StaticTransforms(
            self,
            [
                transform_to_message(
                    rig.T_world_cam, parameters.world_frame, frame, Time().to_msg()
                )
                for rig, frame in zip(self.scene.cameras, self._frames, strict=True)
            ],
        )

    def _create_inputs(self) -> None:
        parameters = self.parameters
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / parameters.rate, self._take_picture, clock=steady)
        self.create_timer(1.0 / parameters.joint_rate, self._tell_joints, clock=steady)
        self.create_subscription(JointState, '~/joint_command', self._on_command, DEPTH)
        if JointTrajectory is not None:
            self.create_subscription(
                JointTrajectory, '~/joint_trajectory', self._on_trajectory, DEPTH
            )
        self.create_service(SetBool, '~/pause', self._on_pause)
        self.create_service(Trigger, '~/restart', self._on_restart)

    def film(self, executor: SingleThreadedExecutor) -> int:
        """Spin until the node is interrupted or cannot draw any more.

        Raises:
            DataError: when a process that draws has ended.
        """
        while self.context.ok():
            executor.spin_once(timeout_sec=0.1)
            if self._failure is not None:
                raise DataError(self._failure)
        return 0

    def _now_s(self) -> float:
        return self.get_clock().now().nanoseconds / NANOSECONDS

    def _positions(self, now_s: float) -> np.ndarray:
        """Return where the joints (J,) are at a time of the node's clock."""
        if not self._is_random:
            return self._motion.positions(now_s)
        going_s = 0.0 if self._is_paused else now_s - self._begun_s
        return self.scene.random_positions(self._passed_s + going_s)

    def _take_picture(self) -> None:
        """Begin to draw the present moment, unless too many are waiting."""
        if self._is_paused:
            return
        with self._lock:
            too_many = self._waiting >= self._most_waiting
            self._waiting += not too_many
        if too_many:
            self._warnings.warn(
                'slow',
                f'{self.parameters.rate:g} Hz cannot be drawn in time, so some moments are left '
                'out; fewer or smaller cameras, a lower rate or more processes help.',
            )
            return
        now = self.get_clock().now()
        positions = self._positions(now.nanoseconds / NANOSECONDS)
        self._worker.submit(Moment(now.to_msg(), self._drawer.draw(positions)))

    def _send(self, moment: Moment) -> None:
        """Publish a moment when it is drawn; called in the order of the moments."""
        try:
            drawn = moment.drawn.result()
        finally:
            with self._lock:
                self._waiting -= 1
        for view, (rig, camera, frame) in enumerate(
            zip(self.scene.cameras, self._cameras, self._frames, strict=True)
        ):
            header = Header(stamp=moment.stamp, frame_id=frame)
            camera.publish(drawn.images_VHW3[view], rig.camera, header)
            if self._masks:
                self._masks[view].publish(_mask_message(drawn.labels_VHW[view], header))

    def _on_error(self, error: Exception) -> None:
        """Take what went wrong while a moment was drawn or sent."""
        if isinstance(error, BrokenProcessPool):
            self._failure = ENDED
        elif self.context.ok():
            self._failure = f'Images could not be drawn: {error!r}.'

    def _tell_joints(self) -> None:
        now = self.get_clock().now()
        positions = self._positions(now.nanoseconds / NANOSECONDS)
        self._joint_states.publish(
            JointState(
                header=Header(stamp=now.to_msg()), name=self._names, position=positions.tolist()
            )
        )
        if self._robot is None:
            return
        parameters = self.parameters
        self._tf.publish(
            TFMessage(
                transforms=[
                    transform_to_message(
                        T, parameters.world_frame, f'{parameters.link_prefix}{name}', now.to_msg()
                    )
                    for name, T in zip(
                        self._robot.links, self._robot.link_poses(positions), strict=True
                    )
                ]
            )
        )

    def _on_command(self, message: JointState) -> None:
        now_s = self._now_s()
        self._command(
            'joint_command', lambda motion: motion.go_to(message.name, message.position, now_s)
        )

    def _on_trajectory(self, message: Any) -> None:
        now_s = self._now_s()
        times = [p.time_from_start.sec + p.time_from_start.nanosec / 1e9 for p in message.points]
        points = [p.positions for p in message.points]
        self._command(
            'joint_trajectory',
            lambda motion: motion.follow(message.joint_names, times, points, now_s),
        )

    def _command(self, topic: str, give: Callable[[CommandedMotion], None]) -> None:
        """Give a command; the first one ends the random motion where it is."""
        now_s = self._now_s()
        motion = self._motion
        if self._is_random:
            motion = CommandedMotion(self.scene.joints, self.parameters.max_joint_speed)
            motion.stand_at(self._positions(now_s))
        try:
            give(motion)
        except DataError as error:
            self._warnings.warn(topic, f'{topic} was rejected: {error}')
            return
        self._motion, self._is_random = motion, False

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data != self._is_paused:
            now_s = self._now_s()
            if request.data:
                self._passed_s += now_s - self._begun_s
            self._begun_s, self._is_paused = now_s, request.data
        response.success = True
        response.message = 'Paused.' if request.data else 'Going on.'
        return response

    def _on_restart(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        self._passed_s, self._begun_s = 0.0, self._now_s()
        self._is_random = True
        response.success, response.message = True, 'The random motion begins.'
        return response

    def destroy_node(self) -> None:
        """End the processes with the node."""
        if self._drawer is not None:
            self._drawer.close()
        if self._worker is not None:
            self._worker.stop(5.0)
        if self._robot is not None:
            self._robot.__exit__()
            self._robot = None
        super().destroy_node()


def _mask_message(labels_HW: np.ndarray, header: Header) -> Image:
    height, width = labels_HW.shape
    mask = np.where(labels_HW > 0, 255, 0).astype(np.uint8)
    return Image(
        header=header, height=height, width=width, encoding='mono8', step=width,
        data=mask.tobytes(),
    )  # fmt: skip


def main(args: Sequence[str] | None = None) -> int:
    """Film the robot; 0 after Ctrl-C, 1 where it cannot be filmed."""
    return run(SimulatedRig, SimulatedRig.film, args)
