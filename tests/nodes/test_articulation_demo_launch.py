"""The launch file of the demo of articulation names things that exist, and starts them."""

from dataclasses import fields
import signal

import pytest
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
import yaml

from posefield.nodes.articulation_parameters import ArticulationParameters
from posefield.nodes.parameters import ros_name
from posefield.nodes.simulated_rig_interface import SIMULATED_RIG, SimulatedRigParameters
from posefield_msgs.msg import ArticulatedModel
from support import launch_xml
from support.launch_xml import REPOSITORY, read_arguments, read_nodes
from support.processes import executables
from support.tiny_robot import TINY_URDF

LAUNCH = REPOSITORY / 'launch' / 'articulation_demo.launch.xml'
RIG = {ros_name(spec.name): spec.default for spec in fields(SimulatedRigParameters)}
ARTICULATION = {ros_name(spec.name): spec.default for spec in fields(ArticulationParameters)}
# What the demo sets otherwise than the node has it by default.
OTHERWISE = {'publish_masks': True, 'duration': '10.0'}


def test_every_parameter_of_the_rig_is_set_in_one_place():
    rig, articulation = read_nodes(LAUNCH)
    assert {rig.executable, articulation.executable} <= set(executables())
    assert (rig.executable, rig.name) == (SIMULATED_RIG.executable, SIMULATED_RIG.name)
    (file,) = rig.parameter_files
    in_file = yaml.safe_load(launch_xml.Path(file).read_text())['/**']['ros__parameters']
    assert not set(rig.parameters) & set(in_file)
    assert set(rig.parameters) | set(in_file) == set(RIG)
    assert in_file == {name: OTHERWISE.get(name, RIG[name]) for name in in_file}
    assert set(articulation.parameters) <= set(ARTICULATION)


def test_every_argument_is_described_and_has_the_default_of_its_parameter():
    arguments = read_arguments(LAUNCH)
    for name, (default, description) in arguments.items():
        assert description.endswith('.'), name
        if name in RIG:
            expected = OTHERWISE.get(name, str(RIG[name]))
            assert default == expected, name
    names = yaml.safe_load(arguments['camera_names'][0])
    assert names == [f'cam_{number:02d}' for number in range(RIG['cameras'])]


def test_the_rig_and_the_articulation_node_come_up(graph, tmp_path):
    pytest.importorskip('pybullet', reason='the sim extra is not installed')
    urdf = tmp_path / 'tiny.urdf'
    urdf.write_text(TINY_URDF)
    images = []
    node = graph.add(rclpy.create_node('listener'))
    node.create_subscription(Image, 'cam_01/image_raw', images.append, qos_profile_sensor_data)
    node.create_subscription(ArticulatedModel, 'articulation/skeleton', images.append, 10)
    processes = launch_xml.start(
        LAUNCH,
        urdf=str(urdf),
        cameras='2',
        camera_names="['cam_00', 'cam_01']",
        size='32',
        models_dir=str(tmp_path),
    )
    try:
        assert graph.spin_until(lambda: len(images) >= 2, 90.0)
        assert graph.spin_until(
            lambda: {'simulated_rig', 'articulation'} <= set(node.get_node_names()), 60.0
        )
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        codes = [process.wait(30) for process in processes]
    assert codes == [0, 0]
