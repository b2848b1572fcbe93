"""Nodes with cameras have the topics, services and QoS that docs/nodes.md says."""

import pytest
import rclpy
from rclpy.parameter import Parameter

from posefield.nodes.capture import CaptureNode
from posefield.nodes.capture_interfaces import CAPTURE, VIDEO_RIG
from posefield.nodes.video_rig import VideoRigNode
from support.ball_videos import write_videos

COMMON = ('/rosout', '/parameter_events')
COMMON_SERVICES = ('parameter', 'type_description', 'logger_level')


def documented(topics, transport, camera):
    """Names of the documented topics with their entries."""
    names = {}
    for topic in topics:
        name = '/' + topic.name.replace('<camera>', camera).lstrip('/')
        if name not in names:
            names[name] = topic
    unused = f'/{camera}/image_raw' + ('' if transport == 'compressed' else '/compressed')
    names.pop(unused, None)
    return names


def check(graph, subject, interface, transport, camera):
    """Compare a node with its documentation."""
    node = graph.add(rclpy.create_node('asker'))
    for entries, by_node, by_topic in (
        (
            interface.subscribed,
            subject.get_subscriber_names_and_types_by_node,
            node.get_subscriptions_info_by_topic,
        ),
        (
            interface.published,
            subject.get_publisher_names_and_types_by_node,
            node.get_publishers_info_by_topic,
        ),
    ):
        expected = documented(entries, transport, camera)
        live = {
            name: types[0]
            for name, types in by_node(subject.get_name(), '/')
            if name not in COMMON
        }
        assert live == {name: topic.message_type for name, topic in expected.items()}
        for name, topic in expected.items():

            def mine(name=name, by_topic=by_topic):
                return [
                    info.qos_profile
                    for info in by_topic(name)
                    if info.node_name == subject.get_name()
                ]

            assert graph.spin_until(mine), name
            words = topic.qos.replace(' ', '_').split(',_')
            for qos in mine():
                assert qos.reliability.name.lower() == words[0], name
                assert qos.durability.name.lower() == words[1], name
    services = {
        name: kinds[0]
        for name, kinds in subject.get_service_names_and_types_by_node(subject.get_name(), '/')
        if not any(word in name for word in COMMON_SERVICES)
    }
    assert services == {
        service.name.replace('~', f'/{subject.get_name()}'): service.service_type
        for service in interface.services
    }


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_capture_is_as_documented(graph, tmp_path, transport):
    values = {'cameras': ['left'], 'output': str(tmp_path), 'image_transport': transport}
    subject = graph.add(
        CaptureNode(
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()]
        )
    )
    check(graph, subject, CAPTURE, transport, 'left')


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_the_video_rig_is_as_documented(graph, tmp_path, transport):
    values = {
        'videos': str(write_videos(tmp_path / 'source')),
        'cameras': ['cam1'],
        'image_transport': transport,
        'publish_clock': True,
    }
    subject = graph.add(
        VideoRigNode(
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()]
        )
    )
    check(graph, subject, VIDEO_RIG, transport, 'cam1')
