"""The launch files of rigs name things that exist, and start what records cameras."""

from dataclasses import fields, replace
import importlib.util
from pathlib import Path
import runpy
import signal

import pytest
import rclpy
from rclpy.parameter import Parameter
from tf2_msgs.msg import TFMessage
import yaml

from posefield.data.multiview_bag import BagImport
from posefield.data.rig_file import read_rig_file
from posefield.nodes.capture_interfaces import CAPTURE, VIDEO_RIG
from posefield.nodes.capture_parameters import CaptureParameters
from posefield.nodes.interfaces import NODES
from posefield.nodes.parameters import ros_name
from posefield.nodes.rig_frames import RigFramesNode
from posefield.nodes.rig_launch import rig_nodes
from posefield.nodes.transforms import TF_STATIC_QOS
from support import launch_xml
from support.ball_videos import FRAMES, write_videos
from support.launch_xml import REPOSITORY, LaunchError, LaunchNode, read_arguments, read_nodes
from support.processes import executables

LAUNCH = REPOSITORY / 'launch'
FILE = LAUNCH / 'capture.launch.xml'
RIG = REPOSITORY / 'config' / 'rig_example.yaml'
EVERYTHING = {'drivers': 'true', 'play': 'true', 'videos': '/videos', 'namespace': 'studio'}


def parameters_of(file):
    return yaml.safe_load(Path(file).read_text())['/**']['ros__parameters']


def defaults(table):
    return {ros_name(spec.name): spec.default for spec in fields(table)}


@pytest.mark.parametrize('interface', [CAPTURE, VIDEO_RIG], ids=lambda interface: interface.name)
def test_executables_parameters_and_topics_exist(interface):
    node = next(n for n in read_nodes(FILE, **EVERYTHING) if n.name == interface.name)
    assert (node.package, node.executable) == ('posefield', interface.executable)
    assert interface.executable in executables()
    assert node.namespace == 'studio'
    known = defaults(interface.parameters)
    (file,) = node.parameter_files
    in_file = parameters_of(file)
    assert not set(in_file) & set(node.parameters)
    assert set(in_file) | set(node.parameters) - {'use_sim_time'} <= set(known)
    if interface is CAPTURE:
        assert set(in_file) | set(node.parameters) - {'use_sim_time'} == set(known)
        assert in_file == {name: known[name] for name in in_file}
        topics = {topic.name.replace('<camera>/', '') for topic in CAPTURE.subscribed}
        assert {source.partition('/')[2] for source, _ in node.remaps} <= topics


def test_defaults_of_the_arguments_are_those_of_the_parameters():
    known = defaults(CaptureParameters)
    compared = 0
    for name, (default, _) in read_arguments(FILE).items():
        if name in known and name != 'cameras':
            assert default == str(known[name]).lower(), name
            compared += 1
    assert compared > 8
    assert known['sync_tolerance'] == BagImport().max_skew_s


def test_each_camera_has_a_namespace_a_driver_and_remaps():
    nodes = read_nodes(FILE, **EVERYTHING, left='port', left_image='/usb/image')
    drivers = [node for node in nodes if node.name == 'driver']
    assert [node.namespace for node in drivers] == ['studio/port', 'studio/right']
    assert [node.package for node in drivers] == ['usb_cam', 'usb_cam']
    assert ('image_raw', 'image_raw') in drivers[0].remaps
    devices = [node.parameters['video_device'] for node in drivers]
    assert devices == ['"/dev/video0"', '"/dev/video2"']
    assert drivers[0].parameters['frame_id'] == '"port_optical_frame"'
    capture = next(node for node in nodes if node.name == 'capture')
    assert ('port/image_raw', '/usb/image') in capture.remaps
    assert ('right/image_raw', 'right/image_raw') in capture.remaps
    assert yaml.safe_load(capture.parameters['cameras']) == ['port', 'right']


def test_only_what_is_asked_for_is_started():
    assert [node.name for node in read_nodes(FILE)] == ['capture']
    assert [node.name for node in read_nodes(FILE, **EVERYTHING)] == [
        'driver',
        'driver',
        'video_rig',
        'capture',
    ]
    camera = LAUNCH / 'camera.launch.xml'
    (node,) = read_nodes(camera, driver='false', tf='true', name='top')
    assert (node.package, node.namespace) == ('tf2_ros', 'top')
    assert node.arguments[:2] == ('--x', '0.0') and node.arguments[-1] == 'top_optical_frame'


def test_the_runner_refuses_what_launch_would(tmp_path):
    def write(text):
        file = tmp_path / 'a.launch.xml'
        file.write_text(f'<launch>{text}</launch>')
        return file

    include = LAUNCH / 'camera.launch.xml'
    wrong = f'<include file="{include}"><arg name="nam" value="x"/></include>'
    with pytest.raises(LaunchError, match='no argument nam'):
        read_nodes(write(wrong))
    with pytest.raises(LaunchError, match='cannot be substituted'):
        read_nodes(
            write('<group><let name="a" value="b"/></group><let name="c" value="$(var a)"/>')
        )
    with pytest.raises(LaunchError, match="is 'maybe'"):
        read_nodes(write('<group if="maybe"/>'))
    with pytest.raises(LaunchError, match='not a tag'):
        read_nodes(write('<executable/>'))
    text = '<let name="a" value="b c"/><node pkg="p" exec="e" name="n" args="x $(var a)-d e"/>'
    (node,) = read_nodes(write(text))
    assert node.arguments == ('x', 'b c-d', 'e')
    node = '<node pkg="p" exec="e" name="n" namespace="in"/>'
    text = f'<group unless="0"><push_ros_namespace namespace="a"/>{node}</group>{node}'
    assert [n.namespace for n in read_nodes(write(text))] == ['a/in', 'in']


def test_videos_are_played_and_recorded_through_the_launch_file(ros_environment, tmp_path):
    videos = write_videos(tmp_path / 'videos')
    processes = launch_xml.start(
        FILE,
        cameras="['cam0', 'cam1', 'cam2']",
        namespace='studio',
        play='true',
        videos=str(videos),
        output=str(tmp_path / 'out'),
        video_rig_params_file=str(_playing_slowly(tmp_path)),
        record_at_start='true',
        duration='1.0',
        exit_after_recording='true',
    )
    player, capture = processes
    try:
        output, _ = capture.communicate(timeout=90)
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=30)
    assert capture.returncode == 0, output
    assert 'Recorded' in output
    (bag,) = (tmp_path / 'out').iterdir()
    assert (bag / 'metadata.yaml').is_file()
    topics = yaml.safe_load((bag / 'metadata.yaml').read_text())
    text = str(topics['rosbag2_bagfile_information']['topics_with_message_count'])
    assert all(f'/studio/cam{index}/image_raw' in text for index in range(3))


def _playing_slowly(folder):
    """Parameters that play the few pictures for long enough."""
    file = folder / 'video_rig.yaml'
    parameters = parameters_of(REPOSITORY / 'config' / 'video_rig.yaml')
    parameters |= {'loop': True, 'rate': 0.5 * FRAMES / 8}
    file.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    return file


def test_a_rig_file_gives_drivers_frames_and_users():
    rig = read_rig_file(RIG)
    users = {'capture': 'capture.yaml', 'articulation': ''}
    driver, frames, capture, articulation = rig_nodes(RIG, rig, users, {'use_sim_time': True})
    assert (driver.package, driver.namespace) == ('usb_cam', 'left')
    assert driver.parameters['video_device'] == '/dev/video0'
    assert frames.executable == 'rig_frames_node' and frames.parameters['rig'] == str(RIG)
    interfaces = {node.name: node for node in NODES}
    for node in (frames, capture, articulation):
        assert node.package == 'posefield' and node.executable in executables()
        known = {ros_name(spec.name) for spec in fields(interfaces[node.name].parameters)}
        assert set(node.parameters) - {'use_sim_time'} <= known
        assert node.parameters['use_sim_time'] is True
    for node in (capture, articulation):
        assert node.parameters['cameras'] == ['left', 'right']
        assert node.remaps == (
            ('right/image_raw', '/other_driver/right/color/image_raw'),
            ('right/camera_info', '/other_driver/right/color/camera_info'),
        )
    assert capture.parameter_files == ('capture.yaml',) and articulation.parameter_files == ()


def test_a_rig_without_extrinsics_or_drivers_starts_users_alone():
    rig = read_rig_file(RIG)
    cameras = tuple(replace(c, T_world_cam=None, driver=None) for c in rig.cameras)
    nodes = rig_nodes(RIG, replace(rig, cameras=cameras), {'capture': ''})
    assert [node.name for node in nodes] == ['capture']


def test_rig_nodes_start_as_processes_do():
    """The node list makes command lines as launch does, for the nodes of this package."""
    nodes = rig_nodes(RIG, read_rig_file(RIG), {'capture': ''})
    capture = nodes[-1]
    launched = LaunchNode(
        capture.package,
        capture.executable,
        capture.name,
        capture.namespace,
        {name: yaml.safe_dump(value).strip() for name, value in capture.parameters.items()},
        capture.parameter_files,
        capture.remaps,
        (),
    )
    assert '__node:=capture' in launched.command()


def test_rig_frames_tells_late_subscribers_where_cameras_stand(graph):
    graph.add(RigFramesNode(parameter_overrides=[Parameter('rig', value=str(RIG))]))
    heard = []
    node = graph.add(rclpy.create_node('late'))
    node.create_subscription(TFMessage, '/tf_static', heard.append, TF_STATIC_QOS)
    assert graph.spin_until(lambda: heard)
    transforms = {t.child_frame_id: t for t in heard[0].transforms}
    assert set(transforms) == {'left_optical_frame', 'right_color_optical_frame'}
    left = transforms['left_optical_frame']
    assert left.header.frame_id == 'world'
    assert (left.transform.translation.y, left.transform.translation.z) == (0.2, 1.0)
    rotation = left.transform.rotation
    assert [rotation.x, rotation.y, rotation.z, rotation.w] == pytest.approx(
        [-0.5, 0.5, -0.5, 0.5]
    )


@pytest.mark.skipif(
    importlib.util.find_spec('launch_ros') is None, reason='launch is not on this machine'
)
def test_the_python_launch_file_describes_its_arguments():
    module = runpy.run_path(str(LAUNCH / 'multi_camera.launch.py'))
    description = module['generate_launch_description']()
    arguments = description.get_launch_arguments()
    assert {argument.name for argument in arguments} >= {'rig', 'capture', 'articulation'}
    assert all(argument.description.endswith('.') for argument in arguments)
