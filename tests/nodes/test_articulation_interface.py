"""The articulation node has the topics, services and actions that docs/nodes.md says."""

import numpy as np
import pytest
from rclpy.action import get_action_server_names_and_types_by_node
from std_msgs.msg import Header

from posefield.data.camera_info import camera_from_info
from posefield.geometry.camera import Camera
from posefield.nodes.articulation_interface import ARTICULATION
from posefield.nodes.articulation_messages import depth_message
from posefield.nodes.camera_publisher import info_from_camera
from posefield.nodes.clouds import cloud_of_parts, points_of_cloud
from support.puppet import Puppet, save_balls

COMMON = ('/rosout', '/parameter_events', '/articulation/transition_event')
COMMON_SERVICES = ('parameter', 'state', 'transition', 'type_description', 'logger_level')


def documented(topics, transport):
    names = {
        '/'
        + topic.name.replace('~', 'articulation').replace('<camera>', 'left').lstrip('/'): topic
        for topic in topics
    }
    unused = '/left/image_raw' + ('' if transport == 'compressed' else '/compressed')
    names.pop(unused, None)
    return names


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_the_node_is_as_documented(graph, tmp_path, transport):
    values = {
        'cameras': ['left'],
        'image_transport': transport,
        'model': str(save_balls(tmp_path / 'balls')),
    }
    puppet = Puppet(graph, values)
    puppet.start()
    subject, node = puppet.subject, puppet.node
    for entries, by_node, by_topic in (
        (
            ARTICULATION.subscribed,
            subject.get_subscriber_names_and_types_by_node,
            node.get_subscriptions_info_by_topic,
        ),
        (
            ARTICULATION.published,
            subject.get_publisher_names_and_types_by_node,
            node.get_publishers_info_by_topic,
        ),
    ):
        expected = documented(entries, transport)
        live = {
            name: types[0]
            for name, types in by_node('articulation', '/')
            if name not in COMMON and '/_action/' not in name
        }
        assert live == {name: topic.message_type for name, topic in expected.items()}
        for name, topic in expected.items():

            def mine(name=name, by_topic=by_topic):
                return [i.qos_profile for i in by_topic(name) if i.node_name == 'articulation']

            assert graph.spin_until(mine), name
            words = topic.qos.replace(' ', '_').split(',_')
            for qos in mine():
                assert qos.reliability.name.lower() == words[0], name
                assert qos.durability.name.lower() == words[1], name
    services = {
        name: kinds[0]
        for name, kinds in subject.get_service_names_and_types_by_node('articulation', '/')
        if not any(word in name for word in (*COMMON_SERVICES, '/_action/'))
    }
    assert services == {
        service.name.replace('~', '/articulation'): service.service_type
        for service in ARTICULATION.services
    }
    actions = get_action_server_names_and_types_by_node(node, 'articulation', '/')
    assert actions == [
        (action.name.replace('~', '/articulation'), [action.action_type])
        for action in ARTICULATION.actions
    ]


CLOUD = (
    np.array([[0.1, -0.2, 0.3], [1.0, 2.0, 3.0]]),
    np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]),
    np.array([4, 7]),
)


@pytest.mark.parametrize('installed', [False, True])
def test_clouds_are_the_same_with_and_without_sensor_msgs_py(monkeypatch, installed):
    if installed:
        fake_sensor_msgs_py(monkeypatch)
    cloud = cloud_of_parts(Header(frame_id='world'), *CLOUD)
    assert [field.name for field in cloud.fields] == ['x', 'y', 'z', 'rgb', 'part']
    assert (cloud.width, cloud.height, cloud.point_step) == (2, 1, 20)
    assert cloud.row_step == len(cloud.data) == 40 and cloud.is_dense
    points = points_of_cloud(cloud)
    np.testing.assert_allclose(points['x'], [0.1, 1.0])
    np.testing.assert_allclose(points['z'], [0.3, 3.0])
    assert points['rgb'].view('<u4').tolist() == [0xFF0080, 0x00FF00]
    assert points['part'].tolist() == [4, 7]


def fake_sensor_msgs_py(monkeypatch):
    """Put a module in the place of sensor_msgs_py that does as its documentation says."""
    import sys
    import types

    from sensor_msgs.msg import PointCloud2

    def create_cloud(header, fields, points):
        return PointCloud2(
            header=header,
            height=1,
            width=len(points),
            fields=fields,
            point_step=points.dtype.itemsize,
            row_step=points.dtype.itemsize * len(points),
            data=points.tobytes(),
            is_dense=True,
        )

    module = types.ModuleType('sensor_msgs_py.point_cloud2')
    module.create_cloud = create_cloud
    package = types.ModuleType('sensor_msgs_py')
    package.__spec__ = types.SimpleNamespace(name='sensor_msgs_py')
    monkeypatch.setitem(sys.modules, 'sensor_msgs_py', package)
    monkeypatch.setitem(sys.modules, 'sensor_msgs_py.point_cloud2', module)


def test_calibrations_come_back_as_the_camera_and_depths_follow_rep_118():
    camera = Camera(8, 6, 9.0, 9.5, 3.2, 2.7)
    info = info_from_camera(camera, Header(frame_id='eye'))
    assert camera_from_info(info) == camera_from_info(info, rectified=True) == camera
    depths = np.zeros((6, 8))
    depths[2, 3] = 1.5
    message = depth_message(depths, Header())
    assert (message.encoding, message.step) == ('32FC1', 32)
    seen = np.frombuffer(message.data, '<f4').reshape(6, 8)
    assert seen[2, 3] == 1.5 and np.isnan(seen).sum() == 47
