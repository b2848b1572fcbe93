"""One recording of the capture node, from its start to its end."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
import time

from tf2_msgs.msg import TFMessage

from posefield.errors import DataError
from posefield.nodes.rig_input import RigSet
from posefield.nodes.rig_recorder import Moment, RigRecorder
from posefield.nodes.worker import Answer, Worker

# Messages of TF that wait for the next set; with no set at all the oldest go.
TF_BACKLOG = 10_000


class CaptureSession:
    """Hands sets over to the thread that writes them.

    `add` and `add_transform` belong to the executor's thread, what is written to the worker's.
    """

    def __init__(
        self, recorder: RigRecorder, worker: Worker, path: Path, on_failure: Callable[[str], None]
    ):
        """Take over a recorder that has begun.

        Args:
            recorder: writes.
            worker: its thread; items are functions to call.
            path: of the first bag.
            on_failure: told, in the worker's thread, in a sentence why the recording ended.
        """
        self.recorder = recorder
        self.path = path
        self.failure: str | None = None
        self.bags: list[Path] = []
        self.begun_s = time.monotonic()
        self._worker = worker
        self._on_failure = on_failure
        self._dropped_before = worker.dropped
        self._transforms: deque[tuple[str, int, TFMessage]] = deque(maxlen=TF_BACKLOG)

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self.begun_s

    @property
    def dropped(self) -> int:
        """Sets that could not be written in time."""
        return self._worker.dropped - self._dropped_before

    def add(self, rig_set: RigSet, time_ns: int) -> None:
        """Queue a set."""
        moment = Moment(rig_set, time_ns, tuple(self._transforms))
        self._transforms.clear()
        self._worker.submit(lambda: self._write(moment))

    def add_transform(self, topic: str, time_ns: int, message: TFMessage) -> None:
        """Keep TF for the next set."""
        self._transforms.append((topic, time_ns, message))

    def end(self, on_done: Callable[[], None] | None = None) -> Answer:
        """Close the bag when all that waits is written; the answer is the list of bags.

        Args:
            on_done: called when the answer is there, from the worker's thread.
        """
        answer = Answer(on_done)
        self._worker.submit(lambda: answer.settle(self._close))
        return answer

    def _write(self, moment: Moment) -> None:
        if self.failure is not None:
            return
        try:
            self.recorder.write(moment)
        except DataError as error:
            self.failure = str(error)
            try:
                self._close()
            except DataError as second:
                self.failure = f'{error} {second}'
            self._on_failure(self.failure)

    def _close(self) -> list[Path]:
        self.bags = self.recorder.close()
        return self.bags
