"""Keyframe alignment: the last rounds align the query with real photos, without any render."""

from dataclasses import dataclass

import numpy as np
import torch

from posefield.features.blur import Blur
from posefield.relocalization.keyframes import KeyframeSet
from posefield.relocalization.query import Query
from posefield.relocalization.refiners.alignment import (
    AlignmentConfig,
    PoseInformation,
    SourcePoints,
    align,
)
from posefield.relocalization.refiners.field_alignment import Round
from posefield.relocalization.refiners.refined import Refined


@dataclass(frozen=True)
class KeyframeAlignmentConfig:
    """Rounds and least squares of keyframe alignment.

    Attributes:
        rounds: sizes and blurs, coarse to fine.
        neighbours: keyframes that the query is aligned with.
        points: from each keyframe.
        kernel_scale: squared feature distance at which the robust kernel begins to give up.
        least_squares: settings of each run.
    """

    rounds: tuple[Round, ...] = (Round(0.5, 2.0), Round(1.0, 1.5), Round(1.0, 0.7))
    neighbours: int = 3
    points: int = 3000
    kernel_scale: float = 0.5
    least_squares: AlignmentConfig = AlignmentConfig(steps=12, border_px=2.0)


class KeyframeAligner:
    """Aligns queries with the nearest keyframes of a map."""

    def __init__(
        self,
        keyframes: KeyframeSet,
        config: KeyframeAlignmentConfig,
        short_side: int,
        device: torch.device | str,
    ):
        """Keep the parts.

        Args:
            keyframes: of the map.
            config: rounds.
            short_side: working size in pixels.
            device: where it computes.
        """
        self.config = config
        self._short_side = short_side
        self._keyframes = keyframes
        self._device = device

    def align(
        self,
        query: Query,
        T_field_cam: np.ndarray,
        prior_information_66: np.ndarray | None = None,
        excluded: frozenset[int] = frozenset(),
    ) -> Refined:
        """Return the pose aligned with the keyframes nearest to a start.

        Args:
            query: the image.
            T_field_cam: (4, 4) start, good to about a degree.
            prior_information_66: what is already known of the start: inverse covariance of its
                camera-frame twist, relative to this refiner's own `information_66`.
            excluded: keyframes not to use, for validation.
        """
        config = self.config
        chosen = self._keyframes.nearest(T_field_cam, config.neighbours, excluded)
        blur = self._keyframes.blur_of(query.image, T_field_cam, excluded)
        start = torch.linalg.inv(torch.tensor(T_field_cam, dtype=torch.float64))
        start = start.to(self._device)
        T = start
        iterations = 0
        result = None
        for this in config.rounds:
            source = self._source(chosen, this, blur)
            prior = _scaled_prior(start, prior_information_66, result)
            result = align(
                query.target(self._query_pixels(query, chosen[0], this), this.sigma_px),
                source,
                T,
                config.least_squares,
                config.kernel_scale,
                prior,
            )
            T, iterations = result.T_cam_field, iterations + result.steps
        information = result.information_66 / max(result.residual_variance, 1e-6)
        return Refined(
            T_field_cam=torch.linalg.inv(T).cpu().numpy(),
            information_66=information.cpu().numpy(),
            cost=result.cost,
            inlier_share=result.inlier_share,
            overlap=result.overlap,
            renders=0,
            iterations=iterations,
        )

    def _pixels(self, this: Round) -> int:
        return round(this.size * self._short_side)

    def _query_pixels(self, query: Query, index: int, this: Round) -> int:
        """Return the query's short side at which it shows things as large as a keyframe does."""
        keyframe = self._keyframes.keyframes[index].camera.with_short_side(self._pixels(this))
        camera = query.image.camera
        return max(2, round(min(camera.width, camera.height) * keyframe.fx / camera.fx))

    def _source(self, chosen: list[int], this: Round, blur: Blur) -> SourcePoints:
        parts = [
            self._keyframes.points(
                index,
                self._pixels(this),
                this.sigma_px,
                blur,
                self.config.points,
            )
            for index in chosen
        ]
        return SourcePoints(
            torch.cat([part.points_N3 for part in parts]),
            torch.cat([part.features_NC for part in parts]),
            torch.cat([part.weights_N for part in parts]),
        )


def _scaled_prior(start, prior_information_66, result) -> PoseInformation | None:
    """Return the prior in units of the residual, once a first round has told its variance."""
    if prior_information_66 is None or result is None:
        return None
    information = torch.as_tensor(prior_information_66, dtype=torch.float64, device=start.device)
    return PoseInformation(start, information * result.residual_variance)
