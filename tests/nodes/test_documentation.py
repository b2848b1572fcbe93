"""docs/nodes.md is what the code says, and the code says what the node does."""

from dataclasses import fields

import pytest

from posefield.nodes.documentation import page, section
from posefield.nodes.interfaces import NODES, RELOCALIZER
from posefield.nodes.parameters import constraint_of, ros_name
from support.launch_xml import REPOSITORY
from support.processes import executables
from support.robot import Robot

# What every node (or every lifecycle node) has.
COMMON = ('/rosout', '/parameter_events', '/relocalizer/transition_event', '/clock')
COMMON_SERVICES = ('parameter', 'state', 'transition', 'type_description', 'logger_level')


def test_the_page_is_up_to_date():
    written = (REPOSITORY / 'docs' / 'nodes.md').read_text(encoding='utf-8')
    assert written == page(), 'run: python -m posefield.nodes.documentation docs/nodes.md'


def test_the_page_has_every_parameter_with_its_range():
    for node in NODES:
        text = section(node)
        assert text in page() and node.executable in executables()
        for spec in fields(node.parameters):
            (row,) = [r for r in text.splitlines() if r.startswith(f'| `{ros_name(spec.name)}` |')]
            assert constraint_of(spec).range_text in row and constraint_of(spec).unit in row


def expected_topics(topics, transport):
    names = {
        '/' + topic.name.replace('~', RELOCALIZER.name).lstrip('/'): topic.message_type
        for topic in topics
    }
    names.pop('/image' if transport == 'compressed' else '/image/compressed', None)
    return names


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_the_relocalizer_has_the_documented_topics_and_services(graph, transport):
    robot = Robot(graph, image_transport=transport)
    assert robot.subject.trigger_configure().name == 'SUCCESS'
    assert robot.subject.trigger_activate().name == 'SUCCESS'

    def live(query):
        found = query('relocalizer', '/')
        return {name: types[0] for name, types in found if name not in COMMON}

    node = robot.subject
    assert live(node.get_subscriber_names_and_types_by_node) == expected_topics(
        RELOCALIZER.subscribed, transport
    )
    assert live(node.get_publisher_names_and_types_by_node) == expected_topics(
        RELOCALIZER.published, transport
    )
    services = {
        name: kind
        for name, kind in live(node.get_service_names_and_types_by_node).items()
        if not any(word in name for word in COMMON_SERVICES)
    }
    assert services == {
        service.name.replace('~', '/relocalizer'): service.service_type
        for service in RELOCALIZER.services
    }


def test_the_documented_qos_is_the_real_one(graph):
    robot = Robot(graph)
    assert robot.subject.trigger_configure().name == 'SUCCESS'
    assert robot.subject.trigger_activate().name == 'SUCCESS'
    queries = (
        (RELOCALIZER.subscribed, robot.node.get_subscriptions_info_by_topic),
        (RELOCALIZER.published, robot.node.get_publishers_info_by_topic),
    )
    for topics, query in queries:
        for topic in topics:
            name = '/' + topic.name.replace('~', 'relocalizer').lstrip('/')
            if name == '/image/compressed':
                continue

            def mine(name=name, query=query):
                return [i.qos_profile for i in query(name) if i.node_name == 'relocalizer']

            assert graph.spin_until(mine), name
            words = topic.qos.replace(' ', '_').split(',_')
            qos = mine()[0]
            assert qos.reliability.name.lower() == words[0], name
            assert qos.durability.name.lower() == words[1], name
