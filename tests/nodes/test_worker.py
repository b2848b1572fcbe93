"""The worker thread behind a queue that drops the oldest."""

import threading
import time

import pytest

from posefield.nodes.worker import Worker, WorkerStopped


class Bench:
    """A worker whose work can be held up."""

    def __init__(self, queue_size=1):
        self.done, self.errors = [], []
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.worker = Worker(self.work, queue_size, self.errors.append, 'bench')

    def work(self, item):
        self.entered.set()
        assert self.gate.wait(5.0)
        if isinstance(item, Exception):
            raise item
        self.done.append(item)

    def hold_with(self, item):
        self.worker.submit(item)
        assert self.entered.wait(5.0)

    def finish(self, count):
        self.gate.set()
        end = time.monotonic() + 5.0
        while len(self.done) + len(self.errors) < count and time.monotonic() < end:
            time.sleep(0.005)


@pytest.fixture
def bench():
    bench = Bench(queue_size=2)
    yield bench
    bench.gate.set()
    assert bench.worker.stop(5.0)


def test_the_oldest_waiting_item_is_dropped(bench):
    bench.hold_with(0)
    for item in (1, 2, 3, 4):
        bench.worker.submit(item)
    bench.finish(3)
    assert bench.done == [0, 3, 4] and bench.worker.dropped == 2


def test_submit_does_not_wait(bench):
    bench.hold_with(0)
    start = time.monotonic()
    for item in range(100):
        bench.worker.submit(item)
    assert time.monotonic() - start < 1.0


def test_an_error_is_told_and_the_thread_goes_on(bench):
    bench.gate.set()
    bench.worker.submit(ValueError('bad'))
    bench.finish(1)
    bench.worker.submit(5)
    bench.finish(2)
    assert [str(e) for e in bench.errors] == ['bad'] and bench.done == [5]


def test_jobs_go_first_and_return_or_raise(bench):
    bench.hold_with(0)
    bench.worker.submit(1)
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(bench.worker.ask(lambda: list(bench.done)).result())
    )
    waiting.start()
    time.sleep(0.05)
    bench.finish(2)
    waiting.join(5.0)
    assert answers == [[0]]

    def fail():
        raise KeyError('no')

    with pytest.raises(KeyError):
        bench.worker.ask(fail).result()


def test_posted_jobs_run_in_order_and_their_errors_are_told(bench):
    seen = []
    bench.hold_with(0)
    bench.worker.post(lambda: seen.append('first'))
    bench.worker.post(lambda: 1 / 0)
    bench.gate.set()
    bench.worker.ask(lambda: seen.append('last')).result()
    assert seen == ['first', 'last']
    assert [type(e) for e in bench.errors] == [ZeroDivisionError]


def test_clear_forgets_what_waits(bench):
    bench.hold_with(0)
    bench.worker.submit(1)
    bench.worker.clear()
    bench.finish(1)
    bench.worker.ask(lambda: None).result()
    assert bench.done == [0]


def test_stop_drops_what_waits_and_refuses_more():
    bench = Bench()
    bench.hold_with(0)
    bench.worker.submit(1)
    failures = []

    def ask():
        try:
            bench.worker.ask(lambda: None).result()
        except WorkerStopped as error:
            failures.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    time.sleep(0.05)
    assert not bench.worker.stop(0.05)
    bench.gate.set()
    assert bench.worker.stop(5.0)
    waiting.join(5.0)
    assert bench.done == [0] and len(failures) == 1
    bench.worker.submit(2)
    with pytest.raises(WorkerStopped):
        bench.worker.ask(lambda: None).result()
    assert bench.done == [0]
