"""The articulation node over DDS: learning by the action, re-posing, following.

A simulated robot is filmed by the simulated rig in one process and watched by the node in another.
Without --model, a model is learned first from the recording DATA, through the action, and once
more by the library alone: the two must be equally good.

    python benchmarks/articulation_node.py DATA [--model MODEL] [--seconds 30]

DATA is a recording of `posefield articulation simulate kuka_iiwa/model.urdf`, with its truth.
"""

import argparse
import json
import os
from pathlib import Path
import tempfile
import time

import numpy as np
from provenance import write_results
import rclpy
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import String
from verdicts import all_hold, print_missed, verdict

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.articulation.learning import learn_articulation
from posefield.cli.ros_processes import NodeProcess, node_process, private_domain
from posefield.data.articulation_truth import ArticulationTruth
from posefield.data.multiview import Multiview
from posefield.evaluation.articulation_truth_scores import score_motion
from posefield.evaluation.evaluate_articulation import found_motion, load_truth
from posefield.evaluation.tracking_errors import same_joints, tracking_summary
from posefield.nodes.articulation_output import LATCHED_1
from posefield.nodes.conversions import seconds
from posefield_msgs.action import Learn
from posefield_msgs.msg import ArticulatedModel as Skeleton
from posefield_msgs.srv import Repose

CAMERAS = 5
SIZE = 128
REPOSES = 10
FEEDBACK_S, REPOSE_S, RATE_HZ, ERROR_DEG = 2.0, 1.0, 5.0, 5.0
# By how much seeds of the same recording differ.
SPREAD, SPREAD_DEG = 0.01, 5.0
PREPARE_S = 120.0


class Watcher:
    """Listens to the nodes and asks them."""

    def __init__(self, node: Node, processes: list[NodeProcess]):
        self.node = node
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(node)
        self._processes = processes
        self.skeletons: list[tuple[float, Skeleton]] = []
        self.truth: list[tuple[float, np.ndarray]] = []
        self.true_names: tuple[str, ...] = ()
        self.infos: list[CameraInfo] = []
        listen = node.create_subscription
        listen(Skeleton, 'articulation/skeleton', self._on_skeleton, 100)
        listen(JointState, 'simulated_rig/joint_states', self._on_truth, 100)
        listen(CameraInfo, 'cam_00/camera_info', self.infos.append, 1)

    def _on_skeleton(self, message: Skeleton) -> None:
        self.skeletons.append((time.monotonic(), message))

    def _on_truth(self, message: JointState) -> None:
        self.true_names = tuple(message.name)
        self.truth.append((seconds(message.header.stamp), np.array(message.position)))

    def spin_until(self, done, timeout_s: float) -> bool:
        """Spin until something holds; False after the time-out.

        Raises:
            NodeError: when a node has ended.
        """
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if done():
                return True
            for process in self._processes:
                process.check()
            self.executor.spin_once(timeout_sec=0.05)
        return done()

    def require(self, done, timeout_s: float, what: str) -> None:
        """Spin until something holds, or end the benchmark."""
        if not self.spin_until(done, timeout_s):
            raise SystemExit(f'{what} did not happen within {timeout_s:.0f} s.')


def learn(watcher: Watcher, data: Path, model: Path, minutes: float) -> dict:
    """Learn through the action and return its figures."""
    client = ActionClient(watcher.node, Learn, 'articulation/learn')
    watcher.require(client.server_is_ready, PREPARE_S, 'Starting the node')
    heard_s: list[float] = []
    begun_s = time.monotonic()
    sending = client.send_goal_async(
        Learn.Goal(recording=str(data), model=str(model), preset='cpu', minutes=minutes),
        lambda _: heard_s.append(time.monotonic()),
    )
    watcher.require(sending.done, PREPARE_S, 'Accepting the goal')
    result = sending.result().get_result_async()
    watcher.require(result.done, 7200.0, 'Learning')
    answer = result.result().result
    if not answer.success:
        raise SystemExit(answer.message)
    gaps_s = np.diff([begun_s, *heard_s, time.monotonic()])
    return {
        'seconds': time.monotonic() - begun_s,
        'longest_gap_of_feedback_s': float(gaps_s.max()),
        'parts': answer.parts,
        'joints': answer.joints,
    }


def quality(model: ArticulatedModel, data: Multiview) -> dict[str, float]:
    """Return how far the joints of a model are from the true ones."""
    summary, _ = score_motion(found_motion(model), load_truth(data))
    return {name: summary[name] for name in ('joint_error', 'axis_error_deg')}


def describe(watcher: Watcher) -> float:
    """Return how long a late subscriber waits for the description, seconds."""
    heard: list[String] = []
    begun_s = time.monotonic()
    watcher.node.create_subscription(String, 'robot_description', heard.append, LATCHED_1)
    watcher.require(lambda: heard, PREPARE_S, 'Describing the model')
    return time.monotonic() - begun_s


def repose(watcher: Watcher) -> list[float]:
    """Return how long requests for a 128x128 image take, from the call to the answer, seconds."""
    client = watcher.node.create_client(Repose, 'articulation/repose')
    watcher.require(client.service_is_ready, PREPARE_S, 'Finding the service')
    watcher.require(lambda: watcher.infos, PREPARE_S, 'Hearing camera_info')
    watcher.require(lambda: watcher.skeletons, PREPARE_S, 'Hearing the skeleton')
    joints = [joint for joint in watcher.skeletons[-1][1].joints if joint.type != 'fixed']
    generator = np.random.default_rng(0)
    times_s = []
    for _ in range(REPOSES):
        positions = [generator.uniform(joint.lower, joint.upper) for joint in joints]
        request = Repose.Request(
            joint_names=[joint.name for joint in joints],
            joint_positions=positions,
            camera_info=watcher.infos[-1],
        )
        begun_s = time.monotonic()
        answer = client.call_async(request)
        watcher.require(answer.done, PREPARE_S, 'Re-posing')
        if not answer.result().success:
            raise SystemExit(answer.result().message)
        times_s.append(time.monotonic() - begun_s)
    return times_s


def follow(watcher: Watcher, duration_s: float) -> dict:
    """Watch the node follow and return rates and scores."""

    def tracked() -> list[tuple[float, Skeleton]]:
        return [one for one in watcher.skeletons if one[1].state in ('tracking', 'lost')]

    watcher.require(lambda: len(tracked()) > 3, PREPARE_S, 'Tracking')
    begun = len(watcher.skeletons)
    watcher.spin_until(lambda: False, duration_s)
    seen = [one for one in watcher.skeletons[begun:] if one[1].state in ('tracking', 'lost')]
    watcher.spin_until(lambda: watcher.truth[-1][0] > seconds(seen[-1][1].header.stamp), PREPARE_S)
    times_s = [at_s for at_s, _ in seen]
    return {
        'sets': len(seen),
        'rate_hz': (len(seen) - 1) / (times_s[-1] - times_s[0]),
        'lost_share': float(np.mean([message.state == 'lost' for _, message in seen])),
        'score_median': float(np.median([message.score for _, message in seen])),
        'skeletons': [message for _, message in seen if message.state == 'tracking'],
    }


def errors(watcher: Watcher, model: Path, data: Path, skeletons: list[Skeleton]) -> dict:
    """Return how far the joints are from the true ones, in degrees."""
    truth = ArticulationTruth.load(data / 'truth.json')
    learned = ArticulatedModel.load(model)
    joints = same_joints(found_motion(learned), truth)
    stamps_s = np.array([stamp_s for stamp_s, _ in watcher.truth])
    positions_TN = np.array([positions for _, positions in watcher.truth])
    at_s = np.array([seconds(skeleton.header.stamp) for skeleton in skeletons])
    columns = [watcher.true_names.index(joint.name) for joint in truth.movable]
    true_TJ = np.stack([np.interp(at_s, stamps_s, positions_TN[:, c]) for c in columns], axis=1)
    movable = [
        [joint.position for joint in skeleton.joints if joint.type != 'fixed']
        for skeleton in skeletons
    ]
    return tracking_summary(joints, np.array(movable), true_TJ)


def measure(arguments: argparse.Namespace, work: Path) -> tuple[dict, list]:
    """Return all figures and what must hold."""
    environment = private_domain(work)
    os.environ.update(environment)
    names = [f'cam_{index:02d}' for index in range(CAMERAS)]
    model = arguments.model or work / 'kuka'
    node_arguments = ['-p', f'cameras:=[{", ".join(names)}]']
    if arguments.model:
        node_arguments += ['-p', f'model:={arguments.model.resolve()}']
    figures: dict = {}
    with node_process('articulation', node_arguments, environment, work / 'logs') as node:
        rclpy.init()
        watcher = Watcher(rclpy.create_node('watcher'), [node])
        if not arguments.model:
            figures['learning'] = learn(watcher, arguments.data, model, arguments.minutes)
            data = Multiview.load(arguments.data)
            alone = learn_articulation(data, 'cpu', work / 'alone', minutes=arguments.minutes)
            figures['quality_by_the_node'] = quality(ArticulatedModel.load(model), data)
            figures['quality_by_the_library'] = quality(alone, data)
        figures['description_s'] = describe(watcher)
        rig_arguments = ['-p', f'cameras:={CAMERAS}', '-p', f'size:={SIZE}']
        rig_arguments += ['-p', f'seed:={arguments.seed}', '-p', f'rate:={arguments.rate}']
        rig_arguments += ['-p', f'max_joint_speed:={arguments.speed}']
        with node_process('simulated_rig', rig_arguments, environment, work / 'logs'):
            followed = follow(watcher, arguments.seconds)
            skeletons = followed.pop('skeletons')
            figures['following'] = {
                **followed,
                **errors(watcher, model, arguments.data, skeletons),
            }
            times_s = repose(watcher)
        rclpy.try_shutdown()
    figures['repose_s'] = {'median': float(np.median(times_s)), 'largest': max(times_s)}
    return figures, required(figures)


def required(figures: dict) -> list:
    """Return what must hold of the figures."""
    following = figures['following']
    found = [
        verdict(
            'images 128x128 re-posed while following, s',
            figures['repose_s']['median'],
            at_most=REPOSE_S,
        ),
        verdict('sets followed a second', following['rate_hz'], at_least=RATE_HZ),
        verdict(
            'joint angle error, degrees', following['joint_angle_error_deg'], at_most=ERROR_DEG
        ),
    ]
    if 'learning' in figures:
        gap_s = figures['learning']['longest_gap_of_feedback_s']
        node, library = figures['quality_by_the_node'], figures['quality_by_the_library']
        worse = node['joint_error'] - library['joint_error']
        turned = node['axis_error_deg'] - library['axis_error_deg']
        found += [
            verdict('longest gap of feedback, s', gap_s, at_most=FEEDBACK_S),
            verdict('joint_error above that of the library', worse, at_most=SPREAD),
            verdict('axis_error_deg above that of the library', turned, at_most=SPREAD_DEG),
        ]
    return found


def main() -> int:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('data', type=Path, help='recording of a simulated robot')
    parser.add_argument('--model', type=Path, help='learned from it; default: learn one')
    parser.add_argument('--minutes', type=float, default=5.5, help='to learn')
    parser.add_argument('--seconds', type=float, default=30.0, help='of following')
    parser.add_argument('--rate', type=float, default=7.5, help='of the cameras, Hz')
    parser.add_argument('--speed', type=float, default=0.5, help='of the joints, rad/s')
    parser.add_argument('--seed', type=int, default=1, help='of the motion that is followed')
    parser.add_argument('--json', type=Path, help='file of the result')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='posefield-') as folder:
        figures, verdicts = measure(arguments, Path(folder))
        print(json.dumps(figures, indent=2))
        print_missed(verdicts)
        path = write_results(
            'articulation_node',
            {
                'speed': arguments.speed,
                'camera_rate_hz': arguments.rate,
                'figures': figures,
                'verdicts': verdicts,
            },
            path=arguments.json,
            private={'DATA': arguments.data, 'WORK': Path(folder)},
        )
        print(path)
    return 0 if all_hold(verdicts) else 1


if __name__ == '__main__':
    raise SystemExit(main())
