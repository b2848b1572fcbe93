"""The parameter tables, declared on real nodes."""

from dataclasses import fields, replace

import pytest
import rclpy
from rclpy.parameter import Parameter

from posefield.nodes import parameters
from posefield.nodes.parameters import (
    BagPlayerParameters,
    ParameterError,
    RelocalizerParameters,
    declare,
    read,
    ros_name,
)
from posefield.relocalization.tracker_config import TrackerConfig

TABLES = [RelocalizerParameters, BagPlayerParameters]


def node_with(graph, **overrides):
    values = [Parameter(name.replace('__', '.'), value=value) for name, value in overrides.items()]
    return graph.add(rclpy.create_node('subject', parameter_overrides=values))


@pytest.mark.parametrize('table', TABLES)
def test_defaults_are_declared_as_in_the_table(graph, table):
    assert declare(node_with(graph), table) == table()


@pytest.mark.parametrize('table', TABLES)
def test_every_parameter_is_described_with_its_range(graph, table):
    node = node_with(graph)
    declare(node, table)
    for spec in fields(table):
        constraint = parameters.constraint_of(spec)
        descriptor = node.describe_parameter(ros_name(spec.name))
        assert descriptor.description.endswith(('.', '..'))
        assert descriptor.read_only != constraint.live
        ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
        if constraint.low is not None:
            assert (ranges[0].from_value, ranges[0].to_value) == (constraint.low, constraint.high)
        else:
            assert not ranges
        if isinstance(spec.default, int | float) and not isinstance(spec.default, bool):
            assert constraint.low is not None, f'{spec.name} has no range'
            assert constraint.low <= spec.default <= constraint.high


def test_overrides_arrive(graph):
    node = node_with(graph, map='/maps/hall', tracking__gate_sigmas=3.55)
    assert declare(node, RelocalizerParameters) == RelocalizerParameters(
        map='/maps/hall', tracking_gate_sigmas=3.55
    )


def test_string_arrays_arrive(graph):
    node = node_with(graph, exclude_topics=['/tf', '/clock'])
    assert declare(node, BagPlayerParameters).exclude_topics == ('/tf', '/clock')


@pytest.mark.parametrize(
    ('overrides', 'words'),
    [
        ({'tf_timeout': 1}, ['tf_timeout', 'double', 'write 1.0', 'INTEGER']),
        ({'tf_timeout': 60.0}, ['tf_timeout', '0 to 10 s', '60']),
        ({'queue_size': 0}, ['queue_size', 'integer', '1 to 100 images', '0']),
        ({'queue_size': 'two'}, ['queue_size', 'integer', 'two']),
        ({'map': 5}, ['map', 'string', '5']),
        ({'tf_mode': 'odom_to_map'}, ['tf_mode', 'map_to_odom, map_to_base', 'odom_to_map']),
        ({'overlay_blend': float('nan')}, ['overlay_blend', 'nan']),
        ({'tracking__confirm_k': 0}, ['tracking.confirm_k', '1 to 20']),
    ],
)
def test_a_bad_value_is_one_sentence_naming_the_parameter(graph, overrides, words):
    with pytest.raises(ParameterError) as caught:
        declare(node_with(graph, **overrides), RelocalizerParameters)
    message = str(caught.value)
    assert '\n' not in message and message.endswith('.')
    for word in words:
        assert word in message


def test_live_parameters_can_be_set_and_the_others_not(graph):
    node = node_with(graph)
    declare(node, RelocalizerParameters)
    set_result = node.set_parameters([Parameter('max_rate', value=2.0)])[0]
    assert set_result.successful
    assert read(node, RelocalizerParameters) == replace(RelocalizerParameters(), max_rate=2.0)
    refused = node.set_parameters([Parameter('map_frame', value='world')])[0]
    assert not refused.successful and 'read-only' in refused.reason
    out_of_range = node.set_parameters([Parameter('tracking.gate_sigmas', value=0.0)])[0]
    assert not out_of_range.successful and 'tracking.gate_sigmas' in out_of_range.reason


def test_the_tracker_gets_its_thresholds():
    assert RelocalizerParameters().tracker_config() == TrackerConfig()
    changed = RelocalizerParameters(tracking_confirm_k=2, tracking_free_turn=0.3)
    assert changed.tracker_config() == TrackerConfig(confirm_k=2, free_turn=0.3)
