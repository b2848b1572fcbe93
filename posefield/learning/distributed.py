"""What several training processes (torchrun) agree on; nothing at all where there is one.

Every process draws its own batches, so give each its own seed (`process_generator`).  All must
call these functions in the same order.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import os

import torch
import torch.distributed


def is_active() -> bool:
    """Whether torch.distributed is initialised."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def rank() -> int:
    """Return the number of this process, from 0."""
    return torch.distributed.get_rank() if is_active() else 0


def world_size() -> int:
    """Return the number of processes."""
    return torch.distributed.get_world_size() if is_active() else 1


@contextlib.contextmanager
def process_group(device: torch.device | str) -> Iterator[None]:
    """Join the processes that torchrun started, for the block; alone, do nothing.

    Args:
        device: of this process; on a CUDA device NCCL is spoken, else gloo.
    """
    if int(os.environ.get('WORLD_SIZE', '1')) == 1 or is_active():
        yield
        return
    device = torch.device(device)
    if device.type != 'cuda':
        torch.distributed.init_process_group('gloo')
    elif device.index is None:
        torch.distributed.init_process_group('nccl')
    else:
        # Else a barrier has to guess the GPU, and waits for ever where it guesses wrong.
        torch.distributed.init_process_group('nccl', device_id=device)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def wait_for_all() -> None:
    """Wait until every process is here."""
    if is_active():
        torch.distributed.barrier()


def process_generator(seed: int, device: torch.device | str = 'cpu') -> torch.Generator:
    """Return a generator that is another in every process; the first one's seed is `seed`."""
    return torch.Generator(device).manual_seed(seed + 1_000_003 * rank())


def average_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes, in one message.

    A parameter that has a gradient in some processes only counts as zero in the others; one
    that has none anywhere keeps none, so that the optimiser leaves it alone as in one process.
    """
    if not is_active() or not parameters:
        return
    present = torch.tensor([float(p.grad is not None) for p in parameters])
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    message = torch.cat(
        [g.reshape(-1).float() for g in gradients] + [present.to(gradients[0].device)]
    )
    torch.distributed.all_reduce(message)
    present = message[-len(parameters) :].tolist()
    start = 0
    for parameter, somewhere in zip(parameters, present, strict=True):
        mean = message[start : start + parameter.numel()] / world_size()
        start += parameter.numel()
        parameter.grad = mean.view_as(parameter).to(parameter.dtype) if somewhere else None


def share_initial_state(modules: Iterable[torch.nn.Module]) -> None:
    """Give every process the parameters and buffers of the first."""
    if not is_active():
        return
    for module in modules:
        for tensor in module.state_dict().values():
            torch.distributed.broadcast(tensor, src=0)


def largest(values: Sequence[float], device: torch.device) -> list[float]:
    """Return the largest of each value over the processes."""
    if not is_active():
        return list(values)
    message = torch.tensor(values, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(message, op=torch.distributed.ReduceOp.MAX)
    return message.tolist()


def mean(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Return the mean of each value over the processes, all of which name the same ones."""
    if not is_active():
        return dict(values)
    names = sorted(values)
    message = torch.tensor([values[n] for n in names], dtype=torch.float64, device=device)
    torch.distributed.all_reduce(message)
    return dict(zip(names, (message / world_size()).tolist(), strict=True))


def mean_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return the mean of a tensor over the processes, where it is."""
    if not is_active():
        return tensor
    total = tensor.clone()
    torch.distributed.all_reduce(total)
    return total / world_size()


def gather(tensor: torch.Tensor, device: torch.device) -> list[torch.Tensor]:
    """Return the tensors of all processes, on the CPU; all have the same shape."""
    if not is_active():
        return [tensor.cpu()]
    own = tensor.to(device)
    gathered = [torch.empty_like(own) for _ in range(world_size())]
    torch.distributed.all_gather(gathered, own)
    return [other.cpu() for other in gathered]
