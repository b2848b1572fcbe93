"""Videos played as cameras over DDS: what capture needs, at the pace of the recording."""

import itertools
import subprocess
import time

import numpy as np
import pytest
import rclpy
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from posefield.data.camera_info import camera_from_info
from posefield.data.video_rig import open_video_rig
from posefield.errors import DataError
from posefield.nodes.conversions import seconds
from posefield.nodes.images import rgb_from_message
from posefield.nodes.parameters import ParameterError
from posefield.nodes.rig_input import RigInput
from posefield.nodes.rig_parameters import RigParameters
from posefield.nodes.throttle import ThrottledWarnings
from posefield.nodes.transforms import make_transforms
from posefield.nodes.video_rig import VideoRigNode
from support.ball_videos import FRAMES, RATE_HZ, write_videos
from support.processes import node_command

NAMES = ('cam0', 'cam1', 'cam2')
DISTORTION = (0.01, -0.002, 0.001, 0.0, 0.0)


@pytest.fixture
def source(tmp_path):
    return write_videos(tmp_path / 'source', DISTORTION)


def player(graph, source, **parameters):
    values = {'videos': str(source), 'wait_for_subscribers': True, **parameters}
    return graph.add(
        VideoRigNode(
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()]
        )
    )


def test_what_is_played_is_a_rig_for_others(graph, source):
    listener = graph.add(rclpy.create_node('listener'))
    sets = []
    rig = RigInput(
        listener,
        RigParameters(cameras=NAMES),
        sets.append,
        transforms=make_transforms(listener, broadcasts=False),
        warnings=ThrottledWarnings(listener.get_logger()),
    )
    subject = player(graph, source)
    begun_s = time.monotonic()
    assert subject.play(graph.executor) == 0
    assert time.monotonic() - begun_s >= (FRAMES - 1) / RATE_HZ
    assert graph.spin_until(lambda: len(sets) == FRAMES)
    videos = open_video_rig(source)
    for found, pictures in zip(sets, videos.moments(), strict=True):
        assert found.skew_s == 0.0 and list(found.views) == list(NAMES)
        for video, picture in zip(videos.videos, pictures, strict=True):
            message = found.images[video.name]
            assert message.header.frame_id == f'{video.name}_optical_frame'
            np.testing.assert_array_equal(rgb_from_message(message), picture)
            assert found.cameras[video.name] == video.camera
    stamps = [found.stamp_ns / 1e9 for found in sets]
    assert np.median(np.diff(stamps)) == pytest.approx(1 / RATE_HZ, rel=0.5)
    poses = rig.extrinsics('world')
    for video in videos.videos:
        np.testing.assert_allclose(poses[video.name], video.T_world_cam, atol=1e-9)


def test_with_a_clock_stamps_are_of_the_videos_and_rise_from_loop_to_loop(graph, source):
    listener = graph.add(rclpy.create_node('listener'))
    stamps, ticks = [], []
    listener.create_subscription(
        Image, 'cam1/image_raw', lambda m: stamps.append(seconds(m.header.stamp)), 100
    )
    listener.create_subscription(Clock, '/clock', lambda m: ticks.append(seconds(m.clock)), 100)
    subject = player(
        graph, source, cameras=['cam1'], publish_clock=True, loop=True, rate=10.0, every=2
    )

    class Enough(Exception):
        pass

    def stop_when_enough():
        if len(stamps) > FRAMES:
            raise Enough

    listener.create_timer(0.01, stop_when_enough)
    with pytest.raises(Enough):
        subject.play(graph.executor)
    expected = list(itertools.islice(itertools.count(1.0, 2 / RATE_HZ), len(stamps)))
    assert stamps == pytest.approx(expected)
    assert ticks[: len(stamps) - 1] == pytest.approx(expected[:-1])


def test_compressed_pictures_and_their_calibration(graph, source):
    listener = graph.add(rclpy.create_node('listener'))
    images, infos = [], []
    listener.create_subscription(CompressedImage, 'cam0/image_raw/compressed', images.append, 100)
    listener.create_subscription(CameraInfo, 'cam0/camera_info', infos.append, 100)
    subject = player(
        graph, source, cameras=['cam0'], image_transport='compressed', size=32, rate=10.0
    )
    subject.play(graph.executor)
    assert graph.spin_until(lambda: len(images) == len(infos) - 1 == FRAMES)
    video = open_video_rig(source, size=32)
    for message, pictures in zip(images, video.moments(), strict=True):
        difference = rgb_from_message(message).astype(float) - pictures[0]
        assert np.abs(difference).mean() < 8.0
    assert camera_from_info(infos[0]) == video.videos[0].camera


def test_nobody_to_play_to_is_told(graph, source):
    subject = player(graph, source, wait_timeout=0.3)
    with pytest.raises(DataError, match='images of cam0, cam1, cam2 within 0.3 s'):
        subject.play(graph.executor)


def test_bad_parameters_are_told_in_one_line(ros_environment, tmp_path):
    command = [*node_command('video_rig_node'), '--ros-args', '-p', f'videos:={tmp_path}']
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f'{tmp_path} has no video')


def test_videos_are_needed(graph):
    with pytest.raises(ParameterError, match='videos is empty'):
        VideoRigNode()
