"""Node that writes down what a relocalizer publishes, to score it afterwards.

It stands outside the relocalizer's process, so it sees what any other node would see.  At
shutdown it writes one JSON file (kind `pose_recording`): for every message the stamp of the
image and when it was received.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path
import sys
import time

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from posefield.errors import PosefieldError
from posefield.nodes.conversions import pose_from_message, stamp_ns, transform_from_message
from posefield.nodes.parameters import declare, parameter
from posefield.nodes.running import run
from posefield.nodes.transforms import TF_QOS
from posefield.storage import write_json
from posefield_msgs.msg import LocalizationResult

QOS = QoSProfile(depth=100)


@dataclass(frozen=True)
class PoseRecorderParameters:
    """Parameters of the pose recorder."""

    output: str = parameter('', 'JSON file to write at shutdown.')
    map_frame: str = parameter('map', 'Parent of the transform to record.')
    odom_frame: str = parameter('odom', 'Child of the transform to record.')


class PoseRecorder(Node):
    """Keeps camera_info arrivals, poses, results and the map -> odom transform in memory."""

    def __init__(self):
        super().__init__('pose_recorder')
        self._parameters = declare(self, PoseRecorderParameters)
        if not self._parameters.output:
            raise PosefieldError('The parameter output is empty, expected a JSON file to write.')
        self._images: list[dict] = []
        self._poses: list[dict] = []
        self._results: list[dict] = []
        self._corrections: list[dict] = []
        self._kept = [
            # camera_info comes with every image and is small: its arrival stands for both.
            self.create_subscription(
                CameraInfo, 'camera_info', self._on_camera_info, qos_profile_sensor_data
            ),
            self.create_subscription(PoseWithCovarianceStamped, 'pose', self._on_pose, QOS),
            self.create_subscription(LocalizationResult, 'result', self._on_result, QOS),
            self.create_subscription(TFMessage, '/tf', self._on_tf, TF_QOS),
        ]

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._images.append(_received(message.header.stamp))

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        self._poses.append(
            {
                **_received(message.header.stamp),
                'frame_id': message.header.frame_id,
                'T': pose_from_message(message.pose.pose, 'the pose topic').tolist(),
                'covariance': list(message.pose.covariance),
            }
        )

    def _on_result(self, message: LocalizationResult) -> None:
        self._results.append(
            {
                **_received(message.header.stamp),
                'T_map_cam': pose_from_message(message.pose.pose, 'the result').tolist(),
                'covariance': [_finite(value) for value in message.pose.covariance],
                'T_map_cam_coarse': pose_from_message(
                    message.coarse_pose, 'the coarse pose'
                ).tolist(),
                'state': message.state,
                'hypothesis': message.hypothesis,
                'accepted': message.accepted,
                'score': _finite(message.score),
                'reason': message.reason,
                'renders': message.renders,
                'iterations': message.iterations,
                'latency_s': _finite(message.latency_s),
                'timings': dict(
                    zip(message.timing_names, map(float, message.timing_seconds), strict=False)
                ),
            }
        )

    def _on_tf(self, message: TFMessage) -> None:
        wanted = (self._parameters.map_frame, self._parameters.odom_frame)
        for stamped in message.transforms:
            if (stamped.header.frame_id, stamped.child_frame_id) == wanted:
                name = f'{wanted[0]} -> {wanted[1]} on TF'
                self._corrections.append(
                    {
                        **_received(stamped.header.stamp),
                        'T': transform_from_message(stamped.transform, name).tolist(),
                    }
                )

    def save(self) -> None:
        """Write the file."""
        write_json(
            Path(self._parameters.output),
            {
                'schema': 1,
                'kind': 'pose_recording',
                'images': self._images,
                'poses': self._poses,
                'results': self._results,
                'map_to_odom': self._corrections,
            },
        )


def _received(stamp) -> dict:
    return {'stamp_ns': stamp_ns(stamp), 'received_s': time.monotonic()}


def _finite(value: float) -> float | None:
    """Return a number for JSON, which has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None


def _spin_and_save(node: PoseRecorder, executor: Executor) -> int:
    """Record until SIGINT or SIGTERM ends the spinning, then write the file."""
    try:
        executor.spin()
    finally:
        node.save()
    return 0


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(PoseRecorder, _spin_and_save, args)


if __name__ == '__main__':
    sys.exit(main())
