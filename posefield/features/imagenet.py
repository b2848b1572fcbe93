"""Networks that were trained on ImageNet: what they expect and where their weights come from."""

from collections.abc import Callable, Mapping
from http.client import HTTPException
import pickle
import warnings

import torch

from posefield.errors import LearningError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WEIGHTS = ('imagenet', 'random')


def imagenet_normalised(images_B3HW: torch.Tensor) -> torch.Tensor:
    """Return RGB images in [0, 1] with the mean and deviation that such networks expect."""
    mean = images_B3HW.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = images_B3HW.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return (images_B3HW - mean) / std


def check_weights(weights: str) -> None:
    """Refuse a name of first weights that is not known.

    Raises:
        LearningError: for another name than those in WEIGHTS.
    """
    if weights not in WEIGHTS:
        raise LearningError(f'Unknown weights {weights!r}, expected one of {", ".join(WEIGHTS)}.')


def start_from_imagenet(
    network: str, url: str, take: Callable[[Mapping[str, torch.Tensor]], None]
) -> None:
    """Give a network its published weights, from torch's cache or from the internet.

    Where they cannot be had or do not fit, a warning says so and the network keeps the random
    ones that it has.  The file is never unpickled freely: only tensors are read from it.

    Args:
        network: its name, for the warning.
        url: whose file name ends with the beginning of its SHA-256 digest, which is checked.
        take: loads the tensors into the network.
    """
    try:
        tensors = torch.hub.load_state_dict_from_url(
            url, map_location='cpu', progress=False, check_hash=True, weights_only=True
        )
        if not isinstance(tensors, Mapping):
            raise RuntimeError(f'found a {type(tensors).__name__}, expected named tensors')
        take(tensors)
    except (OSError, HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = ' '.join(str(error).split())[:300]
        warnings.warn(
            f'ImageNet weights of {network} cannot be used ({reason}). It starts from random '
            f'ones: learning takes longer and poses will be less accurate. To use them without a '
            f'network connection, put {url} into {torch.hub.get_dir()}/checkpoints.',
            stacklevel=3,
        )
