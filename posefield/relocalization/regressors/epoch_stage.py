"""What PoseNet and DFNet share in training: epochs, a falling rate, the best weights kept."""

from abc import abstractmethod
from collections.abc import Mapping
import copy
from dataclasses import dataclass
import math

import numpy as np
import torch
import torch.nn.functional as F

from posefield.errors import LearningError
from posefield.learning import distributed
from posefield.learning.schedules import Schedule
from posefield.learning.stage import Stage
from posefield.relocalization.regressors.plateau import Plateau
from posefield.relocalization.regressors.regressor import PoseRegressor, evaluating
from posefield.relocalization.view_synthesis import ReferenceViews


@dataclass(frozen=True)
class EpochStageConfig:
    """Rates of the published recipe.

    Attributes:
        batch: photos a step.
        learning_rate: Adam's.
        factor, patience: the rate is multiplied by `factor` when the loss of the validation
            views (of the training where there are none) has not fallen for `patience` epochs.
        schedule: takes the place of factor and patience; good for budgets of few epochs.
    """

    batch: int = 4
    learning_rate: float = 1e-4
    factor: float = 0.95
    patience: int = 50
    schedule: Schedule | None = None


class PosedImages:
    """Views on a device.

    Attributes:
        images_N3HW: uint8.
        poses_N34: [R | t], camera to field, float32.
    """

    def __init__(self, views: ReferenceViews, device: torch.device):
        images = torch.from_numpy(np.ascontiguousarray(views.images_NHW3))
        self.images_N3HW = images.permute(0, 3, 1, 2).contiguous().to(device)
        poses = torch.from_numpy(np.asarray(views.T_field_cam_N44))[:, :3]
        self.poses_N34 = poses.to(device, torch.float32)

    def __len__(self) -> int:
        return len(self.images_N3HW)

    def images(self, rows_B: torch.Tensor) -> torch.Tensor:
        """Return images (B, 3, H, W) in [0, 1]."""
        return self.images_N3HW[rows_B].to(torch.float32) / 255.0


class EpochStage(Stage):
    """Trains a regressor on photos, epoch by epoch.

    With validation views, the weights that were best on them are those of `network` in the end;
    that and the budget take the place of the published early stop.  The published recipe
    validates on the test photos; give photos held out of training instead.

    Attributes:
        network: what is trained.
    """

    name = 'regressor'
    intervals = 1

    def __init__(
        self,
        network: PoseRegressor,
        photos: ReferenceViews,
        validation: ReferenceViews | None,
        config: EpochStageConfig,
        device: torch.device,
    ):
        if not len(photos.images_NHW3):
            raise LearningError(f'The stage {self.name} has no photos to learn from.')
        self.config = config
        self.learning_rate = config.learning_rate
        self.network = network.to(device).train().requires_grad_(True)
        self.photos = PosedImages(photos, device)
        self.device = device
        self._validation: PosedImages | None = None
        self._best: PoseRegressor | None = None
        if validation is not None and len(validation.images_NHW3):
            self._validation = PosedImages(validation, device)
            self._best = copy.deepcopy(network).requires_grad_(False)
        self._best_loss = math.inf
        self._plateau = Plateau(config.factor, config.patience)
        self.schedule = config.schedule or self._plateau
        self._loss_sum: torch.Tensor | float = 0.0

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which all processes together see as many photos as there are."""
        together = self.config.batch * distributed.world_size()
        return max(1, round(len(self.photos) / together))

    def modules(self) -> Mapping[str, torch.nn.Module]:
        """Return the network, and the best one so far where there are validation views."""
        if self._best is None:
            return {'network': self.network}
        return {'network': self.network, 'best': self._best}

    def step(self, step: int, generator: torch.Generator) -> dict[str, torch.Tensor | float]:
        """Compute the losses of a batch; see `losses`."""
        if step and step % self.steps_per_epoch == 0:
            self._end_epoch()
        count = min(self.config.batch, len(self.photos))
        rows_B = torch.randperm(len(self.photos), generator=generator, device=generator.device)
        metrics = self.losses(step, rows_B[:count].to(self.device), generator)
        self._loss_sum = self._loss_sum + metrics['loss'].detach()
        return metrics

    @abstractmethod
    def losses(
        self, step: int, rows_B: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor | float]:
        """Return the `loss` of photos, which are all different, and other metrics.

        Args:
            step: counts from 0.
            rows_B: which photos.
            generator: of everything random.
        """

    def on_interval(self, fraction: float) -> bool:
        """At the end, go back to the best weights."""
        if self._best is not None:
            self._judge()
            self.network.load_state_dict(self._best.state_dict())
        return False

    def extra_state(self) -> dict:
        """Return rate, lowest loss, and the sum over the epoch that is not at its end."""
        best = self._best_loss if math.isfinite(self._best_loss) else None
        return {
            'plateau': self._plateau.state(),
            'best_loss': best,
            'loss_sum': float(self._loss_sum),
        }

    def load_extra_state(self, state: dict) -> None:
        """Take back `extra_state`."""
        self._plateau.load_state(state['plateau'])
        self._best_loss = math.inf if state['best_loss'] is None else state['best_loss']
        self._loss_sum = state['loss_sum']

    def _end_epoch(self) -> None:
        if self._validation is None:
            loss = distributed.mean({'loss': float(self._loss_sum)}, self.device)['loss']
            self._plateau.observe(loss / self.steps_per_epoch)
        else:
            self._plateau.observe(self._judge())
        self._loss_sum = 0.0

    def _judge(self) -> float:
        """Return the loss on the validation views, and keep the weights if they are the best."""
        loss = self._validation_loss()
        if loss < self._best_loss:
            self._best_loss = loss
            self._best.load_state_dict(self.network.state_dict())
        return loss

    @torch.no_grad()
    def _validation_loss(self) -> float:
        views, total = self._validation, 0.0
        with evaluating(self.network):
            for rows in torch.arange(len(views), device=self.device).split(16):
                found_B34 = self.network(views.images(rows))
                total += float(F.mse_loss(found_B34, views.poses_N34[rows])) * len(rows)
        return distributed.mean({'loss': total / len(views)}, self.device)['loss']


def pose_loss(found_B34: torch.Tensor, poses_B34: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of all twelve entries (nefes.md 1.1)."""
    return F.mse_loss(found_B34, poses_B34)


def centre_distance(found_B34: torch.Tensor, poses_B34: torch.Tensor) -> torch.Tensor:
    """Return the mean distance of the camera centres in field units, without gradient."""
    return (found_B34 - poses_B34).detach()[:, :, 3].norm(dim=1).mean()
