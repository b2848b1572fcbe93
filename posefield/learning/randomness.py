"""Determinism for code that takes no generator, such as dropout and initial weights."""

from collections.abc import Iterator
import contextlib

import torch


@contextlib.contextmanager
def global_randomness(
    generator: torch.Generator, device: torch.device | str = 'cpu'
) -> Iterator[None]:
    """Seed torch's global randomness from a generator in this block, and restore it after.

    Args:
        generator: one number is drawn from it.
        device: the CUDA device whose global generator is meant too.
    """
    device = torch.device(device)
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
        torch.manual_seed(int(seed))
        yield


def global_states(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of torch's global generators that code on this device draws from."""
    states = {'cpu': torch.get_rng_state()}
    if device.type == 'cuda':
        states['cuda'] = torch.cuda.get_rng_state(device)
    return states


def load_global_states(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put back what `global_states` returned."""
    torch.set_rng_state(states['cpu'])
    if device.type == 'cuda':
        torch.cuda.set_rng_state(states['cuda'], device)
