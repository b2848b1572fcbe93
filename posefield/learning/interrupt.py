"""Ctrl-C as a request: finish the step, save a checkpoint, stop."""

from collections.abc import Iterator
import contextlib
import logging
import os
import signal
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Give an event that SIGINT (Ctrl-C) or SIGTERM sets in this block.

    A second signal ends the process at once, as if nobody had listened.  Only the main thread
    can listen to signals: in another one the event is for the caller to set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask_to_stop(number: int, _frame: object) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        stop.set()
        _logger.warning('Stopping after this step; once more to quit without saving.')

    before = {number: signal.signal(number, ask_to_stop) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
