"""First values of networks from a generator that is passed in."""

from collections.abc import Iterator
import contextlib

import torch


@contextlib.contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Seed torch's global generator for a block from `generator`, and restore it afterwards.

    The layers of torch.nn draw their first values from the global generator only.
    """
    with torch.random.fork_rng(devices=[]):
        seed = torch.randint(2**31, (1,), generator=generator, device=generator.device)
        torch.manual_seed(int(seed))
        yield
