"""The video rig node: plays synchronised videos with a calibration as cameras."""

from collections.abc import Sequence
from pathlib import Path
import queue
import threading
import time
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.node import Node
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Header

from posefield.data.video_rig import VideoRig, open_video_rig
from posefield.errors import DataError
from posefield.nodes.camera_publisher import CameraPublisher, StaticTransforms
from posefield.nodes.capture_parameters import VideoRigParameters
from posefield.nodes.conversions import transform_to_message
from posefield.nodes.parameters import declare
from posefield.nodes.running import run
from posefield.nodes.throttle import ThrottledWarnings

# Moments that are decoded ahead.
AHEAD = 4
POLL_S = 0.02
# Who is discovered may not have discovered us yet.
SETTLE_S = 0.5
ACKNOWLEDGE_TIMEOUT_S = 2.0
# Playing that is behind by more than this is told of.
LATE_S = 0.5
# The clock of videos begins after 0, which means "no stamp".
FIRST_STAMP_S = 1.0
NANOSECONDS = 1_000_000_000


class VideoRigNode(Node):
    """Publishes the pictures of videos at their pace."""

    def __init__(self, **options: Any):
        """Declare parameters, open the videos and tell where the cameras stand.

        Raises:
            PosefieldError: for bad parameters, videos or calibrations.
        """
        super().__init__('video_rig', **options)
        self._decoder: Decoder | None = None
        self.parameters = parameters = declare(self, VideoRigParameters)
        parameters.check()
        self.rig = open_video_rig(
            Path(parameters.videos).expanduser(),
            Path(parameters.calibration).expanduser() if parameters.calibration else None,
            parameters.cameras,
            parameters.size or None,
            parameters.every,
        )
        self._warnings = ThrottledWarnings(self.get_logger())
        self._frames = [f'{rig.name}{parameters.frame_suffix}' for rig in self.rig.videos]
        self._cameras = [
            CameraPublisher(self, rig.name, parameters.image_transport) for rig in self.rig.videos
        ]
        self._clock_publisher = (
            self.create_publisher(Clock, '/clock', 10) if parameters.publish_clock else None
        )
        self._static = StaticTransforms(
            self,
            [
                transform_to_message(
                    rig.T_world_cam, parameters.world_frame, frame, Time().to_msg()
                )
                for rig, frame in zip(self.rig.videos, self._frames, strict=True)
            ],
        )

    def play(self, executor: Executor) -> int:
        """Play to the end (or again and again), spinning the node meanwhile; return 0.

        Raises:
            DataError: when the subscribers to wait for do not come.
        """
        self._wait_for_subscribers(executor)
        names = ', '.join(rig.name for rig in self.rig.videos)
        rate_hz = self.parameters.rate / self.rig.period_s
        self.get_logger().info(
            f'Playing {self.rig.num_moments} moments of {names} at {rate_hz:g} Hz.'
        )
        self._decoder = Decoder(self.rig, self.parameters.loop)
        begun_s = time.monotonic()
        period_s = self.rig.period_s / self.parameters.rate
        moment = 0
        while (pictures := self._next(executor)) is not None:
            due_s = begun_s + moment * period_s
            if time.monotonic() > due_s + LATE_S:
                self._warnings.warn(
                    'late',
                    f'Playing is {time.monotonic() - due_s:.1f} s behind, because decoding or '
                    'sending takes too long; a smaller size, every or rate helps.',
                )
            self._wait_until(executor, due_s)
            self._publish(moment, pictures)
            moment += 1
        for camera in self._cameras:
            camera.wait_until_received(Duration(seconds=ACKNOWLEDGE_TIMEOUT_S))
        self.get_logger().info(f'Played {moment} moments of {self.parameters.videos}.')
        return 0

    def _next(self, executor: Executor) -> list[np.ndarray] | None:
        """Return the next pictures when they are decoded; None at the end."""
        while True:
            found, pictures = self._decoder.next()
            if found:
                return pictures
            self._spin(executor, POLL_S)

    def _wait_for_subscribers(self, executor: Executor) -> None:
        if not self.parameters.wait_for_subscribers:
            return
        deadline_s = time.monotonic() + self.parameters.wait_timeout
        while missing := [
            rig.name
            for rig, camera in zip(self.rig.videos, self._cameras, strict=True)
            if not camera.subscribers
        ]:
            if time.monotonic() > deadline_s:
                raise DataError(
                    f'Nobody subscribed to the images of {", ".join(missing)} within '
                    f'{self.parameters.wait_timeout:g} s.'
                )
            self._spin(executor, POLL_S)
        self._wait_until(executor, time.monotonic() + SETTLE_S)
        # So that the first pictures find their calibration there.
        stamp = self._stamp(0)
        for rig, camera, frame in zip(self.rig.videos, self._cameras, self._frames, strict=True):
            camera.publish_info(rig.camera, Header(stamp=stamp, frame_id=frame))
        self._wait_until(executor, time.monotonic() + SETTLE_S / 2)

    def _wait_until(self, executor: Executor, due_s: float) -> None:
        while (remaining_s := due_s - time.monotonic()) > 0:
            self._spin(executor, min(remaining_s, POLL_S))

    def _spin(self, executor: Executor, seconds: float) -> None:
        executor.spin_once(timeout_sec=seconds)
        if not self.context.ok():
            raise ExternalShutdownException()

    def _stamp(self, moment: int):
        """Return the stamp of a moment, which is to be published now."""
        if self._clock_publisher is None:
            return self.get_clock().now().to_msg()
        stamp_ns = round((FIRST_STAMP_S + moment * self.rig.period_s) * NANOSECONDS)
        return Time(nanoseconds=stamp_ns).to_msg()

    def _publish(self, moment: int, pictures: list[np.ndarray]) -> None:
        stamp = self._stamp(moment)
        if self._clock_publisher is not None:
            self._clock_publisher.publish(Clock(clock=stamp))
        for rig, camera, frame, picture in zip(
            self.rig.videos, self._cameras, self._frames, pictures, strict=True
        ):
            camera.publish(picture, rig.camera, Header(stamp=stamp, frame_id=frame))

    def destroy_node(self) -> None:
        """Stop decoding with the node."""
        if self._decoder is not None:
            self._decoder.stop()
        super().destroy_node()


class Decoder:
    """Decodes moments ahead in its own thread."""

    def __init__(self, rig: VideoRig, loop: bool):
        """Start; `loop` begins again at the end."""
        self._rig = rig
        self._loop = loop
        self._queue: queue.Queue[list[np.ndarray] | Exception | None] = queue.Queue(AHEAD)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='decoder', daemon=True)
        self._thread.start()

    def next(self) -> tuple[bool, list[np.ndarray] | None]:
        """Return whether something is decoded, and what: pictures, or None after the last.

        Raises:
            Exception: that decoding raised.
        """
        try:
            item = self._queue.get_nowait()
        except queue.Empty:
            return False, None
        if isinstance(item, Exception):
            raise item
        return True, item

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=POLL_S)
            except queue.Empty:
                continue

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                for pictures in self._rig.moments():
                    if self._stopping.is_set():
                        return
                    self._queue.put(pictures)
                if not self._loop:
                    break
            self._queue.put(None)
        except Exception as error:
            self._queue.put(error)


def main(args: Sequence[str] | None = None) -> int:
    """Play the videos; 0 at their end or after Ctrl-C, 1 where they cannot be played."""
    return run(VideoRigNode, VideoRigNode.play, args)
