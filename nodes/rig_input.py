"""The camera side of a node with several cameras: synchronised sets, TF, and who is missing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
import time

from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo

from posefield.data.camera_synchroniser import CameraSynchroniser, SynchronisedSet
from posefield.data.mask_pairing import MaskedItem, MaskPairing
from posefield.geometry.camera import Camera
from posefield.nodes.camera_topic import (
    CameraTopic,
    ImageMessage,
    InputError,
    info_topic,
    subscribe_images,
)
from posefield.nodes.conversions import stamp_ns
from posefield.nodes.rig_diagnostics import camera_status, synchronisation_status
from posefield.nodes.rig_parameters import RigParameters
from posefield.nodes.throttle import ThrottledWarnings
from posefield.nodes.transform_buffer import TransformMissing
from posefield.nodes.transforms import Transforms

# How often waiting images are looked through and silent cameras looked for.
WATCH_PERIOD_S = 0.1
# A camera that comes this long without being in a set is told of.
UNMATCHED_S = 2.0
MASK_NAME = 'mask'


@dataclass(frozen=True, eq=False)
class RigImage:
    """An image of one camera and what held when it came.

    Attributes:
        message: the image.
        mask: its mask; None where none came.
        info: its camera_info.
        camera: what camera_info says.
    """

    message: ImageMessage
    mask: ImageMessage | None
    info: CameraInfo
    camera: Camera


@dataclass(frozen=True, eq=False)
class RigSet:
    """Images that were taken together.

    Attributes:
        stamp_ns: the median of their stamps.
        views: by camera, in the order of the parameter `cameras`; those that missed the moment
            are not in it.
        skew_s: time between the first and the last image.
    """

    stamp_ns: int
    views: Mapping[str, RigImage]
    skew_s: float

    @property
    def images(self) -> dict[str, ImageMessage]:
        """The images, by camera."""
        return {name: view.message for name, view in self.views.items()}

    @property
    def masks(self) -> dict[str, ImageMessage]:
        """The masks, by camera; not those that did not come."""
        return {name: view.mask for name, view in self.views.items() if view.mask is not None}

    @property
    def cameras(self) -> dict[str, Camera]:
        """The cameras that took the images, by name."""
        return {name: view.camera for name, view in self.views.items()}


class Feed:
    """The topics of one camera of a rig, and what came on them."""

    def __init__(
        self,
        node: Node,
        name: str,
        parameters: RigParameters,
        on_image: Callable[[str, ImageMessage], None],
        on_mask: Callable[[str, ImageMessage], None] | None,
        depth: int,
    ):
        """Subscribe; `on_mask` None does not listen to masks."""
        self.name = name
        self._node = node
        base_topic = node.resolve_topic_name(f'{name}/{parameters.image_name}')
        self.topic = CameraTopic(
            node,
            base_topic,
            info_topic(node, base_topic, f'{name}/camera_info'),
            lambda message: on_image(name, message),
            transport=parameters.image_transport,
            rectified=parameters.image_is_rectified,
            depth=depth,
        )
        self._mask_subscription = None
        if on_mask is not None:
            self._mask_subscription = subscribe_images(
                node,
                node.resolve_topic_name(f'{name}/{MASK_NAME}'),
                lambda message: on_mask(name, message),
                'raw',
                depth,
            )
        self.pairing = MaskPairing(
            timeout_s=parameters.sync_timeout / 2.0, buffer=parameters.sync_buffer
        )
        self.message_s: float | None = None
        self.frame: str | None = None
        self.last_stamp_ns: int | None = None
        self.camera: Camera | None = None
        self.rejected = 0
        self.rejection: str | None = None
        self.jumps_told = 0
        self.is_lost = self.was_seen = False

    @property
    def has_masks(self) -> bool:
        """Whether masks are listened to and somebody publishes them."""
        subscription = self._mask_subscription
        return (
            subscription is not None and self._node.count_publishers(subscription.topic_name) > 0
        )

    def destroy(self) -> None:
        """Leave the graph."""
        self.topic.destroy()
        if self._mask_subscription is not None:
            self._node.destroy_subscription(self._mask_subscription)


class RigInput:
    """Subscribes to the cameras of a rig and gives sets of images that were taken together.

    Everything but `extrinsics` belongs to the executor's thread; sets are given there, so
    `on_set` has to be short.
    """

    def __init__(
        self,
        node: Node,
        parameters: RigParameters,
        on_set: Callable[[RigSet], None],
        *,
        transforms: Transforms,
        warnings: ThrottledWarnings,
        with_masks: bool = False,
        depth: int = qos_profile_sensor_data.depth,
    ):
        """Subscribe.

        Args:
            node: that subscribes.
            parameters: names, tolerance, and so on.
            on_set: takes every set.
            transforms: TF of the node, which destroys it.
            warnings: where images that cannot be used are told of.
            with_masks: whether `<name>/mask` is listened to. Where somebody publishes it, an
                image waits for the mask of its stamp.
            depth: images of one camera that may wait for the executor.

        Raises:
            ParameterError, DataError: for cameras that cannot be synchronised.
        """
        parameters.check_cameras()
        self._node = node
        self._parameters = parameters
        self._on_set = on_set
        self._transforms = transforms
        self._warnings = warnings
        self.synchroniser = CameraSynchroniser(
            parameters.cameras,
            tolerance_s=parameters.sync_tolerance,
            min_cameras=parameters.min_cameras or None,
            buffer=parameters.sync_buffer,
            timeout_s=parameters.sync_timeout,
            jump_s=parameters.jump_threshold,
        )
        self.feeds = {
            name: Feed(
                node,
                name,
                parameters,
                self._receive_image,
                self._receive_mask if with_masks else None,
                depth,
            )
            for name in parameters.cameras
        }
        self._begun_s = time.monotonic()
        self._watchdog = node.create_timer(
            WATCH_PERIOD_S, self._watch, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def destroy(self) -> None:
        """Leave the graph."""
        self._node.destroy_timer(self._watchdog)
        for feed in self.feeds.values():
            feed.destroy()

    @property
    def parameters(self) -> RigParameters:
        """What it was told."""
        return self._parameters

    @property
    def lost(self) -> tuple[str, ...]:
        """The cameras that are silent."""
        return tuple(name for name, feed in self.feeds.items() if feed.is_lost)

    def camera(self, name: str) -> Camera | None:
        """Return the camera of the last image; None before the first that could be used."""
        return self.feeds[name].camera

    def frame(self, name: str) -> str | None:
        """Return the optical frame of the last image; None before the first."""
        return self.feeds[name].frame

    def picture(self, name: str, message: ImageMessage) -> np.ndarray:
        """Return the pixels of an image, (H, W, 3) RGB uint8; for any thread.

        Raises:
            InputError: where it cannot be decoded.
        """
        return self.feeds[name].topic.picture(message)

    def extrinsics(
        self, world_frame: str, at_ns: int | None = None, timeout_s: float = 0.0
    ) -> dict[str, np.ndarray]:
        """Return T_world_cam (4, 4) of every camera that has sent an image; for any thread.

        Only threads other than the executor's may wait.

        Args:
            world_frame: TF frame.
            at_ns: when; None takes the stamp of each camera's last image.
            timeout_s: how long to wait for late TF, for all cameras together.

        Raises:
            InputError: naming the cameras whose TF is missing, with the reason.
        """
        deadline_s = time.monotonic() + timeout_s
        poses, missing = {}, []
        for name, feed in self.feeds.items():
            if feed.frame is None:
                continue
            when_ns = feed.last_stamp_ns if at_ns is None else at_ns
            remaining_s = max(0.0, deadline_s - time.monotonic())
            try:
                poses[name] = self._transforms.lookup(
                    world_frame, feed.frame, when_ns, remaining_s
                )
            except TransformMissing as error:
                missing.append(f'{name} ("{world_frame}" -> "{feed.frame}": {error})')
        if missing:
            raise InputError(
                'tf', f'TF does not tell where these cameras are: {"; ".join(missing)}.'
            )
        return poses

    def diagnostics(self) -> list[DiagnosticStatus]:
        """Return the status of the sets and of every camera."""
        now_s = time.monotonic()
        node, hardware_id = self._node.get_name(), self._node.get_fully_qualified_name()
        statuses = [
            synchronisation_status(
                f'{node}: synchronisation', hardware_id, self.synchroniser, self.lost
            )
        ]
        for name, counters in self.synchroniser.counters(now_s).items():
            feed = self.feeds[name]
            statuses.append(
                camera_status(
                    f'{node}: camera {name}',
                    hardware_id,
                    counters,
                    rejected=feed.rejected,
                    silence=self._silence_text(feed, now_s) if feed.is_lost else None,
                    complaint=feed.rejection or self.unmatched_text(name, now_s),
                )
            )
        return statuses

    def _receive_image(self, name: str, message: ImageMessage) -> None:
        feed, now_s = self.feeds[name], time.monotonic()
        feed.message_s = now_s
        try:
            camera = feed.topic.check(message)
        except InputError as error:
            feed.rejected += 1
            feed.rejection = str(error)
            self._warnings.warn(f'{error.kind} of {name}', str(error))
            return
        feed.rejection = None
        feed.camera, feed.frame = camera, message.header.frame_id.lstrip('/')
        feed.last_stamp_ns = stamp_ns(message.header.stamp)
        image = RigImage(message, None, feed.topic.info, camera)
        if feed.has_masks:
            self._add(name, feed.pairing.add_image(feed.last_stamp_ns, image, now_s), now_s)
        else:
            waiting = feed.pairing.flush(float('inf'))
            self._add(name, [*waiting, MaskedItem(feed.last_stamp_ns, image, None)], now_s)

    def _receive_mask(self, name: str, message: ImageMessage) -> None:
        now_s = time.monotonic()
        stamp = stamp_ns(message.header.stamp)
        self._add(name, self.feeds[name].pairing.add_mask(stamp, message, now_s), now_s)

    def _add(self, name: str, items: list[MaskedItem], now_s: float) -> None:
        for item in items:
            image = RigImage(item.image.message, item.mask, item.image.info, item.image.camera)
            for found in self.synchroniser.add(name, item.stamp_ns, image, now_s):
                self._give(found)
            self._look_for_jump(name, now_s)

    def _give(self, found: SynchronisedSet) -> None:
        views = {name: found.items[name] for name in self.feeds if name in found.items}
        self._on_set(RigSet(found.stamp_ns, views, found.skew_s))

    def _look_for_jump(self, name: str, now_s: float) -> None:
        feed, counters = self.feeds[name], self.synchroniser.counters(now_s)[name]
        if counters.jumps == feed.jumps_told:
            return
        feed.jumps_told = counters.jumps
        self._node.get_logger().warning(
            f'The time of camera {name} jumped by {counters.last_jump_s:+.3f} s.'
        )
        if counters.last_jump_s < 0:
            self._transforms.clear()

    def _watch(self) -> None:
        now_s = time.monotonic()
        for name, feed in self.feeds.items():
            self._add(name, feed.pairing.flush(now_s), now_s)
        for found in self.synchroniser.flush(now_s):
            self._give(found)
        for name, feed in self.feeds.items():
            self._watch_silence(feed, now_s)
            self._watch_sets(name, now_s)

    def _watch_silence(self, feed: Feed, now_s: float) -> None:
        was_lost, was_seen = feed.is_lost, feed.was_seen
        feed.was_seen = feed.message_s is not None
        feed.is_lost = self._silence_s(feed, now_s) >= self._parameters.lost_after
        if feed.is_lost and not was_lost:
            self._node.get_logger().warning(
                f'Lost camera {feed.name}. {self._silence_text(feed, now_s)}.'
            )
        elif was_lost and not feed.is_lost:
            again = 'back' if was_seen else 'there'
            self._node.get_logger().info(f'Camera {feed.name} is {again}.')

    def _silence_s(self, feed: Feed, now_s: float) -> float:
        return now_s - (self._begun_s if feed.message_s is None else feed.message_s)

    def _silence_text(self, feed: Feed, now_s: float) -> str:
        return feed.topic.silence_text(self._silence_s(feed, now_s))

    def _watch_sets(self, name: str, now_s: float) -> None:
        """Tell of a camera that sends images that fit no others."""
        text = self.unmatched_text(name, now_s)
        if text is not None:
            self._warnings.warn(f'unmatched {name}', text)

    def unmatched_text(self, name: str, now_s: float) -> str | None:
        """Return in a sentence that a camera's images fit no others; None where they do."""
        counters = self.synchroniser.counters(now_s)[name]
        if counters.rate_hz is None or counters.offset_s is None or self.feeds[name].is_lost:
            return None
        if counters.since_set < UNMATCHED_S * counters.rate_hz:
            return None
        return (
            f'The images of camera {name} are in no set: {counters.since_set} came '
            f'({counters.rate_hz:.1f} Hz), the last stamped {counters.offset_s:+.3f} s from the '
            f'newest of the other cameras; sync_tolerance is '
            f'{self._parameters.sync_tolerance:g} s.'
        )
