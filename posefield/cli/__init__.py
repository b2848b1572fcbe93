"""The `posefield` command: one file per group of commands."""

import os

# Read once, when torch loads its threads: waiting threads that spin make every process on a busy
# small machine several times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
