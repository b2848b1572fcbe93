"""Node that drives the demo of articulation, as a user's program would, and writes down the rest.

It asks capture to record the simulated rig, has the articulation node learn from the recording,
reads the robot description as a late subscriber, asks for a render in a new pose, and then listens
to the joints that are tracked, beside the true ones.  At its end it writes `received.json` (kind
`articulation_demo`), the URDF and pictures into its output folder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
import sys
import time
from typing import Any

import cv2
import numpy as np
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from posefield.errors import PosefieldError
from posefield.nodes.conversions import stamp_ns
from posefield.nodes.images import rgb_from_message
from posefield.nodes.parameters import declare, parameter
from posefield.nodes.running import run
from posefield.storage import atomic_write_bytes, write_json
from posefield_msgs.action import Learn
from posefield_msgs.msg import ArticulatedModel
from posefield_msgs.srv import Repose

POLL_S, RETRY_S = 0.02, 1.0
START_TIMEOUT_S, ANSWER_TIMEOUT_S, IMPORT_TIMEOUT_S = 90.0, 30.0, 180.0
# What learning may take beside the minutes asked for.
SPARE_MINUTES = 8.0
QUEUE = 200
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class DemoError(PosefieldError):
    """A step of the demo failed."""


@dataclass(frozen=True)
class ArticulationDemoParameters:
    """Parameters of the driver of the demo."""

    output: str = parameter('', 'Folder to write to.')
    captures: str = parameter('', 'Folder in which the capture node records.')
    camera: str = parameter('cam_00', 'Camera whose images are kept, and that is re-posed for.')
    record_seconds: float = parameter(10.0, 'How long to record.', unit='s', low=1.0, high=600.0)
    track_seconds: float = parameter(10.0, 'How long to track.', unit='s', low=1.0, high=600.0)
    minutes: float = parameter(5.5, 'Time to learn.', unit='min', low=0.01, high=600.0)
    preset: str = parameter('auto', 'Size of the model.')
    parts: int = parameter(0, "Ellipsoids of the model; 0 takes the preset's.", low=0, high=1000)
    seed: int = parameter(0, 'Of learning.', low=0, high=2**31 - 1)


class ArticulationDemo(Node):
    """The steps of the demo, one after the other."""

    def __init__(self):
        super().__init__('articulation_demo')
        self._parameters = declare(self, ArticulationDemoParameters)
        if not self._parameters.output:
            raise DemoError('The parameter output is empty, expected a folder to write to.')
        self._output = Path(self._parameters.output)
        self._executor: SingleThreadedExecutor | None = None
        self._true: list[JointState] = []
        self._tracked: list[tuple[JointState, float]] = []
        self._states: list[ArticulatedModel] = []
        self._images: dict[int, Image] = {}
        self._info: CameraInfo | None = None
        camera = self._parameters.camera
        self._kept = [
            self.create_subscription(
                JointState, 'simulated_rig/joint_states', self._true.append, QUEUE
            ),
            self.create_subscription(
                CameraInfo, f'{camera}/camera_info', self._on_info, qos_profile_sensor_data
            ),
        ]
        self._learn = ActionClient(self, Learn, 'articulation/learn')
        self._clients_by_name = {
            name: self.create_client(kind, name)
            for name, kind in (
                ('simulated_rig/pause', SetBool),
                ('simulated_rig/restart', Trigger),
                ('capture/start', Trigger),
                ('capture/stop', Trigger),
                ('articulation/repose', Repose),
            )
        }

    def drive(self, executor: SingleThreadedExecutor) -> int:
        """Do everything; return 0.

        Raises:
            DemoError: naming the step that failed.
        """
        self._executor = executor
        self._wait_for_nodes()
        recording, true_recorded = self._record()
        learned = self._learn_from(recording)
        description = self._describe()
        reposed_s = self._repose()
        true_tracked = self._track()
        write_json(
            self._output / 'received.json',
            {
                'schema': 1,
                'kind': 'articulation_demo',
                'recording': str(recording),
                'model': learned.model,
                'learned': learned.message,
                'description_s': description,
                'repose_s': reposed_s,
                'recorded_joints': true_recorded,
                'true_joints': true_tracked,
                'tracked_joints': [
                    {**_joints(message), 'latency_s': latency_s}
                    for message, latency_s in self._tracked
                ],
                'states': [
                    {
                        'stamp_ns': stamp_ns(message.header.stamp),
                        'state': message.state,
                        'score': float(message.score) if math.isfinite(message.score) else None,
                    }
                    for message in self._states
                ],
                'images': sorted(self._images),
            },
        )
        return 0

    # Steps

    def _wait_for_nodes(self) -> None:
        _say('waiting for the simulated rig, capture and articulation')
        for name, client in self._clients_by_name.items():
            self._spin_until(client.service_is_ready, START_TIMEOUT_S, f'{name} is not there')
        self._spin_until(
            self._learn.server_is_ready, START_TIMEOUT_S, 'articulation/learn is not there'
        )
        self._spin_until(
            lambda: self._info is not None and self._true,
            START_TIMEOUT_S,
            'the simulated rig sends nothing',
        )

    def _record(self) -> tuple[Path, dict[str, Any]]:
        """Return the multi-view folder that capture made, and the true joints meanwhile."""
        seconds = self._parameters.record_seconds
        _say(self._start_capture())
        self._spin_for(seconds)
        _say(self._call('capture/stop', Trigger.Request()).message)
        self._call('simulated_rig/pause', SetBool.Request(data=True))
        joints = _series(self._true)
        folder = Path(self._parameters.captures)

        def imported() -> list[Path]:
            return sorted(folder.glob('*_multiview/multiview.json'))

        self._spin_until(imported, IMPORT_TIMEOUT_S, 'the recording was not imported')
        return imported()[-1].parent, joints

    def _start_capture(self) -> str:
        """Record from the beginning of the motion on, as soon as capture hears all cameras."""
        end_s = time.monotonic() + START_TIMEOUT_S
        while True:
            self._call('simulated_rig/restart', Trigger.Request())
            self._true.clear()
            response = self._ask('capture/start', Trigger.Request())
            if response.success:
                return response.message
            if time.monotonic() > end_s:
                raise DemoError(f'capture/start failed: {response.message}')
            self._spin_for(RETRY_S)

    def _learn_from(self, recording: Path) -> Learn.Result:
        parameters = self._parameters
        goal = Learn.Goal(
            recording=str(recording.resolve()),
            model=str((self._output / 'model').resolve()),
            preset=parameters.preset,
            minutes=parameters.minutes,
            parts=parameters.parts,
            seed=parameters.seed,
        )
        _say(f'learning for {parameters.minutes:g} minutes from {recording}')
        told: list[str] = []

        def on_feedback(message: Any) -> None:
            stage = message.feedback.stage
            if not told or told[-1] != stage:
                told.append(stage)
                _say(f'learning: {stage}')

        handle = self._answer(
            self._learn.send_goal_async(goal, feedback_callback=on_feedback),
            ANSWER_TIMEOUT_S,
            'articulation/learn',
        )
        if not handle.accepted:
            raise DemoError('The articulation node rejected the goal to learn.')
        longest_s = 60.0 * (parameters.minutes + SPARE_MINUTES)
        result = self._answer(handle.get_result_async(), longest_s, 'learning').result
        if not result.success:
            raise DemoError(f'Learning failed: {result.message}')
        _say(result.message)
        return result

    def _describe(self) -> float:
        """Write what a late subscriber to robot_description gets; return how long it took."""
        heard: list[String] = []
        begin_s = time.monotonic()
        subscription = self.create_subscription(String, 'robot_description', heard.append, LATCHED)
        self._spin_until(lambda: heard, ANSWER_TIMEOUT_S, 'there is no robot_description')
        seconds = time.monotonic() - begin_s
        self.destroy_subscription(subscription)
        (self._output / 'robot.urdf').write_text(heard[-1].data)
        _say(f'robot_description: a URDF of {len(heard[-1].data)} characters')
        return seconds

    def _repose(self) -> float:
        """Write a render with all joints half way to their upper limits; return its seconds."""
        heard: list[ArticulatedModel] = []
        subscription = self.create_subscription(
            ArticulatedModel, 'articulation/skeleton', heard.append, 10
        )
        self._spin_until(lambda: heard, ANSWER_TIMEOUT_S, 'there is no skeleton')
        self.destroy_subscription(subscription)
        joints = [joint for joint in heard[-1].joints if joint.type != 'fixed']
        request = Repose.Request(
            joint_names=[joint.name for joint in joints],
            joint_positions=[0.5 * joint.upper for joint in joints],
            camera_info=self._info,
        )
        # The first answer waits for what is prepared once.
        self._call('articulation/repose', request)
        begin_s = time.monotonic()
        answer = self._call('articulation/repose', request)
        seconds = time.monotonic() - begin_s
        _write_picture(self._output / 'reposed.png', answer.image)
        _say(f'a render in a new pose in {seconds:.2f} s')
        return seconds

    def _track(self) -> dict[str, Any]:
        """Listen to what is tracked, and return the true joints meanwhile."""
        seconds = self._parameters.track_seconds
        _say(f'tracking for {seconds:g} s')
        subscriptions = [
            self.create_subscription(
                ArticulatedModel, 'articulation/skeleton', self._on_state, QUEUE
            ),
            self.create_subscription(JointState, 'joint_states', self._on_tracked, QUEUE),
            self.create_subscription(
                Image, f'{self._parameters.camera}/image_raw', self._on_image,
                qos_profile_sensor_data,
            ),
        ]  # fmt: skip
        self._call('simulated_rig/restart', Trigger.Request())
        self._true.clear()
        self._call('simulated_rig/pause', SetBool.Request(data=False))
        self._spin_until(
            lambda: any(message.state == 'tracking' for message in self._states),
            START_TIMEOUT_S,
            'nothing is being tracked',
        )
        self._spin_for(seconds)
        for subscription in subscriptions:
            self.destroy_subscription(subscription)
        folder = self._output / 'images'
        folder.mkdir(parents=True, exist_ok=True)
        for stamp, image in self._images.items():
            _write_picture(folder / f'{stamp}.png', image)
        return _series(self._true)

    # Messages

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_state(self, message: ArticulatedModel) -> None:
        if message.state in ('tracking', 'lost'):
            self._states.append(message)

    def _on_tracked(self, message: JointState) -> None:
        now_ns = self.get_clock().now().nanoseconds
        self._tracked.append((message, (now_ns - stamp_ns(message.header.stamp)) / 1e9))

    def _on_image(self, message: Image) -> None:
        self._images[stamp_ns(message.header.stamp)] = message

    # Waiting

    def _spin(self, seconds: float) -> None:
        self._executor.spin_once(timeout_sec=seconds)
        if not self.context.ok():
            raise ExternalShutdownException()

    def _spin_for(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while (remaining_s := end_s - time.monotonic()) > 0:
            self._spin(min(remaining_s, POLL_S))

    def _spin_until(self, done: Callable[[], Any], timeout_s: float, otherwise: str) -> None:
        end_s = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end_s:
                raise DemoError(f'After {timeout_s:.0f} s {otherwise}.')
            self._spin(POLL_S)

    def _answer(self, future: Future, timeout_s: float, name: str) -> Any:
        self._spin_until(future.done, timeout_s, f'{name} has not answered')
        return future.result()

    def _ask(self, name: str, request: Any) -> Any:
        future = self._clients_by_name[name].call_async(request)
        return self._answer(future, ANSWER_TIMEOUT_S, name)

    def _call(self, name: str, request: Any) -> Any:
        response = self._ask(name, request)
        if not response.success:
            raise DemoError(f'{name} failed: {response.message}')
        return response


def _say(text: str) -> None:
    print(f'-- {text}', flush=True)


def _joints(message: JointState) -> dict[str, Any]:
    return {
        'stamp_ns': stamp_ns(message.header.stamp),
        'names': list(message.name),
        'positions': list(message.position),
    }


def _series(messages: Sequence[JointState]) -> dict[str, Any]:
    """Return joint states of the same joints: their names, stamps and positions."""
    return {
        'names': list(messages[0].name) if messages else [],
        'stamps_ns': [stamp_ns(message.header.stamp) for message in messages],
        'positions': [list(message.position) for message in messages],
    }


def _write_picture(path: Path, message: Image) -> None:
    rgb: np.ndarray = rgb_from_message(message)
    png = cv2.imencode('.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
    atomic_write_bytes(path, png.tobytes())


def main(args: Sequence[str] | None = None) -> int:
    """Drive the demo; 0 when all of it worked."""
    return run(ArticulationDemo, ArticulationDemo.drive, args)


if __name__ == '__main__':
    sys.exit(main())
