"""What the relocalizer tells the world about one image: pose, TF, result and overlay."""

import time

import cv2
from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from posefield.geometry.camera import Camera
from posefield.geometry.images import resize, to_float_rgb, undistort
from posefield.nodes.conversions import (
    pose_to_message,
    pose_with_covariance,
    stamp_ns,
    transform_to_message,
)
from posefield.nodes.images import message_from_rgb
from posefield.nodes.parameters import RelocalizerParameters
from posefield.nodes.transforms import Transforms
from posefield.relocalization.localization import Localization
from posefield.relocalization.tracker import FOLLOWING_STATES, TrackedPose
from posefield_msgs.msg import LocalizationResult


class PoseOutput:
    """Publishers of the relocalizer. Nothing goes to `pose` or TF for an unpublished pose."""

    def __init__(
        self, node: LifecycleNode, parameters: RelocalizerParameters, transforms: Transforms
    ):
        self._node = node
        self._parameters = parameters
        self._transforms = transforms
        self._T_map_odom: np.ndarray | None = None
        self._rebroadcast_timer = None
        self._pose = node.create_lifecycle_publisher(PoseWithCovarianceStamped, 'pose', 10)
        self._result = node.create_lifecycle_publisher(LocalizationResult, '~/result', 10)
        self._overlay = node.create_lifecycle_publisher(Image, '~/overlay', 1)

    def activate(self) -> None:
        """Start the rebroadcast of map -> odom."""
        rate = self._parameters.tf_rebroadcast_rate
        if self._parameters.tf_mode == 'map_to_odom' and rate > 0:
            self._rebroadcast_timer = self._node.create_timer(1.0 / rate, self._rebroadcast)

    def deactivate(self) -> None:
        """Stop the rebroadcast and forget what was broadcast."""
        self.forget()
        if self._rebroadcast_timer is not None:
            self._node.destroy_timer(self._rebroadcast_timer)
            self._rebroadcast_timer = None

    def destroy(self) -> None:
        """Leave the graph."""
        for publisher in (self._pose, self._result, self._overlay):
            self._node.destroy_lifecycle_publisher(publisher)

    def reconfigure(self, parameters: RelocalizerParameters) -> None:
        """Take over parameters that can change while running."""
        self._parameters = parameters

    def forget(self) -> None:
        """Stop repeating the last map -> odom."""
        self._T_map_odom = None

    def publish(self, tracked: TrackedPose, header: Header, received_s: float) -> float:
        """Publish what one image brought and return its latency in seconds.

        Args:
            tracked: the tracker's answer.
            header: of the image.
            received_s: when the image came in, by time.monotonic().
        """
        if tracked.published:
            self._pose.publish(
                PoseWithCovarianceStamped(
                    header=Header(stamp=header.stamp, frame_id=self._parameters.map_frame),
                    pose=pose_with_covariance(tracked.T_map_base, tracked.covariance_base),
                )
            )
            self._broadcast(tracked, header)
        elif tracked.state not in FOLLOWING_STATES:
            self.forget()
        result = result_message(tracked.localization, header, self._parameters.map_frame)
        result.state = tracked.state.value
        result.accepted = tracked.published
        result.reason = tracked.reason
        result.latency_s = time.monotonic() - received_s
        self._result.publish(result)
        return result.latency_s

    def _broadcast(self, tracked: TrackedPose, header: Header) -> None:
        parameters = self._parameters
        if parameters.tf_mode == 'none':
            return
        if parameters.tf_mode == 'map_to_odom':
            # At the image's stamp for who looks it up there, and ahead of now for everybody else.
            self._T_map_odom = tracked.T_map_odom
            self._transforms.broadcast(
                [
                    self._map_to_odom(header.stamp),
                    self._map_to_odom(self._ahead_of(header.stamp)),
                ]
            )
            return
        child = parameters.base_frame
        if parameters.tf_mode == 'map_to_camera':
            child = header.frame_id
        self._transforms.broadcast(
            [transform_to_message(tracked.T_map_base, parameters.map_frame, child, header.stamp)]
        )

    def _map_to_odom(self, stamp):
        return transform_to_message(
            self._T_map_odom, self._parameters.map_frame, self._parameters.odom_frame, stamp
        )

    def _ahead_of(self, image_stamp):
        """Return the later of the image's stamp and now, plus the tolerance."""
        now_ns = self._node.get_clock().now().nanoseconds
        tolerance_ns = round(self._parameters.transform_tolerance * 1e9)
        latest_ns = max(now_ns, stamp_ns(image_stamp))
        return Time(nanoseconds=latest_ns + tolerance_ns).to_msg()

    def _rebroadcast(self) -> None:
        if self._T_map_odom is not None:
            now = self._node.get_clock().now().to_msg()
            self._transforms.broadcast([self._map_to_odom(self._ahead_of(now))])

    @property
    def wants_overlay(self) -> bool:
        """Whether anybody looks at the overlay."""
        return self._overlay.get_subscription_count() > 0

    def publish_overlay(
        self, localizer, T_map_cam: np.ndarray, image: np.ndarray, camera: Camera, header: Header
    ) -> None:
        """Publish the map's render at the pose, blended over the undistorted image."""
        query, pinhole = undistort(image, camera)
        small = pinhole.with_short_side(
            min(self._parameters.overlay_short_side, camera.width, camera.height)
        )
        query = to_float_rgb(resize(query, small.width, small.height))
        render = np.clip(localizer.render(T_map_cam, small).image_HW3, 0.0, 1.0)
        share = self._parameters.overlay_blend
        blend = cv2.addWeighted(render.astype(np.float32), share, query, 1.0 - share, 0.0)
        rgb = np.round(blend * 255.0).astype(np.uint8)
        self._overlay.publish(message_from_rgb(rgb, header))


def result_message(
    localization: Localization, header: Header, map_frame: str
) -> LocalizationResult:
    """Return what the localizer found out about the image with this header."""
    return LocalizationResult(
        header=Header(stamp=header.stamp, frame_id=map_frame),
        child_frame_id=header.frame_id,
        pose=pose_with_covariance(localization.T_map_cam, localization.covariance),
        coarse_pose=pose_to_message(localization.T_map_cam_coarse),
        hypothesis=localization.hypothesis,
        accepted=localization.accepted,
        score=float(localization.score),
        reason=localization.reason,
        renders=int(localization.renders),
        iterations=int(localization.iterations),
        latency_s=float(localization.timings.get('total', 0.0)),
        timing_names=list(localization.timings),
        timing_seconds=[float(s) for s in localization.timings.values()],
    )
