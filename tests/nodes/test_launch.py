"""The launch file and the configuration files name things that exist, and start the nodes."""

from dataclasses import fields
import json
import signal
import time

from lifecycle_msgs.srv import GetState
import pytest
import rclpy
import yaml

from posefield.nodes.interfaces import BAG_PLAYER, RELOCALIZER
from posefield.nodes.parameters import RelocalizerParameters, ros_name
from support import launch_xml
from support.bags import write_bag
from support.launch_xml import REPOSITORY, LaunchError, read_arguments, read_nodes
from support.processes import executables

LAUNCH_FILES = sorted((REPOSITORY / 'launch').glob('*.launch.xml'))
RELOCALIZATION = REPOSITORY / 'launch' / 'relocalization.launch.xml'
EVERYTHING = {'map': '/maps/hall', 'play': 'true', 'bag': '/bags/drive', 'rviz': 'true'}


def flat(tree, prefix=''):
    values = {}
    for key, value in tree.items():
        name = f'{prefix}{key}'
        values.update(flat(value, f'{name}.') if isinstance(value, dict) else {name: value})
    return values


def yaml_parameters(file):
    return flat(yaml.safe_load(file.read_text())['/**']['ros__parameters'])


def defaults(table):
    return {ros_name(spec.name): spec.default for spec in fields(table)}


@pytest.mark.parametrize('file', LAUNCH_FILES, ids=lambda file: file.name)
def test_every_argument_is_described(file):
    arguments = read_arguments(file)
    assert arguments
    for name, (_, description) in arguments.items():
        assert description.endswith('.'), name


@pytest.mark.parametrize(
    'interface', [RELOCALIZER, BAG_PLAYER], ids=lambda interface: interface.name
)
def test_launched_executables_parameters_and_topics_exist(interface):
    node = next(n for n in read_nodes(RELOCALIZATION, **EVERYTHING) if n.name == interface.name)
    assert (node.package, node.executable) == ('posefield', interface.executable)
    assert interface.executable in executables()
    known = defaults(interface.parameters)
    assert set(node.parameters) - {'use_sim_time'} <= set(known)
    assert {source for source, _ in node.remaps} <= {topic.name for topic in interface.subscribed}
    (file,) = node.parameter_files
    in_file = yaml_parameters(launch_xml.Path(file))
    assert in_file == {name: known[name] for name in in_file}
    # What both would set could not be changed in the file.
    assert not set(in_file) & set(node.parameters)
    if interface is RELOCALIZER:
        assert set(in_file) | set(node.parameters) - {'use_sim_time'} == set(known)


def test_defaults_of_the_launch_arguments_are_those_of_the_parameters():
    known = defaults(RelocalizerParameters)
    for name, (default, _) in read_arguments(RELOCALIZATION).items():
        if name in known and default is not None:
            assert default == str(known[name]).lower(), name


def test_the_map_is_required_and_typing_errors_are_told():
    with pytest.raises(LaunchError, match='Required launch argument "map"'):
        read_nodes(RELOCALIZATION)
    with pytest.raises(LaunchError, match='imag'):
        read_nodes(RELOCALIZATION, map='m', imag='/camera/image_raw')


def test_only_what_is_asked_for_is_started():
    assert [n.name for n in read_nodes(RELOCALIZATION, map='m')] == ['relocalizer']
    names = [n.name for n in read_nodes(RELOCALIZATION, **EVERYTHING)]
    assert names == ['relocalizer', 'bag_player', 'rviz']


def test_the_views_show_topics_of_the_relocalizer():
    topics = {
        '/' + topic.name.replace('~', RELOCALIZER.name).lstrip('/')
        for topic in (*RELOCALIZER.published, *RELOCALIZER.subscribed)
    }
    rviz = yaml.safe_load((REPOSITORY / 'config' / 'relocalization.rviz').read_text())
    displays = rviz['Visualization Manager']['Displays'] + rviz['Visualization Manager']['Tools']
    shown = {d['Topic']['Value'] for d in displays if 'Topic' in d}
    assert shown == {'/pose', '/relocalizer/overlay', '/initialpose'} <= topics
    layout = json.loads((REPOSITORY / 'config' / 'relocalization.foxglove.json').read_text())
    panels = layout['configById']
    assert set(panels['3D!map']['topics']) <= topics
    assert panels['3D!map']['publish']['poseEstimateTopic'] in topics
    assert panels['Image!overlay']['imageMode']['imageTopic'] in topics
    assert {path['value'].split('.')[0] for path in panels['Plot!score']['paths']} <= topics
    text = json.dumps(layout['layout'])
    assert all(f'"{panel}"' in text for panel in panels)


def test_the_launch_file_starts_the_nodes(graph, tmp_path):
    """Without autostart the relocalizer needs no map, and the bag plays to the end."""
    bag = write_bag(tmp_path / 'bag')
    processes = launch_xml.start(
        RELOCALIZATION,
        map='1234',
        autostart='false',
        namespace='robot',
        image='/camera/image_raw',
        play='true',
        bag=str(bag),
    )
    relocalizer, player = processes
    node = graph.add(rclpy.create_node('watcher'))
    client = node.create_client(GetState, '/robot/relocalizer/get_state')
    try:
        state = graph.call(client, GetState.Request(), timeout_s=60.0).current_state.label
        output, _ = player.communicate(timeout=60)
    finally:
        relocalizer.send_signal(signal.SIGINT)
        time.sleep(0.1)
        relocalizer.communicate(timeout=30)
    assert state == 'unconfigured' and relocalizer.returncode == 0
    assert player.returncode == 0 and 'Played' in output
