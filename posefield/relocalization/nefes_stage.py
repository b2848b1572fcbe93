"""One stage of training a feature synthesizer (nefes.md section 4)."""

from collections.abc import Mapping

import torch

from posefield.errors import LearningError
from posefield.fields.feature_synthesizer import FeatureSynthesizer
from posefield.fields.radiance import RayRender
from posefield.learning import distributed
from posefield.learning.stage import Stage
from posefield.relocalization.nefes_batches import RayBatch, RayBatches
from posefield.relocalization.nefes_config import NefesStageConfig
from posefield.relocalization.nefes_data import NefesViews
from posefield.relocalization.nefes_losses import colour_loss, shape_loss
from posefield.relocalization.pose_correction import PoseCorrection


class NefesStage(Stage):
    """Trains a synthesizer around any kind of field on random pixels or patches.

    Several processes share the rays of one batch, so that together they do what one would; only
    the normalisation in the fusion network sees each process's patches by themselves.
    """

    def __init__(
        self,
        config: NefesStageConfig,
        views: NefesViews,
        synthesizer: FeatureSynthesizer,
        seed: int,
        *,
        poses: PoseCorrection | None = None,
        before: 'NefesStage | None' = None,
    ):
        """Prepare training; the synthesizer is changed in place.

        Args:
            config: of the stage.
            views: the training photos.
            synthesizer: on the device of the views.
            seed: of the batches, the same in every process.
            poses: training poses to learn too; without it they stay as they are.
            before: the stage that was trained last; its optimiser goes on where
                `config.continues`.

        Raises:
            LearningError: when the stage learns what the synthesizer does not have.
        """
        _check_heads(config, views, synthesizer)
        self.name = config.name
        self.schedule = config.schedule
        self.config = config
        self.synthesizer = synthesizer
        self.poses = poses
        self.optimizer: torch.optim.Optimizer | None = None
        self._views = views
        self._before = before
        self._batches = RayBatches(
            views, config.batch, seed, distributed.rank(), distributed.world_size()
        )

    def modules(self) -> Mapping[str, torch.nn.Module]:
        """Return the synthesizer, and the corrections of the poses where they are learned."""
        modules: dict[str, torch.nn.Module] = {'synthesizer': self.synthesizer}
        if self.poses is not None:
            modules['poses'] = self.poses
        return modules

    def parameter_groups(self) -> list[dict]:
        """Return networks, planes and poses with their own rates."""
        config = self.config
        networks, planes = [], []
        for name, parameter in self.synthesizer.named_parameters():
            (planes if name.endswith('planes') else networks).append(parameter)
        groups: list[dict] = [{'params': networks, 'lr': config.learning_rate}]
        if planes:
            # A tiny epsilon for cells that are rarely touched.
            groups.append({'params': planes, 'lr': config.plane_rate, 'eps': 1e-15})
        if self.poses is not None:
            corrections = list(self.poses.parameters())
            groups.append(
                {
                    'params': corrections,
                    'lr': config.pose_rate,
                    'schedule': config.pose_schedule,
                }
            )
        return groups

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        """Return Adam, with the moments of the stage before where this one continues it."""
        self.optimizer = torch.optim.Adam(groups)
        if self.config.continues and self._before is not None:
            for parameter, state in self._before.optimizer.state.items():
                copied = {key: value.clone() for key, value in state.items()}
                self.optimizer.state[parameter] = copied
        return self.optimizer

    def step(self, step: int, generator: torch.Generator) -> dict[str, torch.Tensor | float]:
        """Render the rays of a batch, in pieces if they are many, and compare."""
        self.synthesizer.train()
        drawn = self._draw(step)
        pieces = drawn.pieces(self.config.max_rays)
        if len(pieces) == 1:
            return self._compare(drawn, generator)
        totals: dict[str, float] = {}
        for piece in pieces:
            metrics = self._compare(piece, generator)
            metrics['loss'].backward()
            metrics['psnr'] = metrics['psnr'] * len(piece.photos_R) / len(drawn.photos_R)
            for name, value in metrics.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach())
        return totals

    def _compare(
        self, drawn: RayBatch, generator: torch.Generator | None
    ) -> dict[str, torch.Tensor]:
        """Return the loss of rays, as their part of the loss of the batch, and what it is of."""
        config, views = self.config, self._views
        batch = drawn.to(views.device)
        transform = views.transform
        render = self.synthesizer.render_rays(
            *views.rays(batch.photos_R, batch.pixels_R, self._poses(batch.photos_R)),
            transform.near,
            transform.far,
            views.histograms_N10[batch.photos_R],
            generator,
        )
        colours_R3 = views.colours(batch.photos_R, batch.pixels_R)
        loss_R = colour_loss(render, colours_R3, config.transient_weight)
        metrics: dict[str, torch.Tensor] = {}
        if config.feature_weight > 0 or config.fusion_weight > 0:
            labels_RC = views.features(drawn.photos_R, drawn.pixels_R)
        if config.feature_weight > 0:
            feature_R = (render.features - labels_RC).abs().mean(dim=1)
            loss_R = loss_R + config.feature_weight * feature_R
            metrics['feature'] = (batch.weights_R * feature_R).sum()
        if config.fusion_weight > 0:
            fusion_R = (self._fused(render) - labels_RC).abs().mean(dim=1)
            loss_R = loss_R + config.fusion_weight * fusion_R
            metrics['fusion'] = (batch.weights_R * fusion_R).sum()
        loss = (batch.weights_R * loss_R).sum()
        if render.extras is None:
            shape = shape_loss(render, config.distortion_weight, config.opacity_weight)
            loss = loss + batch.share * shape
        return {'loss': loss, 'psnr': _psnr(render, colours_R3, batch), **metrics}

    def _draw(self, step: int) -> RayBatch:
        config = self.config
        if config.patches:
            return self._batches.patches(step, config.patches, config.patch_size)
        return self._batches.pixels(step, config.rays)

    def _poses(self, photos_R: torch.Tensor) -> torch.Tensor:
        """Return T_field_cam (R, 4, 4) of the rays' photos."""
        if self.poses is None:
            return self._views.T_field_cam_N44[photos_R]
        photos_B, inverse_R = photos_R.unique(return_inverse=True)
        return self.poses(photos_B)[inverse_R]

    def _fused(self, render: RayRender) -> torch.Tensor:
        """Return the fused features (R, C) of rays in patches."""
        size = self.config.patch_size

        def maps(values_RC: torch.Tensor) -> torch.Tensor:
            return values_RC.reshape(-1, size, size, values_RC.shape[1]).permute(0, 3, 1, 2)

        fused = self.synthesizer.fusion(maps(render.colours), maps(render.features))
        return fused.permute(0, 2, 3, 1).reshape(len(render.colours), -1)


def _psnr(render: RayRender, colours_R3: torch.Tensor, batch: RayBatch) -> torch.Tensor:
    """Return the PSNR in dB of this process's static pixels."""
    square_R = ((render.colours.detach() - colours_R3) ** 2).mean(dim=1)
    static_R = batch.weights_R > 0
    mean = (square_R * static_R).sum() / static_R.sum().clamp(min=1)
    return -10.0 * mean.clamp(min=1e-10).log10()


def _check_heads(
    config: NefesStageConfig, views: NefesViews, synthesizer: FeatureSynthesizer
) -> None:
    if config.fusion_weight > 0 and synthesizer.fusion is None:
        raise LearningError(
            f'Stage {config.name} learns the fusion, but there is no such network.'
        )
    channels = synthesizer.field.config.features
    learns = config.feature_weight > 0 or config.fusion_weight > 0
    if learns and channels != views.labels.channels:
        raise LearningError(
            f'Stage {config.name} learns features of {views.labels.channels} channels, but the '
            f'field has {channels}.'
        )
