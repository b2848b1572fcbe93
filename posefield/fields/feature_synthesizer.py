"""FeatureSynthesizer: a field with exposure and fusion, which predicts an image's features.

This is the NeFeS network (sections 2 and 3) around any kind of field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from posefield.errors import BundleError
from posefield.fields.act import ExposureTransform
from posefield.fields.fusion import FusionConfig, FusionNet
from posefield.fields.kinds import build_field
from posefield.fields.radiance import RayRender
from posefield.fields.rendering import render_view, render_view_grad
from posefield.geometry.camera import Camera


@dataclass(frozen=True)
class SynthesizedView:
    """What a camera would see, and what a feature extractor would find in it.

    Attributes:
        colours_3HW: RGB with the exposure of the given histogram.
        features_CHW: as the field has them; None for a field without a feature head.
        fused_CHW: after the fusion network; None without one.
        depths_HW, depth_sigmas_HW: median depth and its spread, field units.
        opacities_HW: sum of the weights.
    """

    colours_3HW: torch.Tensor
    features_CHW: torch.Tensor | None
    fused_CHW: torch.Tensor | None
    depths_HW: torch.Tensor
    depth_sigmas_HW: torch.Tensor
    opacities_HW: torch.Tensor


class FeatureSynthesizer(nn.Module):
    """A field, and where there are such: exposure (`act`) and fusion."""

    def __init__(
        self,
        field: nn.Module,
        act: ExposureTransform | None = None,
        fusion: FusionNet | None = None,
    ):
        """Keep the parts.

        Raises:
            BundleError: when the fusion network takes other features than the field has.
        """
        super().__init__()
        if fusion is not None and fusion.config.channels != field.config.features:
            raise BundleError(
                f'The fusion network takes {fusion.config.channels} feature channels, but the '
                f'field has {field.config.features}.'
            )
        self.field, self.act, self.fusion = field, act, fusion

    def to_config(self) -> dict:
        """Return what `from_config` takes, as JSON can hold it."""
        return {
            'kind': self.field.kind,
            'field': self.field.config.to_dict(),
            'act': self.act is not None,
            'fusion': None if self.fusion is None else self.fusion.config.to_dict(),
        }

    @classmethod
    def from_config(
        cls,
        config: Mapping,
        generator: torch.Generator,
        tensors: Mapping[str, torch.Tensor] | None = None,
    ) -> 'FeatureSynthesizer':
        """Return a synthesizer.

        Args:
            config: of `to_config`.
            generator: of the first values.
            tensors: of `tensors`, which replace them.

        Raises:
            BundleError: for an unknown kind of field, or parts that do not fit together.
            RuntimeError: when names or shapes of the tensors differ, as torch says it.
        """
        field = build_field(config['kind'], config['field'], generator)
        act = ExposureTransform(not field.raw_colours, generator) if config['act'] else None
        fusion = None
        if config['fusion'] is not None:
            fusion = FusionNet(FusionConfig.from_dict(config['fusion']), generator)
        synthesizer = cls(field, act, fusion)
        if tensors is not None:
            synthesizer.load_state_dict(tensors)
        return synthesizer

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return everything that was learned, by name."""
        return self.state_dict()

    def render_rays(
        self,
        origins_R3: torch.Tensor,
        directions_R3: torch.Tensor,
        near: float,
        far: float,
        histogram: torch.Tensor | None,
        generator: torch.Generator | None = None,
        *,
        transient: bool = True,
    ) -> RayRender:
        """Render rays of the field frame; colours are with exposure.

        Args:
            origins_R3, directions_R3, near, far, generator, transient: see
                `rendering.render_rays`.
            histogram: (10,) or per ray (R, 10), see `act.luminance_histogram`; not used
                without `act`.
        """
        render = self.field.render_rays(
            origins_R3, directions_R3, near, far, generator, transient=transient
        )
        return replace(render, colours=self.exposed(render.colours, histogram))

    def exposed(self, colours_R3: torch.Tensor, histogram: torch.Tensor | None) -> torch.Tensor:
        """Return colours (R, 3) with the exposure of a histogram, unchanged without `act`."""
        return colours_R3 if self.act is None else self.act(colours_R3, histogram)

    def render_view(
        self,
        camera: Camera,
        T_field_cam: torch.Tensor,
        near: float,
        far: float,
        histogram_10: torch.Tensor | None,
        *,
        grad: bool = False,
        chunk_rays: int = 8192,
        transient: bool = True,
    ) -> SynthesizedView:
        """Render a whole pinhole view.

        Args:
            camera, T_field_cam, near, far, chunk_rays, transient: see
                `rendering.render_view_grad`.
            histogram_10: brightness of the image to compare with; not used without `act`.
            grad: whether gradients shall reach the pose (and parameters that are not frozen).
        """
        render = render_view_grad if grad else render_view
        view = render(self.field, camera, T_field_cam, near, far, chunk_rays, transient=transient)
        with torch.set_grad_enabled(grad and torch.is_grad_enabled()):
            colours = self.exposed(view.colours_HW3.reshape(-1, 3), histogram_10)
            colours_3HW = colours.T.reshape(3, camera.height, camera.width)
            fused = None
            if self.fusion is not None:
                fused = self.fusion(colours_3HW[None], view.features_CHW[None])[0]
        return SynthesizedView(
            colours_3HW,
            view.features_CHW,
            fused,
            view.depths_HW,
            view.depth_sigmas_HW,
            view.opacities_HW,
        )
