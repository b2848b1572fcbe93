"""Restarts Python once so that the linker finds the messages built into this environment.

`setup_environment.py` copies this file into the environment where ROS 2 is a sourced installation
(the wheels bring the like) and has it imported whenever Python starts. The linker reads
LD_LIBRARY_PATH only when a process starts, hence the restart.
"""

import os
import sys

library_folder = os.path.join(sys.prefix, 'lib')
searched = [folder for folder in os.environ.get('LD_LIBRARY_PATH', '').split(':') if folder]
if library_folder not in searched:
    os.environ['LD_LIBRARY_PATH'] = ':'.join([library_folder, *searched])
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
