"""Training DFNet: poses, the triplet loss of features, and random view synthesis (1.5)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from posefield.errors import LearningError
from posefield.learning import distributed
from posefield.relocalization.regressors.dfnet import DFNet
from posefield.relocalization.regressors.epoch_stage import (
    EpochStage,
    EpochStageConfig,
    centre_distance,
    pose_loss,
)
from posefield.relocalization.regressors.random_views import (
    RandomViewConfig,
    random_view_poses,
)
from posefield.relocalization.regressors.triplet import hardest_triplet_loss
from posefield.relocalization.view_synthesis import ReferenceViews

# From T_field_cam (4, 4) and the photo (H, W, 3) uint8 whose exposure the render shall have, an
# RGB image (h, w, 3) in [0, 1] of any size, or None for a view that shows nothing.
RenderView = Callable[[np.ndarray, np.ndarray], torch.Tensor | None]


@dataclass(frozen=True)
class DFNetStageConfig(EpochStageConfig):
    """Rates of the published recipe; see EpochStageConfig.

    Attributes:
        margin: of the triplet loss.
        pose_weight, triplet_weight, view_weight: of the three losses.
        view_epochs: epochs after which random views are drawn anew.
        views: where they are.
    """

    margin: float = 1.0
    pose_weight: float = 1.0
    triplet_weight: float = 1.0
    view_weight: float = 1.0
    view_epochs: int = 20
    views: RandomViewConfig = RandomViewConfig()


class DFNetStage(EpochStage):
    """Learns from photos, the renders of their poses, and renders of poses near them.

    A view is rendered when it is first needed, with the exposure of its photo, and kept as it
    is until the next draw.

    Args:
        network: what to train.
        photos: at least 2, at the size that the network shall see.
        validation: photos held out of training, or None.
        render: what the field shows; renders are enlarged (bicubic) to the photos' size.
        scene_scale: typical viewing distance in field units.
        config: rates.
        device: where to train.
        seed: of the random views.
    """

    def __init__(
        self,
        network: DFNet,
        photos: ReferenceViews,
        validation: ReferenceViews | None,
        render: RenderView,
        scene_scale: float,
        config: DFNetStageConfig,
        device: torch.device,
        seed: int,
    ):
        super().__init__(network, photos, validation, config, device)
        if min(len(self.photos), config.batch) < 2:
            raise LearningError(
                'DFNet compares each photo of a batch with another: expected at least 2 photos '
                f'and a batch of at least 2, found {len(self.photos)} and {config.batch}.'
            )
        self._views = photos
        self._render = render
        self._scene_scale = scene_scale
        self._seed = seed
        self._at_photos: dict[int, torch.Tensor] = {}
        self._period = -1
        self._random_T_N44 = np.zeros((0, 4, 4))
        self._at_random: dict[int, torch.Tensor | None] = {}

    def losses(
        self, step: int, rows_B: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor | float]:
        """Return the sum of the three losses, and each of them."""
        config, rows = self.config, rows_B.tolist()
        photos_B3HW, poses_B34 = self.photos.images(rows_B), self.photos.poses_N34[rows_B]
        renders_B3HW = torch.stack([self._render_of_photo(row) for row in rows])
        real, synthetic = self.network.siamese(photos_B3HW, renders_B3HW)
        pose = pose_loss(
            torch.cat([real.poses_B34, synthetic.poses_B34]), torch.cat([poses_B34, poses_B34])
        )
        triplet = hardest_triplet_loss(
            synthetic.features_LBCHW, real.features_LBCHW, config.margin
        )
        views = self._random_view_loss(step, rows)
        loss = (
            config.pose_weight * pose
            + config.triplet_weight * triplet
            + config.view_weight * views
        )
        return {
            'loss': loss,
            'pose': pose,
            'triplet': triplet,
            'views': views,
            'translation': centre_distance(real.poses_B34, poses_B34),
        }

    def _random_view_loss(self, step: int, rows: list[int]) -> torch.Tensor:
        self._draw_views(step)
        views = [(row, self._random_view(row)) for row in rows]
        shown = [(row, image) for row, image in views if image is not None]
        if not shown:
            return self.photos.poses_N34.new_zeros(())
        poses = np.stack([self._random_T_N44[row, :3] for row, _ in shown])
        return pose_loss(
            self.network(torch.stack([image for _, image in shown])),
            torch.from_numpy(poses).to(self.device, torch.float32),
        )

    def _draw_views(self, step: int) -> None:
        """Draw random views where it is time; a resumed run draws the same ones again."""
        period = step // (self.steps_per_epoch * self.config.view_epochs)
        if period == self._period:
            return
        self._period = period
        self._at_random = {}
        self._random_T_N44 = random_view_poses(
            self._views.T_field_cam_N44,
            self._scene_scale,
            self.config.views,
            np.random.default_rng([self._seed, distributed.rank(), period]),
        )

    def _render_of_photo(self, row: int) -> torch.Tensor:
        """Return the render (3, H, W) of a photo's pose; where it shows nothing, the photo."""
        if row not in self._at_photos:
            image = self._rendered(row, self._views.T_field_cam_N44[row])
            if image is None:
                image = self.photos.images_N3HW[row].cpu()
            self._at_photos[row] = image
        return self._as_input(self._at_photos[row])

    def _random_view(self, row: int) -> torch.Tensor | None:
        """Return the random view (3, H, W) of a photo; None where it shows nothing."""
        if row not in self._at_random:
            self._at_random[row] = self._rendered(row, self._random_T_N44[row])
        image = self._at_random[row]
        return None if image is None else self._as_input(image)

    def _rendered(self, row: int, T_field_cam: np.ndarray) -> torch.Tensor | None:
        """Return a render (3, H, W) at the photos' size, uint8 on the CPU."""
        image_hw3 = self._render(T_field_cam, self._views.images_NHW3[row])
        if image_hw3 is None:
            return None
        size = self.photos.images_N3HW.shape[-2:]
        image_3HW = image_hw3.detach().to(torch.float32).permute(2, 0, 1)
        if image_3HW.shape[-2:] != size:
            image_3HW = F.interpolate(
                image_3HW[None], size=size, mode='bicubic', align_corners=False
            )[0]
        return (image_3HW.clamp(0.0, 1.0) * 255.0).round().to('cpu', torch.uint8)

    def _as_input(self, image_3HW: torch.Tensor) -> torch.Tensor:
        return image_3HW.to(self.device, torch.float32) / 255.0
