"""Capture of four raw cameras: is every set in the bag, bit for bit, and is memory flat.

This process plays the cameras, whose stamps jitter, to a capture node in a process of its own,
over DDS. Afterwards the bag is read with rosbags and with rclpy, and imported from the command
line.

    python benchmarks/capture.py [--seconds 60] [--cameras 4] [--rate 15] [--size 640 480]
"""

import argparse
from collections import defaultdict
from dataclasses import dataclass, field
import itertools
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from provenance import write_results
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.time import Time
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from verdicts import all_hold, print_missed, verdict

from posefield.data.image_files import read_rgb
from posefield.data.multiview import Multiview
from posefield.geometry.camera import Camera
from posefield.nodes.camera_publisher import CameraPublisher, StaticTransforms
from posefield.nodes.conversions import stamp_ns, transform_to_message
from posefield.nodes.middleware import prepare_for_images

TOLERANCE_S = 0.01
# Stamps of one moment are this far from it at most.
JITTER_S = 0.004
# Different pictures of a camera; they are made before the clock runs.
PICTURES = 24
WARM_UP_S = 2.0
SETTLE_S = 1.0
START_S = 120.0
IMPORTED_FRAMES = 20
CHECKED_MESSAGES = 200
# Growth of a process whose memory is flat: what indices of the bag and the allocator take.
FLAT_MB_PER_MINUTE = 5.0
# Sets that may wait at most: for the executor, for other cameras and for the disk.
WAITING_SETS = 20 + 30 + 30
PAGE = os.sysconf('SC_PAGE_SIZE')
TICKS = os.sysconf('SC_CLK_TCK')


@dataclass
class Sent:
    """What was sent while recording: indices of moments by camera and stamp."""

    moments: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    late_ms: list[float] = field(default_factory=list)


class Rig(Node):
    """Cameras that see a block move over noise."""

    def __init__(self, names: list[str], size: tuple[int, int]):
        super().__init__('rig')
        self.names = names
        width, height = size
        self.camera = Camera(width, height, width, width, (width - 1) / 2, (height - 1) / 2)
        self.pictures = {
            name: [picture(index, view, size) for index in range(PICTURES)]
            for view, name in enumerate(names)
        }
        self._cameras = {name: CameraPublisher(self, name) for name in names}
        self._rng = np.random.default_rng(0)
        self._static = StaticTransforms(
            self, [transform(view, name) for view, name in enumerate(names)]
        )

    @property
    def is_heard(self) -> bool:
        """Whether somebody listens to every camera."""
        return all(publisher.subscribers for publisher in self._cameras.values())

    def send(self, moment: int) -> dict[str, int]:
        """Publish a moment and return the stamp of each camera."""
        now_ns = self.get_clock().now().nanoseconds
        stamps = {}
        for name, publisher in self._cameras.items():
            stamps[name] = now_ns + round(self._rng.uniform(-JITTER_S, JITTER_S) * 1e9)
            header = Header(stamp=Time(nanoseconds=stamps[name]).to_msg(), frame_id=frame(name))
            publisher.publish(self.pictures[name][moment % PICTURES], self.camera, header)
        return stamps


def frame(name: str) -> str:
    """Return the optical frame of a camera."""
    return f'{name}_optical_frame'


def transform(view: int, name: str):
    """Return where a camera stands: beside the one before."""
    T_world_cam = np.eye(4)
    T_world_cam[0, 3] = 0.3 * view
    return transform_to_message(T_world_cam, 'world', frame(name), Time().to_msg())


def picture(index: int, view: int, size: tuple[int, int]) -> np.ndarray:
    """Return noise that stays, with a block that moves."""
    width, height = size
    image = np.random.default_rng(view).integers(60, 120, (height, width, 3), dtype=np.uint8)
    side = height // 4
    left = index * (width - side) // PICTURES
    image[height // 3 : height // 3 + side, left : left + side] = 255 - 5 * index
    return image


class Process:
    """Memory and time of a process, from /proc."""

    def __init__(self, pid: int):
        self._proc = Path('/proc', str(pid))
        self.memory_mb: list[tuple[float, float]] = []

    def sample(self) -> None:
        """Note the memory of its own: without what it shares with other processes."""
        resident, shared = map(int, (self._proc / 'statm').read_text().split()[1:3])
        self.memory_mb.append((time.monotonic(), (resident - shared) * PAGE / 1e6))

    def cpu_s(self) -> float:
        """Return the processor time so far."""
        fields = (self._proc / 'stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def growth_mb_per_minute(self) -> float:
        """Return the median of the slopes over stretches of ten seconds.

        A stall of the machine lets images wait once, in space that is kept: a step, whose height
        `rise_mb` tells, and not growth.
        """
        samples = np.array(self.memory_mb)
        stretches = np.array_split(samples, max(1, len(samples) // 10))
        return float(60.0 * np.median([np.polyfit(*part.T, 1)[0] for part in stretches]))

    def rise_mb(self) -> float:
        """Return how far memory was above its beginning at most."""
        megabytes = [memory for _, memory in self.memory_mb]
        return max(megabytes) - megabytes[0]


def spin_until(executor: SingleThreadedExecutor, done, timeout_s: float, what: str) -> None:
    """Spin until something holds."""
    end_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end_s:
            raise SystemExit(f'{what} did not happen within {timeout_s:g} s.')
        executor.spin_once(timeout_sec=0.05)


def call(node: Node, executor: SingleThreadedExecutor, name: str) -> str:
    """Call a service of the capture node."""
    client = node.create_client(Trigger, f'/capture/{name}')
    spin_until(executor, client.service_is_ready, START_S, f'The service {name}')
    future = client.call_async(Trigger.Request())
    spin_until(executor, future.done, 60.0, f'The answer of {name}')
    if not future.result().success:
        raise SystemExit(future.result().message)
    return future.result().message


def record(options: argparse.Namespace, out: Path) -> tuple[Sent, Rig, dict[str, Any]]:
    """Play cameras to a capture node and return what was sent, by whom, and its load."""
    names = [f'cam{index}' for index in range(options.cameras)]
    command = [
        sys.executable,
        '-c',
        'import sys, posefield.nodes.capture as c; sys.exit(c.main())',
        '--ros-args',
        *('-p', f'cameras:={names}'),
        *('-p', f'output:={out}'),
        *('-p', f'sync_tolerance:={TOLERANCE_S}'),
    ]
    prepare_for_images()
    rclpy.init()
    rig = Rig(names, tuple(options.size))
    executor = SingleThreadedExecutor()
    executor.add_node(rig)
    node = subprocess.Popen(command)
    sent, process = Sent(), Process(node.pid)
    moments = itertools.count()
    try:
        spin_until(executor, lambda: rig.is_heard, START_S, 'The start of capture')
        play(rig, executor, moments, options.rate, WARM_UP_S)
        print(call(rig, executor, 'start'))
        begun_s, cpu_s = time.monotonic(), process.cpu_s()
        play(rig, executor, moments, options.rate, options.seconds, sent, process)
        load = (process.cpu_s() - cpu_s) / (time.monotonic() - begun_s)
        spin_until(executor, timer(SETTLE_S), 60.0, 'The settling')
        print(call(rig, executor, 'stop'))
    finally:
        node.terminate()
        node.wait(60)
        executor.shutdown()
        rclpy.try_shutdown()
    return (
        sent,
        rig,
        {
            'capture_cpus': round(load, 3),
            'capture_memory_mb': round(max(memory for _, memory in process.memory_mb), 1),
            'capture_memory_growth_mb_per_minute': round(process.growth_mb_per_minute(), 2),
            'capture_memory_rise_mb': round(process.rise_mb(), 1),
            'capture_memory_each_second_mb': [round(memory) for _, memory in process.memory_mb],
        },
    )


def timer(seconds: float):
    """Return what is true from so many seconds on."""
    end_s = time.monotonic() + seconds
    return lambda: time.monotonic() >= end_s


def play(
    rig: Rig,
    executor: SingleThreadedExecutor,
    moments: itertools.count,
    rate_hz: float,
    seconds: float,
    sent: Sent | None = None,
    process: Process | None = None,
) -> None:
    """Send moments at a rate, noting what was sent and the memory once a second."""
    begun_s, sampled_s = time.monotonic(), 0.0
    for index in range(round(seconds * rate_hz)):
        due_s = begun_s + index / rate_hz
        while time.monotonic() < due_s:
            executor.spin_once(timeout_sec=max(0.0, due_s - time.monotonic()))
        moment = next(moments)
        late_ms = 1000 * (time.monotonic() - due_s)
        stamps = rig.send(moment)
        if sent is not None:
            sent.late_ms.append(late_ms)
            for name, stamp in stamps.items():
                sent.moments[name][stamp] = moment
        if process is not None and time.monotonic() - sampled_s > 1.0:
            sampled_s = time.monotonic()
            process.sample()


def check_bag(bag: Path, sent: Sent, rig: Rig) -> dict[str, Any]:
    """Compare every image of a bag with what was sent, by rosbags and (some) by rclpy."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    different = disagreeing = checked = 0
    expected = {name: [p.tobytes() for p in rig.pictures[name]] for name in rig.names}
    with AnyReader([bag]) as reader:
        images = [c for c in reader.connections if c.topic.endswith('/image_raw')]
        for connection, _, data in reader.messages(images):
            message = reader.deserialize(data, connection.msgtype)
            name = connection.topic.split('/')[1]
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            moment = sent.moments[name].get(stamp)
            if checked < CHECKED_MESSAGES:
                checked += 1
                own = deserialize_message(data, Image)
                disagreeing += (
                    stamp_ns(own.header.stamp) != stamp
                    or bytes(own.data) != bytes(message.data)
                    or own.encoding != message.encoding
                )
            if moment is None:
                continue
            found[moment][name] = stamp
            different += bytes(message.data) != expected[name][moment % PICTURES]
    complete = [stamps for stamps in found.values() if len(stamps) == len(rig.names)]
    total = len(sent.moments[rig.names[0]])
    return {
        'moments_sent': total,
        'sets_recorded': len(complete),
        'sets_lost': total - len(complete),
        'images_that_differ': different,
        'messages_that_rclpy_reads_otherwise': disagreeing,
        'largest_skew_s': round(max(max(s.values()) - min(s.values()) for s in complete) / 1e9, 6),
    }


def check_import(bag: Path, out: Path, rig: Rig) -> dict[str, Any]:
    """Import the bag from the command line and compare the images with what was sent."""
    begun_s = time.monotonic()
    command = [
        *(sys.executable, '-c', 'from posefield.cli.app import main; main()'),
        *('articulation', 'import', str(bag), '--format', 'bag', '--out', str(out), '--quiet'),
        *('--size', str(rig.camera.width), '--frames', str(IMPORTED_FRAMES), '--no-crop'),
    ]
    subprocess.run(command, check=True)
    multiview = Multiview.load(out)
    different = 0
    for view, camera in enumerate(multiview.cameras):
        candidates = {p.tobytes() for p in rig.pictures[camera.name]}
        for index in range(multiview.num_frames):
            different += read_rgb(multiview.image_path(view, index)).tobytes() not in candidates
    return {
        'imported_images': len(multiview.cameras) * multiview.num_frames,
        'imported_images_that_differ': different,
        'import_seconds': round(time.monotonic() - begun_s, 1),
    }


def judge(figures: dict[str, Any], set_mb: float, seconds: float) -> list[dict[str, Any]]:
    """Return what must hold.

    Args:
        figures: that were measured.
        set_mb: size of the images of a set.
        seconds: that were recorded.
    """
    return [
        verdict('synchronised sets lost', figures['sets_lost'], at_most=0),
        verdict('largest skew, s', figures['largest_skew_s'], at_most=TOLERANCE_S),
        verdict('images of the bag that differ', figures['images_that_differ'], at_most=0),
        verdict(
            'messages that rclpy reads otherwise than rosbags',
            figures['messages_that_rclpy_reads_otherwise'],
            at_most=0,
        ),
        verdict('imported images that differ', figures['imported_images_that_differ'], at_most=0),
        verdict(
            'growth of memory, MB a minute',
            figures['capture_memory_growth_mb_per_minute'],
            at_most=FLAT_MB_PER_MINUTE,
        ),
        verdict(
            'rise of memory, MB',
            figures['capture_memory_rise_mb'],
            at_most=WAITING_SETS * set_mb + FLAT_MB_PER_MINUTE * seconds / 60.0,
        ),
    ]


def main() -> int:
    """Measure, print and write; return 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=60.0, help='how long to record')
    parser.add_argument('--cameras', type=int, default=4, help='how many')
    parser.add_argument('--rate', type=float, default=15.0, help='images a second of each')
    parser.add_argument('--size', type=int, nargs=2, default=(640, 480), help='width and height')
    parser.add_argument('--work', type=Path, help='folder for the bag; default: a temporary one')
    parser.add_argument('--out', type=Path, help='JSON file; default: benchmarks/results/')
    options = parser.parse_args()
    # Alone on this machine, whatever else runs in its network.
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        sent, rig, figures = record(options, Path(folder, 'bags'))
        (bag,) = Path(folder, 'bags').iterdir()
        figures |= {'bag_mb': round(sum(f.stat().st_size for f in bag.iterdir()) / 1e6, 1)}
        figures |= check_bag(bag, sent, rig)
        figures |= check_import(bag, Path(folder, 'multiview'), rig)
        rig.destroy_node()
    figures['sent_late_ms_p95'] = round(float(np.percentile(sent.late_ms, 95)), 2)
    width, height = options.size
    verdicts = judge(figures, 3e-6 * width * height * options.cameras, options.seconds)
    document = {
        'cameras': options.cameras,
        'rate_hz': options.rate,
        'size': list(options.size),
        'seconds': options.seconds,
        'load_average': round(os.getloadavg()[0], 1),
        'requirements': verdicts,
        **figures,
    }
    path = write_results('capture', document, path=options.out)
    print(json.dumps(figures, indent=2))
    print_missed(verdicts)
    print(f'written to {path}')
    return 0 if all_hold(verdicts) else 1


if __name__ == '__main__':
    sys.exit(main())
