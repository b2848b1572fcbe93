"""The relocalizer node as a process of its own, with a fake localizer in it."""

import sys

from posefield.nodes.relocalizer import main
from support.fake_localizer import FakeLocalizer
from support.robot import load_fake

if __name__ == '__main__':
    sys.exit(main(loader=load_fake(FakeLocalizer())))
