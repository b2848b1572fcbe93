"""Field alignment: at most five renders, and least squares between them.

Render at the pose, lift the rendered pixels by their depth, and align their features with the
query's; render again because the points were seen from the wrong place.
"""

from dataclasses import dataclass

import numpy as np
import torch

from posefield.features.blur import NO_BLUR, Blur
from posefield.fields.radiance import RadianceField
from posefield.fields.rendering import ViewRender, render_view
from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.camera import Camera
from posefield.geometry.poses import invert, rotation_angle_deg
from posefield.relocalization.keyframes import depth_trust, lift_pixels
from posefield.relocalization.query import Query
from posefield.relocalization.refiners.alignment import (
    AlignmentConfig,
    AlignmentResult,
    SourcePoints,
    align,
    masked_blur,
)
from posefield.relocalization.refiners.refined import Refined


@dataclass(frozen=True)
class Round:
    """One alignment: image size and blur.

    Attributes:
        size: short side, relative to the working size of the rung.
        sigma_px: blur of the features, in pixels of that image.
    """

    size: float
    sigma_px: float


@dataclass(frozen=True)
class FieldAlignmentConfig:
    """Rounds and least squares of field alignment.

    Attributes:
        coarse: first rounds, which every hypothesis gets.
        wide: what goes before them for hypotheses that may be far off.
        fine: rounds for the best hypotheses.
        kernel_scale: squared feature distance at which the robust kernel begins to give up.
        stop_px: no further round of the same size when one moved the median point less.
        check: size and blur at which poses are compared and scored.
        least_squares: settings of each run.
    """

    coarse: tuple[Round, ...] = (Round(0.5, 2.5), Round(0.5, 1.5))
    wide: tuple[Round, ...] = (Round(0.5, 3.5),)
    fine: tuple[Round, ...] = (Round(1.0, 1.5), Round(1.0, 0.7))
    kernel_scale: float = 0.5
    stop_px: float = 0.05
    check: Round = Round(1.0, 1.5)
    least_squares: AlignmentConfig = AlignmentConfig(steps=10)


@dataclass(frozen=True)
class PoseCheck:
    """How well a render at a pose explains the query.

    Attributes:
        cost: mean robust residual; 0 is perfect.
        inlier_share: share of points that fit.
        overlap: share of points that fall into the image.
        information_66: inverse covariance of the camera-frame twist, as in `Refined`.
        median_depth: field units.
        render: what was rendered.
    """

    cost: float
    inlier_share: float
    overlap: float
    information_66: np.ndarray
    median_depth: float
    render: ViewRender


class FieldAligner:
    """Aligns queries with renders of a field."""

    def __init__(
        self,
        field: RadianceField,
        transform: SceneTransform,
        extractor,
        config: FieldAlignmentConfig,
        short_side: int,
        device: torch.device | str,
    ):
        """Keep the parts.

        Args:
            field, transform, extractor: of the map.
            config: rounds.
            short_side: working size in pixels.
            device: where it computes.
        """
        self.config = config
        self._short_side = short_side
        self._field = field
        self._transform = transform
        self._extractor = extractor
        self._device = device

    def render(self, camera: Camera, T_field_cam: np.ndarray) -> ViewRender:
        """Return the field's view of a pinhole camera."""
        pose = torch.tensor(T_field_cam, dtype=torch.float32, device=self._device)
        return render_view(self._field, camera, pose, self._transform.near, self._transform.far)

    def align(
        self,
        query: Query,
        T_field_cam: np.ndarray,
        rounds: tuple[Round, ...],
        blur: Blur = NO_BLUR,
    ) -> Refined:
        """Return the pose after these rounds of render and least squares.

        Args:
            query: the image.
            T_field_cam: (4, 4) start.
            rounds: sizes and smoothing.
            blur: of the query, which the renders are given too.
        """
        T = np.asarray(T_field_cam, dtype=np.float64)
        renders = iterations = 0
        settled_size = None
        for index, this in enumerate(rounds):
            last = index == len(rounds) - 1
            if settled_size == this.size and not last:
                continue
            camera = self._camera(query, this)
            render = self.render(camera, T)
            result = self._least_squares(query, T, this, render, self.config.least_squares, blur)
            renders, iterations = renders + 1, iterations + result.steps
            start, T = T, _inverse(result.T_cam_field)
            depth = float(render.depths_HW.median())
            if _moved_px(camera, depth, start, T) < self.config.stop_px:
                settled_size = this.size
        return Refined(
            T_field_cam=T,
            information_66=_information(result),
            cost=result.cost,
            inlier_share=result.inlier_share,
            overlap=result.overlap,
            renders=renders,
            iterations=iterations,
        )

    def _pixels(self, this: Round) -> int:
        return round(this.size * self._short_side)

    def _camera(self, query: Query, this: Round) -> Camera:
        return query.sized(self._pixels(this)).camera

    def _least_squares(
        self,
        query: Query,
        T: np.ndarray,
        this: Round,
        render: ViewRender,
        settings: AlignmentConfig,
        blur: Blur,
    ) -> AlignmentResult:
        source = self._source(self._camera(query, this), T, render, this.sigma_px, blur)
        return align(
            query.target(self._pixels(this), this.sigma_px),
            source,
            torch.linalg.inv(torch.tensor(T, dtype=torch.float64, device=self._device)),
            settings,
            self.config.kernel_scale,
        )

    def _source(
        self, camera: Camera, T: np.ndarray, render: ViewRender, sigma_px: float, blur: Blur
    ) -> SourcePoints:
        colours = render.colours_HW3
        if blur != NO_BLUR:
            blurred = blur.applied(colours.cpu().numpy(), camera.fx)
            colours = torch.from_numpy(blurred).to(self._device)
        features = self._extractor(colours.permute(2, 0, 1)[None])
        filled = (render.opacities_HW > 0.5).to(torch.float32)[None, None]
        features = masked_blur(features, filled, sigma_px)
        weights = depth_trust(render.depths_HW, render.depth_sigmas_HW, render.opacities_HW)
        pose = torch.tensor(T, dtype=torch.float32, device=self._device)
        points = lift_pixels(camera, pose, render.depths_HW)
        flat = features[0].reshape(features.shape[1], -1).T.contiguous()
        return SourcePoints(points, flat, weights.reshape(-1))

    def check(self, query: Query, T_field_cam: np.ndarray, blur: Blur = NO_BLUR) -> PoseCheck:
        """Render once at a pose, blurred as the query is, and compare without moving it."""
        this = self.config.check
        render = self.render(self._camera(query, this), T_field_cam)
        still = AlignmentConfig(steps=0)
        result = self._least_squares(query, T_field_cam, this, render, still, blur)
        return PoseCheck(
            cost=result.cost,
            inlier_share=result.inlier_share,
            overlap=result.overlap,
            information_66=_information(result),
            median_depth=float(render.depths_HW.median()),
            render=render,
        )


def _moved_px(camera: Camera, depth: float, T_before: np.ndarray, T_after: np.ndarray) -> float:
    """Return how far a point at this depth on the optical axis moved in the image, at most."""
    relative = invert(T_after) @ T_before
    angle = np.deg2rad(rotation_angle_deg(relative[:3, :3]))
    return camera.fx * (angle + float(np.linalg.norm(relative[:3, 3])) / max(depth, 1e-6))


def _inverse(T_cam_field: torch.Tensor) -> np.ndarray:
    return torch.linalg.inv(T_cam_field).cpu().numpy()


def _information(result: AlignmentResult) -> np.ndarray:
    information = result.information_66 / max(result.residual_variance, 1e-6)
    return information.cpu().numpy()
