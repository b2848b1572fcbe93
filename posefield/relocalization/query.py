"""A query image, undistorted once and brought to each working size on demand."""

import torch

from posefield.relocalization.photos import SizedImage
from posefield.relocalization.refiners.alignment import TargetMap


class Query:
    """One query and everything derived from its image, computed once.

    Args:
        image: undistorted, with its pinhole camera.
        extractor: dense features.
        device: of the feature maps.
    """

    def __init__(self, image: SizedImage, extractor, device: torch.device | str):
        self.image = image
        self._extractor = extractor
        self._device = device
        self._sized: dict[int, SizedImage] = {}
        self._features: dict[int, torch.Tensor] = {}
        self._targets: dict[tuple[int, float], TargetMap] = {}

    def sized(self, short_side: int) -> SizedImage:
        """Return the image with this short side (or as it is, where it is smaller)."""
        if short_side not in self._sized:
            self._sized[short_side] = self.image.with_short_side(short_side)
        return self._sized[short_side]

    def tensor(self, short_side: int) -> torch.Tensor:
        """Return the sized image as (1, 3, H, W)."""
        image = torch.from_numpy(self.sized(short_side).image_HW3)
        return image.to(self._device).permute(2, 0, 1)[None]

    def target(self, short_side: int, sigma_px: float) -> TargetMap:
        """Return the feature map of a size blurred by `sigma_px`, with gradients."""
        key = (short_side, sigma_px)
        if key not in self._targets:
            if short_side not in self._features:
                self._features[short_side] = self._extractor(self.tensor(short_side))
            features = self._features[short_side]
            whole = torch.ones_like(features[:, :1])
            self._targets[key] = TargetMap.build(
                features, whole, self.sized(short_side).camera, sigma_px
            )
        return self._targets[key]
