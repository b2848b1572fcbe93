"""Processes that work for another one, and end with it."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def serve_parent() -> None:
    """Make this process leave Ctrl-C to its parent, and end when that has ended."""
    # Ctrl-C reaches every process of the terminal: the parent ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait until the parent has been killed, which no signal tells."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
