"""Fixtures that take seconds to make and are made once.

What they import is imported in them, because most tests need none of it.
"""

from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def tiny_scene(tmp_path_factory):
    """Twelve pictures of a textured room to learn from, and three to localize."""
    from support.tiny_map import write_room

    return write_room(tmp_path_factory.mktemp('room'))


@pytest.fixture(scope='session')
def tiny_map(tiny_scene, tmp_path_factory) -> Path:
    """The folder of a map of that room; copy it to change it."""
    from posefield.relocalization.mapping import build_map
    from support.tiny_map import STEPS, tiny_preset

    folder = tmp_path_factory.mktemp('maps') / 'map'
    with tiny_preset() as preset:
        build_map(tiny_scene, preset, folder, device='cpu', steps=STEPS)
    return folder


@pytest.fixture(scope='session')
def tiny_localizer(tiny_map):
    """A localizer of that map, with every rung."""
    from posefield.relocalization.localizer import Localizer

    return Localizer.load(tiny_map, device='cpu')
