"""The environment of the demo's nodes."""

import xml.etree.ElementTree as ElementTree

from posefield.cli.ros_processes import PROFILE_VARIABLES, private_domain


def test_nodes_get_a_domain_of_their_own_and_buffers_that_hold_an_image(tmp_path, monkeypatch):
    for name in PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    environment = private_domain(tmp_path / 'logs')
    assert 1 <= int(environment['ROS_DOMAIN_ID']) <= 100
    assert environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    (profile,) = {environment[name] for name in PROFILE_VARIABLES}
    tree = ElementTree.parse(profile)
    segment = next(item for item in tree.iter() if item.tag.endswith('segment_size'))
    assert int(segment.text) > 4 * 1920 * 1080 * 3 / 4


def test_the_users_own_profile_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv(PROFILE_VARIABLES[0], '/etc/mine.xml')
    environment = private_domain(tmp_path / 'logs')
    assert environment[PROFILE_VARIABLES[0]] == '/etc/mine.xml'
    assert not (tmp_path / 'logs').exists()
