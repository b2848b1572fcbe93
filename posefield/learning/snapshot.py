"""All that a stage in training is, as named tensors and JSON, and back."""

from collections.abc import Mapping

import torch

from posefield.errors import LearningError
from posefield.learning import distributed
from posefield.learning.checkpoints import Checkpoint
from posefield.learning.randomness import global_states, load_global_states
from posefield.learning.stage import Stage


def take_snapshot(
    stage: Stage, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> Checkpoint:
    """Return modules, optimiser and randomness; all processes must call it together."""
    device = stage_device(stage)
    tensors = {
        f'module.{name}.{key}': tensor
        for name, module in stage.modules().items()
        for key, tensor in module.state_dict().items()
    }
    numbers: dict[str, dict] = {}
    for index, state in optimizer.state_dict()['state'].items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f'optimizer.{index}.{key}'] = value
            else:
                numbers.setdefault(str(index), {})[key] = value
    for name, state in _random_states(generator, device).items():
        for rank, tensor in enumerate(distributed.gather(state, device)):
            tensors[f'random.{rank}.{name}'] = tensor
    state = {
        'stage_state': stage.extra_state(),
        'optimizer': numbers,
        'processes': distributed.world_size(),
    }
    return Checkpoint(tensors, state)


def load_modules(stage: Stage, checkpoint: Checkpoint) -> None:
    """Give a stage the weights of a snapshot.

    Raises:
        LearningError: when it is a snapshot of something else.
    """
    stage.load_extra_state(checkpoint.state['stage_state'])
    for name, module in stage.modules().items():
        try:
            module.load_state_dict(_below(checkpoint.tensors, f'module.{name}.'))
        except RuntimeError as error:
            reason = ' '.join(str(error).split())
            raise LearningError(
                f'The checkpoint of stage {stage.name} does not fit its module {name}: {reason}'
            ) from error


def load_training(
    stage: Stage,
    checkpoint: Checkpoint,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Give the optimiser and all randomness the state of a snapshot.

    Raises:
        LearningError: when it comes from another number of processes or another optimiser.
    """
    processes = checkpoint.state['processes']
    if processes != distributed.world_size():
        raise LearningError(
            f'The checkpoint of stage {stage.name} is of {processes} processes, expected '
            f'{distributed.world_size()}; resume with the same number.'
        )
    load_optimizer(stage, checkpoint, optimizer)
    device = stage_device(stage)
    states = _below(checkpoint.tensors, f'random.{distributed.rank()}.')
    expected = _random_states(generator, device)
    if {n: s.shape for n, s in states.items()} != {n: s.shape for n, s in expected.items()}:
        raise LearningError(
            f'The checkpoint of stage {stage.name} was made on another kind of device than '
            f'{device}; resume on the same kind.'
        )
    generator.set_state(states.pop('generator'))
    load_global_states(states, device)


def load_optimizer(stage: Stage, checkpoint: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
    """Give the optimiser its state of a snapshot; see `load_training`."""
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    state: dict[int, dict] = {}
    for name, tensor in _below(checkpoint.tensors, 'optimizer.').items():
        index, _, key = name.partition('.')
        if int(index) >= len(parameters) or (
            tensor.dim() and tensor.shape != parameters[int(index)].shape
        ):
            raise LearningError(
                f'The checkpoint of stage {stage.name} does not fit its optimiser: found '
                f'{key} of shape {tuple(tensor.shape)} for parameter {index}.'
            )
        state.setdefault(int(index), {})[key] = tensor
    for index, numbers in checkpoint.state['optimizer'].items():
        state.setdefault(int(index), {}).update(numbers)
    groups = optimizer.state_dict()['param_groups']
    optimizer.load_state_dict({'state': state, 'param_groups': groups})


def stage_device(stage: Stage) -> torch.device:
    """Return where the stage's first parameter is."""
    for module in stage.modules().values():
        for parameter in module.parameters():
            return parameter.device
    raise LearningError(f'Stage {stage.name} has no parameters to train.')


def _random_states(generator: torch.Generator, device: torch.device) -> dict[str, torch.Tensor]:
    return {'generator': generator.get_state(), **global_states(device)}


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n[len(prefix) :]: tensor for n, tensor in tensors.items() if n.startswith(prefix)}
