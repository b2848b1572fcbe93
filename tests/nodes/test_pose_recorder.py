"""The node that writes down what a relocalizer publishes."""

import json
import math
import os
import signal
import subprocess
import sys
import time

from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
import pytest
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from posefield.cli.ros_processes import NodeError, node_process
from posefield.nodes.pose_recorder import QOS
from posefield.nodes.transforms import TF_QOS
from posefield_msgs.msg import LocalizationResult

COMMAND = [sys.executable, '-m', 'posefield.nodes.pose_recorder', '--ros-args']


def correction(parent: str, child: str) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp.sec = 7
    message.transform.translation.x = 1.5
    message.transform.rotation.w = 1.0
    return message


def test_everything_received_is_in_the_file_after_ctrl_c(graph, tmp_path):
    node = graph.add(Node('talker'))
    poses = node.create_publisher(PoseWithCovarianceStamped, 'pose', QOS)
    results = node.create_publisher(LocalizationResult, 'result', QOS)
    infos = node.create_publisher(CameraInfo, 'camera_info', QOS)
    tf = node.create_publisher(TFMessage, '/tf', TF_QOS)
    output = tmp_path / 'received.json'
    process = subprocess.Popen([*COMMAND, '-p', f'output:={output}'], env=dict(os.environ))
    publishers = (poses, results, infos, tf)
    assert graph.spin_until(lambda: all(p.get_subscription_count() for p in publishers), 20.0)
    graph.spin_for(0.5)  # camera_info is best effort: let the recorder match it, too.

    pose = PoseWithCovarianceStamped()
    pose.header.frame_id = 'map'
    pose.header.stamp.sec, pose.header.stamp.nanosec = 7, 5
    pose.pose.pose.position.y = 2.0
    pose.pose.pose.orientation.w = 1.0
    poses.publish(pose)
    result = LocalizationResult(header=pose.header, state='tracking', accepted=True)
    result.pose.pose.orientation.w = result.coarse_pose.orientation.w = 1.0
    result.pose.covariance[0] = math.inf
    result.timing_names, result.timing_seconds = ['total'], [0.25]
    results.publish(result)
    infos.publish(CameraInfo(header=pose.header))
    tf.publish(TFMessage(transforms=[correction('map', 'odom'), correction('odom', 'base_link')]))
    graph.spin_for(0.5)
    process.send_signal(signal.SIGINT)
    begin_s = time.monotonic()
    assert process.wait(timeout=15) == 0
    assert time.monotonic() - begin_s < 10

    content = json.loads(output.read_text())
    assert content['kind'] == 'pose_recording'
    assert content['poses'][0]['stamp_ns'] == 7_000_000_005
    assert content['poses'][0]['T'][1][3] == 2.0
    assert content['results'][0]['timings'] == {'total': 0.25}
    assert content['results'][0]['covariance'][0] is None
    assert [entry['stamp_ns'] for entry in content['images']] == [7_000_000_005]
    assert [entry['T'][0][3] for entry in content['map_to_odom']] == [1.5]


def test_without_a_file_to_write_it_ends_with_one_line(ros_environment):
    ended = subprocess.run(COMMAND, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert 'output is empty' in ended.stderr.strip().splitlines()[-1]
    assert 'Traceback' not in ended.stderr


def test_a_node_that_ends_early_is_named_with_its_last_line(ros_environment, tmp_path):
    with node_process('pose_recorder', [], dict(os.environ), tmp_path) as recorder:
        with pytest.raises(NodeError, match=r'pose_recorder node ended.*output is empty'):
            recorder.wait(30.0)


def test_a_running_node_is_stopped_at_the_end_of_the_block(ros_environment, tmp_path):
    arguments = ['-p', f'output:={tmp_path / "received.json"}']
    with node_process('pose_recorder', arguments, dict(os.environ), tmp_path) as recorder:
        with pytest.raises(NodeError, match='did not end in 3 s'):
            recorder.wait(3.0)
        recorder.check()
    assert recorder.process.returncode is not None
