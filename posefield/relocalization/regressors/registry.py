"""Pose regressors by name, as the command line asks for them and a map stores them."""

from collections.abc import Mapping

import torch

from posefield.errors import BundleError, LearningError
from posefield.learning.randomness import global_randomness
from posefield.relocalization.regressors.dfnet import DFNet
from posefield.relocalization.regressors.ms_transformer import MsTransformer
from posefield.relocalization.regressors.posenet import CompactPoseNet
from posefield.relocalization.regressors.posenet12 import PoseNet
from posefield.relocalization.regressors.regressor import PoseRegressor, RegressorConfig

REGRESSORS: dict[str, type[PoseRegressor]] = {
    regressor.kind: regressor for regressor in (CompactPoseNet, PoseNet, MsTransformer, DFNet)
}


def build_regressor(
    kind: str, config: RegressorConfig | None = None, generator: torch.Generator | None = None
) -> PoseRegressor:
    """Return a network that is about to be trained, with published weights where it has them.

    Args:
        kind: a name in REGRESSORS.
        config: of that kind; its defaults by default.
        generator: draws the first weights; torch's global randomness by default.

    Raises:
        LearningError: for an unknown kind, or a configuration of another kind.
    """
    if kind not in REGRESSORS:
        raise LearningError(
            f'Unknown regressor {kind!r}, expected one of {", ".join(REGRESSORS)}.'
        )
    regressor = REGRESSORS[kind]
    config = regressor.config_type() if config is None else config
    if not isinstance(config, regressor.config_type):
        raise LearningError(
            f'The regressor {kind!r} needs a {regressor.config_type.__name__}, found a '
            f'{type(config).__name__}.'
        )
    if generator is None:
        network = regressor(config)
    else:
        with global_randomness(generator):
            network = regressor(config)
    network.load_pretrained()
    return network


def load_regressor(
    kind: str, config: Mapping, tensors: Mapping[str, torch.Tensor]
) -> PoseRegressor:
    """Return the trained network of a map, on the CPU, frozen and in evaluation mode.

    Args:
        kind: a name in REGRESSORS.
        config: what `to_dict` of its configuration gave.
        tensors: what `PoseRegressor.tensors` gave, in any floating-point type.

    Raises:
        BundleError: for an unknown kind, or when configuration or tensors are of another one.
        LearningError: when the network needs torchvision and there is none.
    """
    if kind not in REGRESSORS:
        raise BundleError(
            f'The map has a regressor of kind {kind!r}, expected one of {", ".join(REGRESSORS)}.'
        )
    regressor = REGRESSORS[kind]
    try:
        network = regressor(regressor.config_type.from_dict(dict(config)))
        network.load_state_dict(dict(tensors))
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = ' '.join(str(error).split())
        raise BundleError(
            f'The map says that its regressor is of kind {kind!r}, but what it stores is not: '
            f'{reason}'
        ) from error
    return network.eval().requires_grad_(False)
