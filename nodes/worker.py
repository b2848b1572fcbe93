"""A thread for heavy work, so that the executor never waits for it."""

from collections import deque
from collections.abc import Callable
from functools import partial
import threading
from typing import Any


class Worker:
    """Runs items and jobs one after another in its own thread.

    Items (images) wait in a bounded queue that drops the oldest. Jobs (requests that somebody
    waits for) are never dropped and go first.
    """

    def __init__(
        self,
        work: Callable[[Any], None],
        queue_size: int,
        on_error: Callable[[Exception], None],
        name: str,
    ):
        """Start the thread.

        Args:
            work: what to do with an item.
            queue_size: items that may wait.
            on_error: told of every exception of `work` and of posted jobs; the thread goes on.
            name: of the thread.
        """
        self._work = work
        self._on_error = on_error
        self._queue_size = queue_size
        self._items: deque[Any] = deque()
        self._jobs: deque[tuple[Callable[[], None], Answer | None]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Any) -> None:
        """Queue an item, dropping the oldest where the queue is full."""
        with self._wake:
            if self._stopping:
                return
            if len(self._items) >= self._queue_size:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._wake.notify()

    def ask(self, job: Callable[[], Any], on_done: Callable[[], None] | None = None) -> 'Answer':
        """Run a job in the thread before any waiting item.

        Args:
            job: what to do.
            on_done: called when the answer is there, from the thread that gives it.
        """
        answer = Answer(on_done)
        if not self._add_job(lambda: answer.settle(job), answer):
            answer.fail(WorkerStopped('The worker has stopped.'))
        return answer

    def post(self, job: Callable[[], None]) -> None:
        """Run a job in the thread before any waiting item, without waiting for it."""
        self._add_job(job, None)

    def _add_job(self, job: Callable[[], None], answer: 'Answer | None') -> bool:
        with self._wake:
            if self._stopping:
                return False
            self._jobs.append((job, answer))
            self._wake.notify()
            return True

    def clear(self) -> None:
        """Forget the waiting items."""
        with self._wake:
            self._items.clear()

    def stop(self, timeout_s: float) -> bool:
        """Drop what waits, let the thread end and tell whether it did within the time."""
        with self._wake:
            self._stopping = True
            self._items.clear()
            for _, answer in self._jobs:
                if answer is not None:
                    answer.fail(WorkerStopped('The worker has stopped.'))
            self._jobs.clear()
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._stopping or self._jobs or self._items):
                    self._wake.wait()
                if self._stopping:
                    return
                if self._jobs:
                    job, _ = self._jobs.popleft()
                else:
                    job = partial(self._work, self._items.popleft())
            try:
                job()
            except Exception as error:
                self._on_error(error)


class WorkerStopped(Exception):
    """A job was not run because its worker stopped."""


class Answer:
    """The result of a job, on its way to the thread that waits for it."""

    def __init__(self, on_done: Callable[[], None] | None):
        self._done = threading.Event()
        self._on_done = on_done
        self._result: Any = None
        self._error: Exception | None = None

    def settle(self, job: Callable[[], Any]) -> None:
        """Run the job and keep what it returns or raises."""
        try:
            self._result = job()
        except Exception as error:
            self._error = error
        self._finish()

    def fail(self, error: Exception) -> None:
        """Answer with an error."""
        self._error = error
        self._finish()

    def _finish(self) -> None:
        self._done.set()
        if self._on_done is not None:
            self._on_done()

    def result(self) -> Any:
        """Wait and return the job's result.

        Raises:
            WorkerStopped: when the worker stopped first.
            Exception: whatever the job raised.
        """
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result

    async def arrival(self) -> Any:
        """Return the result like `result`, letting an executor of rclpy go on meanwhile.

        The executor looks again in every round, so `on_done` has to wake it.
        """
        while not self._done.is_set():
            await _NextRound()
        return self.result()


class _NextRound:
    """Awaiting it gives the executor one round."""

    def __await__(self):
        yield
