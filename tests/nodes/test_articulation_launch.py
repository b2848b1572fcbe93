"""The launch file, configuration and views of the articulation node name things that exist."""

from dataclasses import fields
import json
import signal

from lifecycle_msgs.srv import GetState
import pytest
import rclpy
import yaml

from posefield.nodes.articulation_interface import ARTICULATION
from posefield.nodes.articulation_parameters import ArticulationParameters
from posefield.nodes.parameters import ros_name
from support import launch_xml
from support.launch_xml import REPOSITORY, read_arguments, read_nodes
from support.processes import executables

LAUNCH = REPOSITORY / 'launch' / 'articulation.launch.xml'
KNOWN = {ros_name(spec.name): spec.default for spec in fields(ArticulationParameters)}
TOPICS = {
    '/' + topic.name.replace('~', ARTICULATION.name).lstrip('/')
    for topic in (*ARTICULATION.published, *ARTICULATION.subscribed)
}


def flat(tree, prefix=''):
    values = {}
    for key, value in tree.items():
        name = f'{prefix}{key}'
        values.update(flat(value, f'{name}.') if isinstance(value, dict) else {name: value})
    return values


def test_every_parameter_is_in_the_launch_file_or_in_its_configuration():
    (node,) = read_nodes(LAUNCH)
    assert (node.package, node.executable) == ('posefield', ARTICULATION.executable)
    assert node.executable in executables() and node.name == ARTICULATION.name
    (file,) = node.parameter_files
    in_file = flat(yaml.safe_load(launch_xml.Path(file).read_text())['/**']['ros__parameters'])
    assert in_file == {name: KNOWN[name] for name in in_file}
    by_name = set(node.parameters) - {'use_sim_time'}
    assert not by_name & set(in_file)
    assert by_name | set(in_file) == set(KNOWN)


def test_defaults_of_the_launch_arguments_are_those_of_the_parameters():
    for name, (default, description) in read_arguments(LAUNCH).items():
        assert description.endswith('.'), name
        if name in KNOWN:
            value = yaml.safe_load(default) if default else default
            expected = KNOWN[name]
            assert value == (list(expected) if isinstance(expected, tuple) else expected), name


def test_the_views_show_topics_of_the_node():
    rviz = yaml.safe_load((REPOSITORY / 'config' / 'articulation.rviz').read_text())
    displays = rviz['Visualization Manager']['Displays']
    shown = {d[key]['Value'] for d in displays for key in d if key.endswith('Topic')}
    assert shown == {
        '/robot_description',
        '/articulation/markers',
        '/articulation/parts',
        '/articulation/render',
    }
    assert shown <= TOPICS
    assert rviz['Visualization Manager']['Global Options']['Fixed Frame'] == KNOWN['world_frame']
    layout = json.loads((REPOSITORY / 'config' / 'articulation.foxglove.json').read_text())
    panels = layout['configById']
    assert set(panels['3D!thing']['topics']) <= TOPICS
    assert panels['3D!thing']['layers']['model']['topic'] in TOPICS
    assert set(panels['Image!render']['imageMode'].values()) <= TOPICS
    for plot in ('Plot!joints', 'Plot!score'):
        assert {path['value'].split('.')[0] for path in panels[plot]['paths']} <= TOPICS
    text = json.dumps(layout['layout'])
    assert all(f'"{panel}"' in text for panel in panels)


@pytest.mark.parametrize('rviz', ['false', 'true'])
def test_only_what_is_asked_for_is_started(rviz):
    names = [node.name for node in read_nodes(LAUNCH, rviz=rviz)]
    assert names == ['articulation', *(['rviz'] if rviz == 'true' else [])]


def test_the_launch_file_starts_the_node(graph):
    (process,) = launch_xml.start(LAUNCH, cameras="['left', 'right']", namespace='robot')
    node = graph.add(rclpy.create_node('watcher'))
    client = node.create_client(GetState, '/robot/articulation/get_state')
    try:
        assert graph.spin_until(lambda: node.count_subscribers('/robot/right/image_raw'), 60.0)
        answer = graph.call(client, GetState.Request(), timeout_s=30.0, tries=6)
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert answer.current_state.label == 'active'
    assert process.returncode == 0, output
