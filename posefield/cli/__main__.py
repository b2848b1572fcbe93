"""Lets `python -m posefield.cli` stand for `posefield`."""

import sys

from posefield.cli.app import main

sys.exit(main())
