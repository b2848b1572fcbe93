"""An articulation node with a model that nobody had to learn, and everything that it says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import rclpy
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from posefield.articulation.tracking import TrackedPose
from posefield.nodes.articulation import ArticulationNode
from posefield.nodes.articulation_output import LATCHED_1
from posefield.nodes.transform_buffer import TransformMissing
from posefield.nodes.transforms import TF_QOS
from posefield_msgs.msg import ArticulatedModel
from support.ball_model import AS_RECORDED, ball_model


class FakeTracker:
    """Says that the joint is where the first red value of the first view says, in 100ths.

    A black first pixel means that the thing is lost.
    """

    def __init__(self, model: Any, config: Any = None):
        self.model = model
        self.calls: list[tuple[list, TrackedPose | None, float]] = []

    def track(self, views, previous=None, stamp_s=None) -> TrackedPose:
        """Answer from a pixel."""
        self.calls.append((list(views), previous, stamp_s))
        level = round(255 * float(views[0].image_HW3[0, 0, 0]))
        positions = np.array([level / 100.0])
        T_world_root = self.model.root_pose(0)
        return TrackedPose(
            joint_positions=positions,
            T_world_root=T_world_root,
            T_world_link_L44=self.model.structure.forward(positions, T_world_root),
            T_world_part_P44=self.model.repose(positions, T_world_root),
            score=0.9 if level else 0.1,
            lost=level == 0,
            iterations=3,
            seconds=0.01,
            stamp_s=stamp_s,
        )


@dataclass
class Heard:
    """What the node said."""

    descriptions: list = field(default_factory=list)
    joints: list = field(default_factory=list)
    transforms: list = field(default_factory=list)
    markers: list = field(default_factory=list)
    skeletons: list = field(default_factory=list)
    clouds: list = field(default_factory=list)
    renders: list = field(default_factory=list)
    infos: list = field(default_factory=list)
    diagnostics: list = field(default_factory=list)

    def clear(self) -> None:
        """Forget what was heard, except descriptions."""
        for name, heard in vars(self).items():
            if name != 'descriptions':
                heard.clear()


def save_balls(folder: Path) -> Path:
    """Write the model of the two balls, whose one joint is `swing`."""
    ball_model(AS_RECORDED).save(folder)
    return folder


class Puppet:
    """The node, and a node that listens and commands."""

    def __init__(self, graph, parameters: Mapping[str, Any], make_tracker=FakeTracker):
        self.graph = graph
        self.trackers: list[Any] = []

        def make(model, config):
            self.trackers.append(make_tracker(model, config))
            return self.trackers[-1]

        overrides = [
            Parameter(name.replace('__', '.'), value=value) for name, value in parameters.items()
        ]
        self.subject = graph.add(ArticulationNode(make, parameter_overrides=overrides))
        self.node = graph.add(rclpy.create_node('puppeteer'))
        self.heard = Heard()
        self.commands = self.node.create_publisher(JointState, 'articulation/joint_command', 10)
        self._listen()

    def _listen(self) -> None:
        heard, listen = self.heard, self.node.create_subscription
        listen(JointState, 'joint_states', heard.joints.append, 10)
        listen(TFMessage, '/tf', lambda m: heard.transforms.extend(m.transforms), TF_QOS)
        listen(MarkerArray, 'articulation/markers', heard.markers.append, 10)
        listen(ArticulatedModel, 'articulation/skeleton', heard.skeletons.append, 10)
        listen(PointCloud2, 'articulation/parts', heard.clouds.append, 10)
        listen(DiagnosticArray, '/diagnostics', heard.diagnostics.append, 10)

    def listen_late(self) -> None:
        """Subscribe to the description now."""
        self.node.create_subscription(
            String, 'robot_description', self.heard.descriptions.append, LATCHED_1
        )

    def look(self) -> None:
        """Subscribe to the render."""
        heard, listen = self.heard, self.node.create_subscription
        listen(Image, 'articulation/render', heard.renders.append, 10)
        listen(CameraInfo, 'articulation/camera_info', heard.infos.append, 10)

    def start(self) -> None:
        """Configure and activate, and wait for the connections."""
        assert self.subject.trigger_configure().name == 'SUCCESS'
        assert self.subject.trigger_activate().name == 'SUCCESS'
        assert self.graph.spin_until(
            lambda: (
                self.commands.get_subscription_count() == 1
                and self.node.count_publishers('joint_states') == 1
            ),
            20.0,
        )

    def command(self, names=('swing',), positions=(0.3,)) -> None:
        """Publish a joint command."""
        self.commands.publish(JointState(name=list(names), position=list(positions)))

    def set(self, name: str, value: Any) -> None:
        """Set a parameter that is live."""
        (result,) = self.subject.set_parameters([Parameter(name, value=value)])
        assert result.successful, result.reason

    def wait_for_tracker(self) -> Any:
        """Wait until sets are tracked and return what tracks."""
        assert self.graph.spin_until(lambda: self.subject.follows, 20.0)
        return self.trackers[-1]

    def has_heard(self, names: Iterable[str]) -> bool:
        """Whether the node knows the calibrations of its cameras, and where these stand."""
        feeds = self.subject._rig.feeds
        if any(feed.topic.info is None for feed in feeds.values()):
            return False
        try:
            for name in names:
                frame = feeds[name].topic.info.header.frame_id
                self.subject._transforms.lookup('world', frame, 0)
        except TransformMissing:
            return False
        return True

    @property
    def position(self) -> float | None:
        """The last position of the joint."""
        return self.heard.joints[-1].position[0] if self.heard.joints else None

    def reaches(self, position: float, timeout_s: float = 10.0) -> bool:
        """Spin until the joint is said to be somewhere."""
        return self.graph.spin_until(
            lambda: self.position is not None and abs(self.position - position) < 1e-9, timeout_s
        )
