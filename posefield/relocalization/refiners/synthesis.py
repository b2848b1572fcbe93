"""What gradient refiners compare: the map seen from a pose, and one query, as features."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F

from posefield.features.extractors import DenseExtractor
from posefield.features.filters import gaussian_blur
from posefield.fields.act import luminance_histogram
from posefield.fields.feature_synthesizer import FeatureSynthesizer, SynthesizedView
from posefield.fields.rendering import view_rays
from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.camera import Camera
from posefield.geometry.rays import pixel_grid
from posefield.relocalization.query import Query

# Extracted features see a few pixels, published ones many, and a gradient leads only as far as
# features see: blurred by so many pixels of the render they lead from several degrees away.
EXTRACTED_BLUR_PX = 2.5


@dataclass(frozen=True)
class Synthesized:
    """A rendered view: colours (3, h, w) and the features (C, h, w) that go with them."""

    colours_3HW: torch.Tensor
    features_CHW: torch.Tensor


class Synthesis(Protocol):
    """A map and one query, at the size at which the map is rendered."""

    camera: Camera

    def view(self, T_field_cam: torch.Tensor) -> Synthesized:
        """Return the view at a pose (4, 4), differentiable in it."""

    def colours(self, T_field_cam: torch.Tensor, rows_N: torch.Tensor | None) -> torch.Tensor:
        """Return the colours (N, 3) of pixels, differentiable in the pose.

        Args:
            T_field_cam: (4, 4).
            rows_N: pixels counted row by row; None for all.
        """

    def observed_features(self, height: int, width: int) -> torch.Tensor:
        """Return the features (C, height, width) of the query."""

    def observed_colours(self) -> torch.Tensor:
        """Return the query (3, h, w) at the size of the render."""


class _MapSynthesis:
    """What both kinds share: views and rays with the exposure of the query."""

    def __init__(
        self,
        synthesizer: FeatureSynthesizer,
        transform: SceneTransform,
        extractor: DenseExtractor,
        query: Query,
        short_side: int,
        observed_short_side: int,
    ):
        """Bind a map to a query.

        Args:
            synthesizer, transform, extractor: of the map.
            query: what is observed.
            short_side: of the render, in pixels.
            observed_short_side: of the image that the map's labels and histograms come from.
        """
        self.camera = query.sized(short_side).camera
        self._synthesizer = synthesizer
        self._transform = transform
        self._extractor = extractor
        self._observed = query.tensor(short_side)
        self._detailed = query.tensor(observed_short_side)
        self._histogram_10 = luminance_histogram(self._detailed)[0]

    def colours(self, T_field_cam: torch.Tensor, rows_N: torch.Tensor | None) -> torch.Tensor:
        """Return the colours (N, 3) of pixels, all for None, differentiable in the pose."""
        pixels = pixel_grid(self.camera.height, self.camera.width, T_field_cam.device)
        if rows_N is not None:
            pixels = pixels[rows_N]
        rays = view_rays(self.camera, T_field_cam, pixels)
        near, far = self._transform.near, self._transform.far
        return self._synthesizer.render_rays(*rays, near, far, self._histogram_10).colours

    def observed_colours(self) -> torch.Tensor:
        """Return the query (3, h, w) at the size of the render."""
        return self._observed[0]

    def _render(self, T_field_cam: torch.Tensor) -> SynthesizedView:
        near, far = self._transform.near, self._transform.far
        return self._synthesizer.render_view(
            self.camera, T_field_cam, near, far, self._histogram_10, grad=True
        )


class ExtractedSynthesis(_MapSynthesis):
    """Features of a field that has none: the extractor looks at the rendered colours.

    The query's features are extracted at the size of the render, so that both are equally soft,
    and both are blurred by EXTRACTED_BLUR_PX.
    """

    def view(self, T_field_cam: torch.Tensor) -> Synthesized:
        """Return the view at a pose (4, 4), differentiable in it."""
        colours_3HW = self._render(T_field_cam).colours_3HW
        return Synthesized(colours_3HW, self._features(colours_3HW[None]))

    def observed_features(self, height: int, width: int) -> torch.Tensor:
        """Return the features (C, height, width) of the query."""
        return resized_maps(self._features(self._observed), height, width)

    def _features(self, image_13HW: torch.Tensor) -> torch.Tensor:
        return gaussian_blur(self._extractor(image_13HW), EXTRACTED_BLUR_PX)[0]


class LearnedSynthesis(_MapSynthesis):
    """Features that the field predicts, fused with the colours where it has a fusion network.

    They were learned from features of whole photos, reduced afterwards, so the query's are made
    in the same way.
    """

    def view(self, T_field_cam: torch.Tensor) -> Synthesized:
        """Return the view at a pose (4, 4), differentiable in it."""
        view = self._render(T_field_cam)
        fused = view.features_CHW if view.fused_CHW is None else view.fused_CHW
        return Synthesized(view.colours_3HW, fused)

    def observed_features(self, height: int, width: int) -> torch.Tensor:
        """Return the features (C, height, width) of the query."""
        return resized_maps(self._extractor(self._detailed)[0], height, width)


def synthesis_of(
    synthesizer: FeatureSynthesizer,
    transform: SceneTransform,
    extractor: DenseExtractor,
    query: Query,
    short_side: int,
    observed_short_side: int,
) -> Synthesis:
    """Return a map bound to a query: with the features it has, or with extracted ones.

    Args:
        synthesizer, transform, extractor: of the map.
        query: what is observed.
        short_side: of the render, in pixels.
        observed_short_side: of the image that the map's labels and histograms come from.
    """
    has_features = synthesizer.field.config.features > 0
    kind = LearnedSynthesis if has_features else ExtractedSynthesis
    return kind(synthesizer, transform, extractor, query, short_side, observed_short_side)


def resized_maps(maps_CHW: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return maps (C, height, width): bicubic when enlarged, bilinear when reduced.

    Half-pixel centres, as everywhere.
    """
    if maps_CHW.shape[1:] == (height, width):
        return maps_CHW
    mode = 'bicubic' if height > maps_CHW.shape[1] else 'bilinear'
    return F.interpolate(maps_CHW[None], (height, width), mode=mode, align_corners=False)[0]
