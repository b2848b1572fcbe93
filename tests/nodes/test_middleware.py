"""Raw images fit into the shared memory that our processes publish with."""

import os
import re

import pytest

from posefield.nodes import middleware

LARGEST_IMAGE = 1920 * 1080 * 3


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for variable in (*middleware.TRANSPORT_VARIABLES, 'ROS_DISTRO'):
        # Set first, so that what the code under test sets is taken back.
        monkeypatch.setenv(variable, '')
        monkeypatch.delenv(variable)


def chosen():
    return {v: os.environ[v] for v in middleware.TRANSPORT_VARIABLES if v in os.environ}


@pytest.mark.parametrize(
    ('distribution', 'variable'),
    [
        ('kilted', 'FASTDDS_DEFAULT_PROFILES_FILE'),
        ('jazzy', 'FASTRTPS_DEFAULT_PROFILES_FILE'),
        ('humble', 'FASTRTPS_DEFAULT_PROFILES_FILE'),
    ],
)
def test_the_profile_is_chosen(monkeypatch, distribution, variable):
    monkeypatch.setenv('ROS_DISTRO', distribution)
    middleware.prepare_for_images()
    assert chosen() == {variable: str(middleware.FASTDDS_PROFILE)}


@pytest.mark.parametrize('variable', middleware.TRANSPORT_VARIABLES)
def test_what_the_user_has_chosen_is_kept(monkeypatch, variable):
    monkeypatch.setenv(variable, 'mine')
    middleware.prepare_for_images()
    assert chosen() == {variable: 'mine'}


def test_a_few_large_images_fit():
    text = middleware.FASTDDS_PROFILE.read_text(encoding='utf-8')
    (size,) = re.findall(r'<segment_size>(\d+)</segment_size>', text)
    assert int(size) >= 5 * LARGEST_IMAGE
