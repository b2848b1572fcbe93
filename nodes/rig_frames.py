"""The rig frames node: tells TF where the cameras of a rig file stand."""

from collections.abc import Sequence
from typing import Any

from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.time import Time

from posefield.data.rig_file import read_rig_file
from posefield.errors import DataError
from posefield.nodes.camera_publisher import StaticTransforms
from posefield.nodes.capture_parameters import RigFramesParameters
from posefield.nodes.conversions import transform_to_message
from posefield.nodes.parameters import ParameterError, declare
from posefield.nodes.running import run


class RigFramesNode(Node):
    """Publishes static transforms, all in one message, and stays."""

    def __init__(self, **options: Any):
        """Read the rig file and publish.

        Raises:
            PosefieldError: when there is no rig file, or no extrinsics in it.
        """
        super().__init__('rig_frames', **options)
        path = declare(self, RigFramesParameters).rig
        if not path:
            raise ParameterError('Parameter rig is empty, expected a rig file (-p rig:=/path).')
        rig = read_rig_file(path)
        placed = [camera for camera in rig.cameras if camera.T_world_cam is not None]
        if not placed:
            raise DataError(f'No camera of the rig file {path} has extrinsics.')
        stamp = Time().to_msg()
        self._static = StaticTransforms(
            self,
            [
                transform_to_message(camera.T_world_cam, rig.world_frame, camera.frame, stamp)
                for camera in placed
            ],
        )
        frames = ', '.join(camera.frame for camera in placed)
        self.get_logger().info(f'{rig.world_frame} -> {frames} are on /tf_static.')

    def stay(self, executor: Executor) -> int:
        """Spin until interrupted; late subscribers get the transforms while the node lives."""
        executor.spin()
        return 0


def main(args: Sequence[str] | None = None) -> int:
    """Publish; 0 after Ctrl-C, 1 where the rig file cannot be used."""
    return run(RigFramesNode, RigFramesNode.stay, args)
