"""Makes multi-view folders of finished recordings, in a thread of its own."""

from collections.abc import Sequence
from pathlib import Path
import shutil
import threading
import traceback
from typing import Any

from posefield.data.multiview_bag import BagImport, import_multiview_bag
from posefield.data.recording import Selection
from posefield.errors import Interrupted, PosefieldError
from posefield.nodes.capture_parameters import CaptureParameters
from posefield.nodes.worker import Worker


class CaptureImport:
    """Imports bags one after another, as `posefield articulation import` does."""

    def __init__(self, parameters: CaptureParameters, logger: Any):
        """Start the thread.

        Args:
            parameters: of the node.
            logger: of the node.
        """
        self._parameters = parameters
        self._logger = logger
        self._lock = threading.Lock()
        self._waiting = 0
        self._stopping = False
        self.text = ''
        self.failure: str | None = None
        self._worker = Worker(self._import, 1000, self._on_error, 'import')

    @staticmethod
    def folder_of(bag: Path) -> Path:
        """Return the multi-view folder of a bag."""
        return bag.with_name(f'{bag.name}_multiview')

    @property
    def is_busy(self) -> bool:
        """Whether something is not imported yet."""
        return self._waiting > 0

    def begin(self, bags: Sequence[Path]) -> None:
        """Import these bags."""
        self.failure = None
        for bag in bags:
            with self._lock:
                self._waiting += 1
            self._worker.submit(bag)

    def stop(self, timeout_s: float) -> bool:
        """End the thread; what is being imported is left for the command line."""
        self._stopping = True
        return self._worker.stop(timeout_s)

    def _import(self, bag: Path) -> None:
        out = self.folder_of(bag)
        try:
            made = import_multiview_bag(
                bag,
                out,
                Selection(size=self._parameters.multiview_size),
                BagImport(
                    world_frame=self._parameters.world_frame,
                    max_skew_s=self._parameters.sync_tolerance,
                    rectified=self._parameters.image_is_rectified,
                ),
                lambda done, total: self._on_image(out, done, total),
            )
        except Interrupted:
            self._logger.warning(f'{bag} was not imported to its end.')
            return
        except PosefieldError as error:
            self._fail(f'{bag} could not be imported: {error}')
            return
        finally:
            self.text = ''
            with self._lock:
                self._waiting -= 1
        if not self._parameters.bag:
            shutil.rmtree(bag, ignore_errors=True)
        self._logger.info(
            f'Imported {made.num_frames} moments of {len(made.cameras)} cameras to {out}.'
        )

    def _on_image(self, out: Path, done: int, total: int) -> None:
        if self._stopping:
            raise Interrupted(f'The import to {out} was stopped.')
        self.text = f'{out}: {done} of {total} images'

    def _fail(self, text: str) -> None:
        self.failure = text
        self._logger.error(text)

    def _on_error(self, error: Exception) -> None:
        self._fail(f'The import failed.\n{"".join(traceback.format_exception(error))}')
