"""What every absolute pose regressor is: images in, camera poses in the field frame out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
import contextlib
from dataclasses import asdict, dataclass
from typing import ClassVar, TypeVar

import roma
import torch
from torch import nn

ConfigT = TypeVar('ConfigT', bound='RegressorConfig')


@dataclass(frozen=True)
class RegressorConfig:
    """Base of the configurations of regressors: plain values and tuples of them."""

    def to_dict(self) -> dict:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls: type[ConfigT], values: dict) -> ConfigT:
        """Return the configuration that `to_dict` described, also after a trip through JSON."""
        return cls(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})


@dataclass(frozen=True)
class Regression:
    """What a regressor says about one image.

    Attributes:
        T_field_cam: (4, 4) float64, rigid.
        scene: the scene that a network for several scenes takes the image for; None from a
            network for one.
        expected_scene: the scene of the map that asks; None when any will do.
        scene_probability: of `scene`.
    """

    T_field_cam: torch.Tensor
    scene: str | None = None
    expected_scene: str | None = None
    scene_probability: float = 1.0

    @property
    def in_expected_scene(self) -> bool:
        """Whether the pose is in the frame that the caller expects."""
        return self.expected_scene is None or self.scene == self.expected_scene


class PoseRegressor(nn.Module, ABC):
    """Maps small RGB images to camera poses in the field frame (OpenCV axes).

    The raw output need not be orthonormal; losses of training are on it (nefes.md 1.1).

    Attributes:
        kind: its name in REGRESSORS and in a map.
        config_type: class of its configuration.
        short_side: of the images that it was designed for, in pixels.
    """

    kind: ClassVar[str]
    config_type: ClassVar[type[RegressorConfig]]
    short_side: ClassVar[int]

    def __init__(self, config: RegressorConfig):
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Return raw [R | t] (B, 3, 4), camera to field, of RGB images in [0, 1]."""

    def load_pretrained(self) -> None:
        """Take over published weights where the configuration asks for them; none by default."""

    def poses(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Return rigid T_field_cam (B, 4, 4), differentiable; see `rigid_poses`."""
        return rigid_poses(self(images_B3HW))

    @torch.no_grad()
    def regress(self, image_HW3: torch.Tensor) -> Regression:
        """Return what the network says about one image, with frozen statistics and no dropout."""
        with evaluating(self):
            raw_B34 = self(image_HW3.permute(2, 0, 1)[None])
        return Regression(rigid_poses(raw_B34.double().cpu())[0])

    def pose(self, image_HW3: torch.Tensor) -> torch.Tensor:
        """Return T_field_cam (4, 4) float64, on the CPU, of one float RGB image in [0, 1]."""
        return self.regress(image_HW3).T_field_cam

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights as a map stores them, on the CPU.

        Learned weights are float16; statistics, which span more magnitudes, stay as they are.
        """
        learned = {name for name, _ in self.named_parameters()}
        return {
            name: tensor.detach().cpu().to(torch.float16 if name in learned else tensor.dtype)
            for name, tensor in self.state_dict().items()
        }


def rigid_poses(raw_B34: torch.Tensor) -> torch.Tensor:
    """Return T (B, 4, 4) whose rotations are the ones nearest to the left 3x3 blocks.

    The orthogonal Procrustes solution with determinant +1.  Its gradient is the analytic one,
    whose denominators are sums of singular values: near 2 where the block is nearly orthonormal,
    which is just where the gradient of an SVD breaks down.  Computed in double precision, out
    of reach of reduced-precision matrix products.
    """
    R = roma.special_procrustes(raw_B34[:, :, :3].double()).to(raw_B34.dtype)
    top = torch.cat([R, raw_B34[:, :, 3:]], dim=2)
    bottom = raw_B34.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(raw_B34), 1, 4)
    return torch.cat([top, bottom], dim=1)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode in this block, and back after."""
    training = module.training
    if training:
        module.eval()
    try:
        yield
    finally:
        if training:
            module.train()
