"""The cameras of the two balls, played over DDS."""

from functools import lru_cache
import time

import numpy as np
import rclpy
from rclpy.qos import QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from posefield.nodes.camera_publisher import info_from_camera
from posefield.nodes.conversions import transform_to_message
from posefield.nodes.images import message_from_rgb
from posefield.nodes.transforms import TF_STATIC_QOS
from support.ball_model import AS_RECORDED, ball_model
from support.two_balls import CAMERA, FRAMES, angles, rig

RELIABLE = QoSProfile(depth=30)
CAMERAS = rig()[:3]
NAMES = tuple(camera.name for camera in CAMERAS)
START_NS = 1_700_000_000 * 1_000_000_000


def frame_of(name: str) -> str:
    """The optical frame of a camera."""
    return f'{name}_optical_frame'


@lru_cache(maxsize=1)
def film() -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Return image (H, W, 3) uint8 and mask (H, W) of 0 and 255, by moment and camera."""
    model = ball_model(AS_RECORDED)
    moments = []
    for angle in angles():
        poses = model.repose(np.array([angle]))
        seen = [model.render(CAMERA, camera.T_world_cam, poses) for camera in CAMERAS]
        moments.append(
            [
                (
                    np.rint(255 * view.colours_HW3).astype(np.uint8),
                    255 * (view.parts_HW >= 0).astype(np.uint8),
                )
                for view in seen
            ]
        )
    return moments


class BallRig:
    """Publishes what three cameras see of the two balls."""

    def __init__(self, graph, masks: bool = True):
        self.graph = graph
        self.node = graph.add(rclpy.create_node('ball_rig'))
        create = self.node.create_publisher
        self.images = {name: create(Image, f'{name}/image_raw', RELIABLE) for name in NAMES}
        self.infos = {name: create(CameraInfo, f'{name}/camera_info', RELIABLE) for name in NAMES}
        self.masks = (
            {name: create(Image, f'{name}/mask', RELIABLE) for name in NAMES} if masks else {}
        )
        self.static = create(TFMessage, '/tf_static', TF_STATIC_QOS)
        self.moment = 0

    def connect(self, names=NAMES) -> None:
        """Wait until images are subscribed to, then send calibration and TF of these cameras."""
        publishers = [*self.images.values(), *self.infos.values(), *self.masks.values()]
        assert self.graph.spin_until(
            lambda: all(publisher.get_subscription_count() for publisher in publishers), 30.0
        )
        self.send_tf(names)
        for name in NAMES:
            self.infos[name].publish(info_from_camera(CAMERA, self.header(name, 0.0)))
        self.graph.spin_for(0.2)

    def send_tf(self, names=NAMES) -> None:
        """Publish where these cameras stand."""
        self.static.publish(
            TFMessage(
                transforms=[
                    transform_to_message(
                        camera.T_world_cam, 'world', frame_of(camera.name), Time().to_msg()
                    )
                    for camera in CAMERAS
                    if camera.name in names
                ]
            )
        )

    def header(self, name: str, at_s: float) -> Header:
        """The header of a message of a camera."""
        stamp = Time(nanoseconds=START_NS + round(at_s * 1e9)).to_msg()
        return Header(stamp=stamp, frame_id=frame_of(name))

    def send(self, at_s: float | None = None, names=NAMES, corner: int | None = None) -> float:
        """Publish the next moment of these cameras and return its time.

        Args:
            at_s: when; a tenth of a second after the one before by default.
            names: of the cameras that see it.
            corner: red of the first pixel, for who reads it; as it is when None.
        """
        at_s = self.moment / 10 if at_s is None else at_s
        views = film()[self.moment % FRAMES]
        self.moment += 1
        for name, (image, mask) in zip(NAMES, views, strict=True):
            if name not in names:
                continue
            if corner is not None:
                image = image.copy()
                image[0, 0] = corner
            header = self.header(name, at_s)
            self.images[name].publish(message_from_rgb(image, header))
            if name in self.masks:
                height, width = mask.shape
                self.masks[name].publish(
                    Image(
                        header=header,
                        height=height,
                        width=width,
                        encoding='mono8',
                        step=width,
                        data=mask.tobytes(),
                    )
                )
        return at_s

    def play_until(self, done, timeout_s: float = 30.0, rate_hz: float = 20.0, **changes) -> bool:
        """Publish moments until something holds; False after the time-out."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if done():
                return True
            self.send(**changes)
            next_s = time.monotonic() + 1.0 / rate_hz
            self.graph.spin_until(lambda next_s=next_s: time.monotonic() >= next_s or done(), 5.0)
        return done()
