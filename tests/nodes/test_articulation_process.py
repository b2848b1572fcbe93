"""The articulation node as a process: killed or interrupted while it learns, and started again."""

import os
from pathlib import Path
import signal
import subprocess
import sys

import pytest
import rclpy
from rclpy.action import ActionClient

from posefield.articulation.articulated_model import ArticulatedModel
from posefield.learning.checkpoints import CheckpointStore
from posefield.nodes.parameters import ParameterError
from posefield_msgs.action import Learn
from support.puppet import Puppet
from support.tiny_articulation import PRESET
from support.two_balls import write_two_balls

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture
def start():
    """Starts the node as a process; what still runs in the end is killed."""
    processes = []

    def start_node(*parameters):
        command = [sys.executable, '-m', 'support.tiny_articulation_node', '--ros-args']
        for parameter in ('feedback_period:=0.1', *parameters):
            command += ['-p', parameter]
        path = f'{TESTS}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
        process = subprocess.Popen(
            command,
            env={**os.environ, 'PYTHONPATH': path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield start_node
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


class Client:
    """Sends goals from another process than the node's."""

    def __init__(self, graph):
        self.graph = graph
        self.node = graph.add(rclpy.create_node('client'))
        self.feedback = []

    def begin(self, goal) -> None:
        """Send a goal to a node that has just been started until it feeds back.

        A node that was killed is still believed to be there for a while, and requests and answers
        can be lost while two processes discover each other. Once a goal is accepted, the same one
        sent again is rejected.
        """
        client = ActionClient(self.node, Learn, 'articulation/learn')
        self.feedback.clear()
        for _ in range(30):
            client.send_goal_async(goal, lambda message: self.feedback.append(message.feedback))
            if self.graph.spin_until(lambda: self.feedback, 3.0):
                return
        raise AssertionError('no goal was accepted')

    def learns(self) -> bool:
        return any(feedback.iteration > 2 for feedback in self.feedback)


@pytest.fixture
def goal(tmp_path):
    write_two_balls(tmp_path / 'film')
    return Learn.Goal(
        recording=str(tmp_path / 'film'), model=str(tmp_path / 'balls'), preset=PRESET, steps=40
    )


def test_a_node_that_was_killed_while_learning_resumes(graph, start, goal, tmp_path):
    client = Client(graph)
    node = start()
    client.begin(goal)
    store = CheckpointStore.beside(tmp_path / 'balls')
    assert graph.spin_until(lambda: store.stages(), 60.0)
    node.kill()
    node.wait(10)
    assert store.stages() and not (tmp_path / 'balls').exists()
    goal.resume = True
    start()
    client.begin(goal)
    assert graph.spin_until(lambda: (tmp_path / 'balls').exists() and not store.stages(), 90.0)
    assert ArticulatedModel.load(tmp_path / 'balls').motion.parts == 4


@pytest.mark.parametrize('sent', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_node_keeps_a_checkpoint_and_exits_cleanly(
    graph, start, goal, tmp_path, sent
):
    goal.steps = 100_000
    client = Client(graph)
    node = start()
    client.begin(goal)
    assert graph.spin_until(client.learns, 60.0)
    node.send_signal(sent)
    output, _ = node.communicate(timeout=40)
    assert node.returncode == 0, output
    assert 'Traceback' not in output
    assert CheckpointStore.beside(tmp_path / 'balls').stages()


def test_a_node_that_cannot_start_exits_with_one_line(ros_environment, start):
    process = start('model:=/nowhere')
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    lines = output.strip().splitlines()
    assert len(lines) == 1 and '/nowhere does not exist' in lines[0], output


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({'limits': 'bounce'}, 'Parameter limits must be one of clamp, reject, ignore'),
        ({'render_rate': 2}, 'Parameter render_rate must be a double'),
        ({'tracking__lost_below': 1.5}, 'Parameter tracking.lost_below must be a double, 0 to 1'),
    ],
)
def test_parameters_out_of_range_are_named(graph, parameters, words):
    with pytest.raises(ParameterError, match=words):
        Puppet(graph, parameters)


def test_more_cameras_asked_for_than_named_leave_the_node_unconfigured(graph):
    puppet = Puppet(graph, {'cameras': ['a', 'b'], 'min_cameras': 3})
    assert puppet.subject.trigger_configure().name == 'FAILURE'
    assert graph.logged('only 2 cameras')


def test_cameras_named_twice_leave_the_node_inactive(graph):
    puppet = Puppet(graph, {'cameras': ['a', 'a']})
    assert puppet.subject.trigger_configure().name == 'SUCCESS'
    assert puppet.subject.trigger_activate().name == 'FAILURE'
    assert graph.logged('ERROR', 'names that are used once', "['a', 'a']")
    assert puppet.subject.trigger_cleanup().name == 'SUCCESS'
