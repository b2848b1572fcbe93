"""What the relocalizer node adds to Localizer.localize, over DDS between two processes.

Images go out at a steady rate with odometry and extrinsics on TF. For every image the node's
overhead is its latency (message received to pose and transform published, as in `~/result`) minus
the time inside `localize`. The round trip is from the publish call to the pose heard back, minus
the same; it contains both ways over DDS. Without --map a localizer that answers at once stands in
for the real one, so that 640x480 images without a map can be used.

    python benchmarks/node_overhead.py [--map MAP --scene SCENE] [--frames 200] [--rate 10]
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
import json
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
from provenance import write_results
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from posefield.data.scene import Scene
from posefield.geometry.camera import Camera
from posefield.nodes.conversions import stamp_ns, transform_to_message
from posefield.nodes.images import message_from_rgb
from posefield.nodes.middleware import prepare_for_images
from posefield.nodes.relocalizer import load_localizer
from posefield.nodes.relocalizer import main as run_node
from posefield.nodes.transforms import TF_QOS, TF_STATIC_QOS
from posefield.relocalization.localization import Localization
from posefield_msgs.msg import LocalizationResult

CAMERA_FRAME = 'camera_optical_frame'
LOCALIZE = 'inside localize'
REQUIRED_MS = 5.0
WARM_UP = 10
START_S = 120.0


class StandingStill:
    """A localizer that answers at once, always with the same pose."""

    info = {'units': 'metres'}

    def localize(self, image: np.ndarray, camera: Camera, prior: Any = None) -> Localization:
        """Return the origin, accepted."""
        return Localization(
            np.eye(4), np.eye(6) * 1e-4, np.eye(4), 'sparse', True, 1.0, '', 2.0, 0, 0, {}
        )


class Timed:
    """A localizer that tells how long each call took, beside its own timings."""

    def __init__(self, localizer: Any):
        self._localizer = localizer
        self.info = localizer.info

    def localize(self, image: np.ndarray, camera: Camera, prior: Any = None) -> Localization:
        """Localize and add the wall time of the call."""
        begin_s = time.perf_counter()
        localization = self._localizer.localize(image, camera, prior)
        seconds = time.perf_counter() - begin_s
        return replace(localization, timings={**localization.timings, LOCALIZE: seconds})


def load_timed(map_dir: str, device: str) -> Timed:
    """Return the localizer of a map, or the stand-in for a map named `none`."""
    return Timed(StandingStill() if map_dir == 'none' else load_localizer(map_dir, device))


def views(scene: Path | None) -> Iterator[tuple[np.ndarray, Camera]]:
    """Yield images for ever: the test photos of a scene, or one picture of noise at 640x480."""
    if scene is None:
        noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        camera = Camera(640, 480, 525.0, 525.0, 319.5, 239.5)
        while True:
            yield noise, camera
    frames = Scene.load(scene).split('test')
    pictures = [(np.round(f.read_image() * 255).astype(np.uint8), f.camera) for f in frames]
    while True:
        yield from pictures


class Probe(Node):
    """Sends images and listens to what comes back."""

    def __init__(self):
        super().__init__('probe')
        self.sent_s: dict[int, float] = {}
        self.heard_s: dict[int, float] = {}
        self.results: dict[int, LocalizationResult] = {}
        self.images = self.create_publisher(Image, 'image', 10)
        self._infos = self.create_publisher(CameraInfo, 'camera_info', 10)
        self._tf = self.create_publisher(TFMessage, '/tf', TF_QOS)
        self._tf_static = self.create_publisher(TFMessage, '/tf_static', TF_STATIC_QOS)
        self.create_subscription(PoseWithCovarianceStamped, 'pose', self._on_pose, 10)
        self.create_subscription(LocalizationResult, 'relocalizer/result', self._on_result, 10)
        self._send_tf(self._tf_static, 'base_link', CAMERA_FRAME)

    def _send_tf(self, publisher: Any, parent: str, child: str) -> None:
        now = self.get_clock().now().to_msg()
        transform = transform_to_message(np.eye(4), parent, child, now)
        publisher.publish(TFMessage(transforms=[transform]))

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        self.heard_s[stamp_ns(message.header.stamp)] = time.monotonic()

    def _on_result(self, message: LocalizationResult) -> None:
        self.results[stamp_ns(message.header.stamp)] = message

    def send(self, image: np.ndarray, camera: Camera) -> None:
        """Send one image with its calibration, between two transforms of odometry."""
        self._send_tf(self._tf, 'odom', 'base_link')
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=CAMERA_FRAME)
        info = CameraInfo(header=header, width=camera.width, height=camera.height)
        info.k = camera.K_33.ravel().tolist()
        info.distortion_model = 'plumb_bob' if camera.model == 'pinhole' else camera.model
        info.d = list(camera.distortion)
        self._infos.publish(info)
        message = message_from_rgb(image, header)
        self._send_tf(self._tf, 'odom', 'base_link')
        self.sent_s[stamp_ns(header.stamp)] = time.monotonic()
        self.images.publish(message)


def measure(options: argparse.Namespace) -> Probe:
    """Start the node, send the images at the rate asked for, and return what was heard."""
    map_dir = str(options.map.resolve()) if options.map else 'none'
    command = [sys.executable, __file__, '--serve', '--ros-args', '-p', f'map:={map_dir}']
    node = subprocess.Popen(command)
    prepare_for_images()
    rclpy.init()
    probe = Probe()
    executor = SingleThreadedExecutor()
    executor.add_node(probe)
    try:
        ready_before_s = time.monotonic() + START_S
        while not probe.images.get_subscription_count():
            if node.poll() is not None or time.monotonic() > ready_before_s:
                raise SystemExit('The relocalizer node did not start.')
            executor.spin_once(timeout_sec=0.1)
        spin_for(executor, 1.0)
        begin_s = time.monotonic()
        pictures = views(options.scene)
        for index in range(options.frames + WARM_UP):
            spin_for(executor, begin_s + index / options.rate - time.monotonic())
            probe.send(*next(pictures))
        spin_for(executor, 3.0)
    finally:
        node.terminate()
        node.wait(30)
        executor.shutdown()
        probe.destroy_node()
        rclpy.try_shutdown()
    return probe


def spin_for(executor: SingleThreadedExecutor, seconds: float) -> None:
    """Spin for a while."""
    end_s = time.monotonic() + seconds
    while (remaining_s := end_s - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=remaining_s)


def summary(probe: Probe) -> dict[str, Any]:
    """Return the figures in milliseconds, without the first images."""
    overheads, trips, calls = [], [], []
    published = 0
    for stamp in sorted(probe.sent_s)[WARM_UP:]:
        result = probe.results.get(stamp)
        if result is None:
            continue
        timings = dict(zip(result.timing_names, result.timing_seconds, strict=True))
        calls.append(timings[LOCALIZE])
        overheads.append(result.latency_s - timings[LOCALIZE])
        published += result.accepted
        if stamp in probe.heard_s:
            trips.append(probe.heard_s[stamp] - probe.sent_s[stamp] - timings[LOCALIZE])
    if not overheads:
        raise SystemExit('No image came back from the relocalizer node.')
    return {
        'images_sent': len(probe.sent_s) - WARM_UP,
        'images_localized': len(overheads),
        'poses_published': published,
        'overhead_ms': percentiles(overheads),
        'round_trip_minus_localize_ms': percentiles(trips) if trips else None,
        'localize_ms': percentiles(calls),
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return median, 95th percentile and largest in milliseconds."""
    median, p95 = np.percentile(seconds, [50, 95]) * 1000
    return {
        'median': round(float(median), 3),
        'p95': round(float(p95), 3),
        'max': round(max(seconds) * 1000, 3),
    }


def main() -> int:
    """Measure, print and write; return 1 where the overhead is larger than required."""
    if '--serve' in sys.argv:
        sys.argv.remove('--serve')
        return run_node(loader=load_timed)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--map', type=Path, help='a real map; needs --scene')
    parser.add_argument('--scene', type=Path, help='scene whose test photos are sent')
    parser.add_argument('--frames', type=int, default=200, help='images to send')
    parser.add_argument('--rate', type=float, default=10.0, help='images a second')
    parser.add_argument('--out', type=Path, help='JSON file; default: benchmarks/results/')
    options = parser.parse_args()
    if (options.map is None) != (options.scene is None):
        parser.error('--map and --scene go together')
    # Alone on this machine, whatever else runs in its network.
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    figures = summary(measure(options))
    document = {
        'localizer': 'real map' if options.map else 'answers at once',
        'rate_hz': options.rate,
        'required_median_ms': REQUIRED_MS,
        **figures,
    }
    path = write_results('node_overhead', document, path=options.out)
    median_ms = figures['overhead_ms']['median']
    print(json.dumps(figures, indent=2))
    print(f'node overhead: {median_ms:.2f} ms, required <= {REQUIRED_MS:g} ms; written to {path}')
    return 0 if median_ms <= REQUIRED_MS else 1


if __name__ == '__main__':
    sys.exit(main())
