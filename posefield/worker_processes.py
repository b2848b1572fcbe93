"""Processes that work for another one, and end with it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from typing import TypeVar

from posefield.errors import LearningInterrupted, PosefieldError

_Item = TypeVar('_Item')
_Result = TypeVar('_Result')

# Read by OpenMP and by the libraries of linear algebra when they are loaded, and never again.
THREADS = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def results_in_order(
    submit: Callable[[_Item], Future[_Result]], items: Iterable[_Item], most_ahead: int
) -> Iterator[_Result]:
    """Yield what comes of items, in their order, taking no more than so many ahead of it."""
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(submit(item))
            if len(waiting) > most_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@contextlib.contextmanager
def raises_when_one_ends(
    error: type[PosefieldError], doing: str, stop: threading.Event | None
) -> Iterator[None]:
    """Turn the end of a process before its work is done into an error of ours.

    Args:
        error: what to raise in its place.
        doing: what the process does, as in `learns`.
        stop: when set, LearningInterrupted is raised: who ends a whole job ends its processes too.
    """
    try:
        yield
    except BrokenProcessPool as broken:
        if stop is not None and stop.is_set():
            raise LearningInterrupted(
                f'Learning was stopped, and with it a process that {doing}; what it did since '
                'its last checkpoint is lost.'
            ) from broken
        raise error(
            f'A process that {doing} ended before its work was done; was it killed for want of '
            'memory?'
        ) from broken


@contextlib.contextmanager
def new_processes_use_one_thread() -> Iterator[None]:
    """Let processes that start in this block compute with one thread each.

    Where every core has a process, threads of linear algebra wait for each other's cores.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, '1'))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def serve_parent() -> None:
    """Make this process leave Ctrl-C to its parent, and end when that has ended."""
    # Ctrl-C reaches every process of the terminal: the parent ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait until the parent has been killed, which no signal tells."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
