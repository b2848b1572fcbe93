"""Where tensors live."""

from collections.abc import Iterator
import contextlib
import os

import torch

from posefield.errors import LearningError
from posefield.worker_processes import cores


def select_device(name: str = 'auto') -> torch.device:
    """Return the device that a user named.

    Args:
        name: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`.  Of several
            processes that torchrun started, each gets the GPU of its own number.

    Raises:
        LearningError: when the name is unknown or that GPU is not there.
    """
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cpu':
        return torch.device('cpu')
    kind, _, index = name.partition(':')
    if kind != 'cuda' or not (index.isdecimal() or name == 'cuda'):
        raise LearningError(f'Unknown device {name!r}, expected auto, cpu, cuda or cuda:N.')
    if not torch.cuda.is_available():
        built = 'found no GPU' if torch.version.cuda else 'was built without CUDA'
        raise LearningError(f'Device {name!r} was asked for but torch {built}; use cpu or auto.')
    count = torch.cuda.device_count()
    if index and int(index) >= count:
        raise LearningError(
            f'Device {name!r} was asked for but there are {count} GPUs, cuda:0 to '
            f'cuda:{count - 1}.'
        )
    if not index and 'LOCAL_RANK' in os.environ:
        return torch.device('cuda', int(os.environ['LOCAL_RANK']) % count)
    return torch.device(name)


def processes_for(device: torch.device) -> int:
    """Return how many processes work at once best: one per core, 1 on a GPU."""
    return cores() if device.type == 'cpu' else 1


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread in this block, for the whole process.

    Many small operations one after the other take longer when threads share each of them.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
