"""A feature synthesizer at one exposure, to be rendered like any other field."""

import torch

from posefield.fields.feature_synthesizer import FeatureSynthesizer
from posefield.fields.radiance import RadianceField, RayRender


class ExposedField:
    """Renders colours as the camera of one image would record them.

    For everything that looks at a map without a query: keyframe depth, synthesised views,
    reports.
    """

    def __init__(self, synthesizer: FeatureSynthesizer, histogram_10: torch.Tensor):
        """Bind the exposure.

        Args:
            synthesizer: with `act`.
            histogram_10: luminance histogram in percent, on its device.
        """
        self._synthesizer = synthesizer
        self._histogram_10 = histogram_10

    def parameters(self):
        """Return the synthesizer's parameters."""
        return self._synthesizer.parameters()

    def render_rays(
        self,
        origins_R3: torch.Tensor,
        directions_R3: torch.Tensor,
        near: float,
        far: float,
        generator: torch.Generator | None = None,
        *,
        transient: bool = True,
    ) -> RayRender:
        """Render rays of the field frame; see `rendering.render_rays`."""
        return self._synthesizer.render_rays(
            origins_R3,
            directions_R3,
            near,
            far,
            self._histogram_10,
            generator,
            transient=transient,
        )


def field_of(synthesizer: FeatureSynthesizer, histogram_10: torch.Tensor) -> RadianceField:
    """Return the synthesizer as a field: at an exposure where it knows any, else as it is."""
    if synthesizer.act is None:
        return synthesizer.field
    return ExposedField(synthesizer, histogram_10)
