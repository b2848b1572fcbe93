"""Life cycle, services and process of the relocalizer."""

import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

from lifecycle_msgs.srv import GetState
import numpy as np
import pytest
import rclpy
from std_srvs.srv import Trigger

from posefield.errors import BundleError
from posefield.nodes.conversions import pose_to_message
from posefield.nodes.images import message_from_rgb
from posefield_msgs.srv import LoadMap, Relocalize
from support.fake_localizer import FakeLocalizer, localization
from support.robot import HEIGHT, Robot, camera_info, picture, pose

TESTS = Path(__file__).resolve().parents[1]


def label_of(robot):
    client = robot.node.create_client(GetState, 'relocalizer/get_state')
    return robot.graph.call(client, GetState.Request()).current_state.label


@pytest.mark.parametrize(
    ('map_dir', 'words'), [('missing', ['missing', 'map.json']), ('', ['map is empty', '-p map'])]
)
def test_a_map_that_cannot_be_loaded_leaves_the_node_unconfigured(graph, map_dir, words):
    robot = Robot(graph, map=map_dir)
    assert robot.subject.trigger_configure().name == 'FAILURE'
    assert label_of(robot) == 'unconfigured'
    assert graph.logged('ERROR', *words)


def test_a_failed_configuration_can_be_tried_again(graph):
    robot = Robot(graph, tf_mode='map_to_camera')
    good = robot.subject._loader

    def fail_once(*_):
        robot.subject._loader = good
        raise BundleError('The disk is not mounted yet.')

    robot.subject._loader = fail_once
    assert robot.subject.trigger_configure().name == 'FAILURE'
    robot.start()
    assert label_of(robot) == 'active'


def test_a_bug_while_configuring_is_logged_and_ends_unconfigured(graph):
    robot = Robot(graph)
    robot.subject._loader = lambda *_: 1 / 0
    assert robot.subject.trigger_configure().name == 'ERROR'
    assert label_of(robot) == 'unconfigured'
    assert graph.logged('ZeroDivisionError')


def test_inactive_means_silent_and_activation_starts_afresh(graph):
    robot = Robot(graph, tf_mode='map_to_camera')
    robot.start()
    robot.send_info()
    robot.send_image(0.1)
    assert robot.result_at(0.1).accepted
    assert robot.subject.trigger_deactivate().name == 'SUCCESS'
    assert robot.node.count_subscribers('image') == 0
    robot.send_image(0.2)
    graph.spin_for(0.3)
    assert len(robot.heard.results) == 1
    robot.activate()
    robot.send_info()
    robot.send_image(0.3)
    assert robot.result_at(0.3).accepted
    assert robot.localizer.calls[-1][2] is None


def test_an_image_in_work_is_not_published_after_deactivation(graph):
    robot = Robot(graph, FakeLocalizer(delay_s=0.4), tf_mode='map_to_camera')
    robot.start()
    robot.send_info()
    robot.send_image(0.1)
    assert graph.spin_until(lambda: robot.localizer.calls)
    robot.subject.trigger_deactivate()
    robot.subject.trigger_activate()
    graph.spin_for(0.6)
    assert not robot.heard.poses and not robot.heard.results and not robot.heard.transforms


def test_cleanup_lets_go_and_the_node_can_come_back(graph):
    robot = Robot(graph, tf_mode='map_to_camera')
    robot.start()
    robot.subject.trigger_deactivate()
    assert robot.subject.trigger_cleanup().name == 'SUCCESS'
    assert robot.subject._localizer is None
    assert graph.spin_until(lambda: robot.node.count_publishers('pose') == 0)
    robot.start()
    robot.send_info()
    robot.send_image(0.5)
    assert robot.result_at(0.5).accepted


def test_reset_searches_again(graph):
    robot = Robot(graph, tf_mode='map_to_camera')
    robot.start()
    robot.send_info()
    for t_s in (0.1, 0.2):
        robot.send_image(t_s)
        robot.result_at(t_s)
    assert robot.localizer.calls[-1][2] is not None
    client = robot.node.create_client(Trigger, 'relocalizer/reset')
    assert graph.call(client, Trigger.Request()).success
    robot.send_image(0.3)
    robot.result_at(0.3)
    assert robot.localizer.calls[-1][2] is None


def test_load_map_replaces_the_map_or_keeps_the_old_one(graph):
    robot = Robot(graph, tf_mode='map_to_camera')
    robot.start()
    robot.send_info()
    client = robot.node.create_client(LoadMap, 'relocalizer/load_map')
    failed = graph.call(client, LoadMap.Request(map='missing'))
    assert not failed.success and failed.message == 'missing has no map.json.'
    robot.send_image(0.1)
    assert robot.result_at(0.1).accepted
    other = FakeLocalizer(lambda *_: localization(pose(7.0)))
    robot.subject._loader = lambda map_dir, device: other
    loaded = graph.call(client, LoadMap.Request(map='upstairs'))
    assert loaded.success and 'upstairs' in loaded.message
    robot.send_image(0.2)
    assert robot.result_at(0.2).pose.pose.position.x == 7.0
    assert other.calls[-1][2] is None


def test_loading_a_map_does_not_block_the_node(graph):
    robot = Robot(graph, tf_mode='map_to_camera', diagnostics_period=0.1)
    robot.start()
    release = threading.Event()

    def slow(map_dir, device):
        assert release.wait(10.0)
        return robot.localizer

    robot.subject._loader = slow
    client = robot.node.create_client(LoadMap, 'relocalizer/load_map')
    assert graph.spin_until(client.service_is_ready)
    future = client.call_async(LoadMap.Request(map='upstairs'))
    graph.spin_for(0.3)
    robot.heard.diagnostics.clear()
    assert graph.spin_until(lambda: len(robot.heard.diagnostics) >= 3) and not future.done()
    release.set()
    assert graph.spin_until(future.done) and future.result().success


@pytest.fixture
def asking(graph):
    robot = Robot(graph, tf_mode='map_to_camera')
    robot.start()
    client = robot.node.create_client(Relocalize, 'relocalizer/relocalize')

    def ask(**changes):
        info = camera_info(robot.stamp(0.0))
        request = Relocalize.Request(
            image=message_from_rgb(picture(30, 20, 10), info.header), camera_info=info
        )
        for name, value in changes.items():
            setattr(request, name, value)
        return graph.call(client, request)

    ask.robot = robot
    return ask


def test_relocalize_answers_an_image_with_a_pose(asking):
    response = asking()
    assert response.success and response.message == ''
    position = response.result.pose.pose.position
    np.testing.assert_allclose([position.x, position.y, position.z], [0.3, 0.2, 0.1])
    assert response.result.header.frame_id == 'map'
    assert response.result.pose.covariance[0] > 0
    assert asking.robot.localizer.calls[-1][2] is None
    assert not asking.robot.heard.poses


def test_relocalize_takes_a_prior(asking):
    request = Relocalize.Request()
    request.prior.header.frame_id = 'map'
    request.prior.pose.pose = pose_to_message(pose(2.0))
    assert asking(use_prior=True, prior=request.prior).success
    prior = asking.robot.localizer.calls[-1][2]
    np.testing.assert_allclose(prior.T_map_cam, pose(2.0))
    request.prior.header.frame_id = 'base_link'
    refused = asking(use_prior=True, prior=request.prior)
    assert not refused.success and 'base_link' in refused.message


def test_relocalize_tells_a_pose_that_is_not_accepted(asking):
    asking.robot.localizer.answer = lambda *_: localization(pose(1.0), accepted=False)
    response = asking()
    assert not response.success and 'agrees with the map' in response.message
    assert not response.result.accepted and response.result.score < 0.5


def test_relocalize_refuses_bad_input_with_a_sentence(asking):
    stamp = asking.robot.stamp(0.0)
    wrong = message_from_rgb(picture(), camera_info(stamp).header)
    wrong.encoding = 'yuv777'
    uncalibrated = camera_info(stamp)
    uncalibrated.k = [0.0] * 9
    halved = camera_info(stamp)
    halved.height = HEIGHT // 2
    for changes, word in (
        ({'image': wrong}, 'yuv777'),
        ({'camera_info': uncalibrated}, 'K[0] = 0'),
        ({'camera_info': camera_info(stamp, 'other_frame')}, 'other_frame'),
        ({'camera_info': halved}, f'x{HEIGHT // 2}'),
    ):
        response = asking(**changes)
        assert not response.success and word in response.message, word
    assert asking().success


def start_process(*ros_args, module='support.fake_relocalizer_node'):
    command = [sys.executable, '-m', module, '--ros-args']
    for argument in ros_args:
        command += ['-p', argument]
    environment = {
        **os.environ,
        'PYTHONPATH': f'{TESTS}{os.pathsep}{os.environ.get("PYTHONPATH", "")}',
    }
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['map:=missing'], 'missing has no map.json.'),
        (['map:=fake', 'tf_timeout:=1'], 'Parameter tf_timeout must be a double'),
        (['map:=fake', 'tf_mode:=odom'], 'Parameter tf_mode must be one of map_to_odom'),
        (['map:=fake', 'queue_size:=0'], 'Parameter queue_size must be an integer, 1 to 100'),
    ],
)
def test_a_node_that_cannot_start_exits_with_one_line(ros_environment, arguments, words):
    process = start_process(*arguments)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    lines = output.strip().splitlines()
    assert len(lines) == 1 and words in lines[0], output


@pytest.mark.parametrize('sent', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_node_exits_cleanly(graph, sent):
    process = start_process('map:=fake')
    node = graph.add(rclpy.create_node('watcher'))
    assert graph.spin_until(lambda: node.count_publishers('/diagnostics') == 1, 30.0)
    time.sleep(0.2)
    process.send_signal(sent)
    output, _ = process.communicate(timeout=15)
    assert process.returncode == 0, output
    assert 'Traceback' not in output


def test_without_autostart_the_node_waits_unconfigured(graph):
    process = start_process('map:=fake', 'autostart:=false')
    node = graph.add(rclpy.create_node('watcher'))
    client = node.create_client(GetState, 'relocalizer/get_state')
    answer = graph.call(client, GetState.Request(), timeout_s=30.0, tries=6)
    state = answer.current_state.label
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    assert state == 'unconfigured' and process.returncode == 0
