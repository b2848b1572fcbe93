"""Where training saves what it needs to go on."""

from collections.abc import Mapping
from dataclasses import dataclass
import json
from pathlib import Path
import shutil

import torch

import posefield
from posefield import storage
from posefield.errors import BundleError, LearningError

SCHEMA = 1
KIND = 'checkpoint'
STATE_FILE = 'state.json'
TENSOR_FILE = 'tensors.safetensors'


@dataclass(frozen=True)
class Checkpoint:
    """What one stage saved: named tensors, and the rest as JSON holds it."""

    tensors: dict[str, torch.Tensor]
    state: dict


class CheckpointStore:
    """A folder with the latest checkpoint of every stage.

    Args:
        folder: made when the first checkpoint is saved.
        settings: what must be the same for a run to be resumed (preset, seed, scene), as JSON
            holds it.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, object] | None = None):
        self.folder = Path(folder)
        self._settings = json.loads(json.dumps(dict(settings or {})))

    @classmethod
    def beside(
        cls, out: str | Path, settings: Mapping[str, object] | None = None
    ) -> 'CheckpointStore':
        """Return the store of what will be saved as `out`: the folder `<out>.training`."""
        out = Path(out).resolve()
        return cls(out.with_name(f'{out.name}.training'), settings)

    def stages(self) -> list[str]:
        """Return the names of the stages that have a checkpoint, finished or not."""
        if not self.folder.is_dir():
            return []
        # A crash in the middle of a save may have left a stage's folder set aside.
        for left in self.folder.glob('.*.old'):
            storage.recover_folder(self.folder / left.name[1:-4])
        return sorted(path.parent.name for path in self.folder.glob(f'[!.]*/{STATE_FILE}'))

    def save(self, stage: str, tensors: Mapping[str, torch.Tensor], state: Mapping) -> None:
        """Replace the stage's checkpoint.

        Raises:
            BundleError: when it cannot be written; the one before is then kept.
        """
        index = {
            'schema': SCHEMA,
            'kind': KIND,
            'posefield_version': posefield.__version__,
            'stage': stage,
            'settings': self._settings,
            'state': dict(state),
        }
        with storage.atomic_folder(self.folder / stage) as folder:
            storage.save_tensors(folder / TENSOR_FILE, dict(tensors))
            storage.write_json(folder / STATE_FILE, index)

    def load(self, stage: str) -> Checkpoint | None:
        """Return the stage's checkpoint, or None where it has none.

        Raises:
            BundleError: when it is damaged or of a newer schema.
            LearningError: when it was made with other settings.
        """
        if stage not in self.stages():
            return None
        folder = self.folder / stage
        index = storage.read_json(folder / STATE_FILE, schema=SCHEMA, kind=KIND)
        found = index.get('settings')
        if not isinstance(found, dict) or not isinstance(index.get('state'), dict):
            raise BundleError(f'{folder / STATE_FILE} lacks the objects settings and state.')
        for name in sorted(found.keys() | self._settings.keys()):
            if found.get(name) != self._settings.get(name):
                raise LearningError(
                    f'{folder} was made with {name} = {found.get(name)!r}, but this run has '
                    f'{self._settings.get(name)!r}; resume with the same or start afresh.'
                )
        return Checkpoint(storage.load_tensors(folder / TENSOR_FILE), index['state'])

    def clear(self) -> None:
        """Remove all checkpoints, and the folder when nothing else is in it."""
        for stage in self.stages():
            shutil.rmtree(self.folder / stage)
        for left in self.folder.glob('.*.new-*'):  # What a crash in a save left.
            shutil.rmtree(left)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
