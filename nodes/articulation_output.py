"""What the articulation node tells the world about its model and where it is."""

from collections.abc import Sequence
from dataclasses import dataclass
import threading

import builtin_interfaces.msg
from geometry_msgs.msg import TransformStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2
from std_msgs.msg import Header, String
from visualization_msgs.msg import MarkerArray

from posefield.articulation.described_model import DescribedModel, ModelPose
from posefield.articulation.part_points import PartPoints, part_points
from posefield.articulation.tracking import TrackedPose
from posefield.nodes.articulation_messages import (
    clear_markers,
    joint_state,
    link_transforms,
    markers,
    skeleton_message,
)
from posefield.nodes.articulation_parameters import ArticulationParameters
from posefield.nodes.clouds import cloud_of_parts
from posefield.nodes.transforms import Transforms
from posefield_msgs.msg import ArticulatedModel

LATCHED_1 = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True, eq=False)
class Shown:
    """A pose on its way out.

    Attributes:
        pose: of the model.
        state: as in ArticulatedModel.msg.
        score: of the tracking.
        stamp: of the images that it is from, or now.
    """

    pose: ModelPose
    state: str
    score: float
    stamp: builtin_interfaces.msg.Time


class ArticulationOutput:
    """Publishers of the articulation node; for any thread."""

    def __init__(
        self, node: LifecycleNode, parameters: ArticulationParameters, transforms: Transforms
    ):
        self._node = node
        self._parameters = parameters
        self._transforms = transforms
        self._cloud: tuple[DescribedModel, PartPoints] | None = None
        self._lock = threading.Lock()
        create = node.create_lifecycle_publisher
        self._description = create(String, 'robot_description', LATCHED_1)
        self._joints = create(JointState, 'joint_states', 10)
        self._markers = create(MarkerArray, '~/markers', 10)
        self._skeleton = create(ArticulatedModel, '~/skeleton', 10)
        self._parts = create(PointCloud2, '~/parts', 1)
        self._render = create(Image, '~/render', 1)
        self._info = create(CameraInfo, '~/camera_info', 10)
        self._publishers = (
            self._description,
            self._joints,
            self._markers,
            self._skeleton,
            self._parts,
            self._render,
            self._info,
        )

    def destroy(self) -> None:
        """Leave the graph."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)

    def describe(self, described: DescribedModel) -> None:
        """Tell of another model."""
        self._description.publish(String(data=described.description))
        self._markers.publish(clear_markers())

    def prepare(self, described: DescribedModel) -> None:
        """Do once what takes long; before it, `~/parts` stays silent. Not for the executor."""
        self._cloud = (described, part_points(described.model, self._parameters.points_per_part))

    def show(self, described: DescribedModel, shown: Shown) -> None:
        """Publish a pose; of a lost thing only the skeleton, which says so."""
        with self._lock:
            self._show(described, shown)

    def _show(self, described: DescribedModel, shown: Shown) -> None:
        frame = self._parameters.world_frame
        header = Header(stamp=shown.stamp, frame_id=frame)
        if self._skeleton.get_subscription_count():
            self._skeleton.publish(
                skeleton_message(described, shown.pose, header, shown.state, shown.score)
            )
        if shown.state == 'lost':
            return
        self._transforms.broadcast(
            link_transforms(
                described, shown.pose, shown.stamp, frame, self._parameters.frame_prefix
            )
        )
        self._joints.publish(joint_state(described, shown.pose, shown.stamp))
        if self._markers.get_subscription_count():
            self._markers.publish(markers(described, shown.pose, header))
        cloud = self._cloud
        if self._parts.get_subscription_count() and cloud and cloud[0] is described:
            points = cloud[1]
            placed = points.placed(described.link_poses(shown.pose))
            self._parts.publish(cloud_of_parts(header, placed, points.colours_N3, points.parts_N))

    @property
    def wants_render(self) -> bool:
        """Whether anybody looks at the render or its calibration."""
        return bool(self._render.get_subscription_count() or self._info.get_subscription_count())

    def send_render(
        self, image: Image, info: CameraInfo, transforms: Sequence[TransformStamped]
    ) -> None:
        """Publish a render, with where it is seen from unless TF has it already."""
        if transforms:
            self._transforms.broadcast(transforms)
        self._info.publish(info)
        self._render.publish(image)


def shown_pose(tracked: TrackedPose, stamp_ns: int) -> Shown:
    """Return what images of this stamp showed."""
    return Shown(
        ModelPose(tracked.joint_positions, tracked.T_world_root),
        'lost' if tracked.lost else 'tracking',
        float(tracked.score),
        Time(nanoseconds=stamp_ns).to_msg(),
    )
