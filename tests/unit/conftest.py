"""Fixtures that take seconds to make and are made once."""

from pathlib import Path

import pytest

from posefield.data.scene import Scene
from posefield.relocalization.localizer import Localizer
from posefield.relocalization.mapping import build_map
from support.tiny_map import tiny_preset, write_room


@pytest.fixture(scope='session')
def tiny_scene(tmp_path_factory) -> Scene:
    """Twelve pictures of a textured room to learn from, and three to localize."""
    return write_room(tmp_path_factory.mktemp('room'))


@pytest.fixture(scope='session')
def tiny_map(tiny_scene, tmp_path_factory) -> Path:
    """The folder of a map of that room; copy it to change it."""
    folder = tmp_path_factory.mktemp('maps') / 'map'
    with tiny_preset() as preset:
        build_map(tiny_scene, preset, folder, device='cpu')
    return folder


@pytest.fixture(scope='session')
def tiny_localizer(tiny_map) -> Localizer:
    """A localizer of that map, with every rung."""
    return Localizer.load(tiny_map, device='cpu')
