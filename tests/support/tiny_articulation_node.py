"""The articulation node as a process of its own, in which `tiny` is a preset."""

import sys

from posefield.nodes.articulation import main
from support.puppet import FakeTracker
from support.tiny_articulation import tiny_preset

if __name__ == '__main__':
    with tiny_preset():
        sys.exit(main(make_tracker=FakeTracker))
