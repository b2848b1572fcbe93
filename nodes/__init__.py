"""ROS 2 nodes of posefield, installed as `posefield.nodes`."""

import os

# Read once, when torch loads its threads: waiting threads that spin make every node on a robot's
# computer several times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
