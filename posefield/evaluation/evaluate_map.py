"""Running a localizer over the frames of a scene."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import logging
import math
import time
from typing import Any, Protocol

import numpy as np

from posefield.data.scene import Frame
from posefield.errors import PosefieldError
from posefield.evaluation.degradations import degradation
from posefield.evaluation.metrics import FrameResult
from posefield.geometry.camera import Camera
from posefield.geometry.images import resize, to_float_rgb, undistort
from posefield.geometry.poses import perturbed
from posefield.learning.progress import Progress
from posefield.relocalization.localization import Localization, PosePrior

LOGGER = logging.getLogger(__name__)

# How far a camera may have moved since the frame before, as a share of the median depth and in
# degrees (one standard deviation): what `--sequence` tells the localizer about its prior.
MOTION_SHARE = 0.1
MOTION_DEG = 6.0
STAGE = 'evaluate'


class Rendered(Protocol):
    """The part of a rendering that evaluation reads."""

    image_HW3: np.ndarray
    depth_HW: np.ndarray
    opacity_HW: np.ndarray


class EvaluatedLocalizer(Protocol):
    """The part of a Localizer that evaluation calls."""

    info: Mapping[str, Any]

    def localize(
        self, image: np.ndarray, camera: Camera, prior: PosePrior | None = None
    ) -> Localization:
        """Return the pose of one image."""

    def refine(
        self, image: np.ndarray, camera: Camera, T_map_cam_start: np.ndarray
    ) -> Localization:
        """Return the pose that the refiners reach from a start pose."""

    def render(self, T_map_cam: np.ndarray, camera: Camera) -> Rendered:
        """Return what the map shows at a pose."""


@dataclass(frozen=True)
class Perturbation:
    """Start poses at exactly this distance and angle from the truth, in random directions.

    Attributes:
        translation: map units.
        rotation_deg: degrees.
        starts: start poses for each photo.
    """

    translation: float
    rotation_deg: float
    starts: int = 1


@dataclass(frozen=True)
class EvaluationSettings:
    """How to evaluate.

    Attributes:
        perturbation: refine from these start poses; None runs the whole ladder.
        degradation: name of evaluation.degradations, or None.
        sequence: give each frame the last accepted pose as its prior.
        seed: of start poses and degradations.
    """

    perturbation: Perturbation | None = None
    degradation: str | None = None
    sequence: bool = False
    seed: int = 0


def query_image(
    frame: Frame, index: int, settings: EvaluationSettings
) -> tuple[np.ndarray, Camera]:
    """Return the image (H, W, 3) float32 of a frame as the localizer gets it, and its camera."""
    image = frame.read_image()
    if settings.degradation is None:
        return image, frame.camera
    generator = np.random.default_rng([settings.seed, index])
    return degradation(settings.degradation)(image, frame.camera, generator)


def evaluate_map(
    localizer: EvaluatedLocalizer,
    frames: Sequence[Frame],
    settings: EvaluationSettings,
    progress: Progress,
) -> list[FrameResult]:
    """Localize every frame that has a ground truth pose; one result for each start pose.

    A frame whose localization raises counts as a frame without a pose, with the message kept.
    """
    frames = [frame for frame in frames if frame.T_map_cam is not None]
    starts = np.random.default_rng(settings.seed)
    results = []
    prior = _SequencePrior()
    begin_s = time.monotonic()
    progress.start(STAGE, True)
    try:
        for index, frame in enumerate(frames):
            image, camera = query_image(frame, index, settings)
            if settings.perturbation is None:
                new = [_localize(localizer, frame, image, camera, prior, settings.sequence)]
            else:
                new = _refine_perturbed(
                    localizer, frame, image, camera, settings.perturbation, starts
                )
            results.extend(new)
            fraction = (index + 1) / len(frames)
            left_s = (time.monotonic() - begin_s) * (1 - fraction) / fraction
            progress.update(STAGE, fraction, _shown(results), left_s)
    finally:
        progress.close()
    return results


class _SequencePrior:
    """The last accepted pose of a sequence, less certain with every frame that went by."""

    def __init__(self):
        self._last: Localization | None = None
        self._frames_since = 0

    def get(self) -> PosePrior | None:
        if self._last is None:
            return None
        translation = MOTION_SHARE * self._last.median_depth
        rotation = math.radians(MOTION_DEG)
        motion = np.diag([translation**2] * 3 + [rotation**2] * 3)
        covariance = self._last.covariance + self._frames_since * motion
        return PosePrior(self._last.T_map_cam, covariance)

    def update(self, localization: Localization | None) -> None:
        self._frames_since += 1
        if localization is not None and localization.accepted:
            self._last, self._frames_since = localization, 1


def _localize(
    localizer: EvaluatedLocalizer,
    frame: Frame,
    image: np.ndarray,
    camera: Camera,
    prior: _SequencePrior,
    sequence: bool,
) -> FrameResult:
    pose_prior = prior.get() if sequence else None
    begin_s = time.perf_counter()
    localization, failure = None, ''
    try:
        localization = localizer.localize(image, camera, pose_prior)
    except PosefieldError as error:
        failure = str(error)
        LOGGER.warning('%s got no pose: %s', frame.name, failure)
    seconds = time.perf_counter() - begin_s
    prior.update(localization)
    return _result(localizer, frame, image, camera, localization, seconds, failure)


def _refine_perturbed(
    localizer: EvaluatedLocalizer,
    frame: Frame,
    image: np.ndarray,
    camera: Camera,
    perturbation: Perturbation,
    generator: np.random.Generator,
) -> list[FrameResult]:
    results = []
    for _ in range(perturbation.starts):
        start = perturbed(
            frame.T_map_cam, perturbation.translation, perturbation.rotation_deg, generator
        )
        begin_s = time.perf_counter()
        localization = localizer.refine(image, camera, start)
        seconds = time.perf_counter() - begin_s
        results.append(_result(localizer, frame, image, camera, localization, seconds, ''))
    return results


def _result(
    localizer: EvaluatedLocalizer,
    frame: Frame,
    image: np.ndarray,
    camera: Camera,
    localization: Localization | None,
    seconds: float,
    failure: str,
) -> FrameResult:
    psnr = None
    if localization is not None and np.isfinite(localization.T_map_cam).all():
        psnr = render_psnr(localizer, image, camera, localization.T_map_cam)
    return FrameResult(
        name=frame.name,
        T_map_cam_true=frame.T_map_cam,
        localization=localization,
        seconds=seconds,
        psnr=psnr,
        stamp_s=frame.stamp_s,
        failure=failure,
    )


def view_at(
    localizer: EvaluatedLocalizer,
    image: np.ndarray,
    camera: Camera,
    T_map_cam: np.ndarray,
    short_side: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the undistorted query and the field's render at a pose, (h, w, 3) float32 each."""
    pinhole_image, pinhole = undistort(to_float_rgb(image), camera)
    small = pinhole.with_short_side(short_side)
    query = resize(pinhole_image, small.width, small.height)
    return query, np.clip(localizer.render(T_map_cam, small).image_HW3, 0.0, 1.0)


def render_psnr(
    localizer: EvaluatedLocalizer, image: np.ndarray, camera: Camera, T_map_cam: np.ndarray
) -> float:
    """Return the PSNR (dB) of the render at a pose against the query, at field resolution."""
    query, render = view_at(
        localizer, image, camera, T_map_cam, int(localizer.info['field_short_side'])
    )
    mean_square = float(np.mean((query - render) ** 2))
    return -10 * math.log10(max(mean_square, 1e-10))


def median_depth_at(localizer: EvaluatedLocalizer, camera: Camera, T_map_cam: np.ndarray) -> float:
    """Return the median depth of what the map shows at a pose; 0 where it shows nothing."""
    short_side = int(localizer.info['field_short_side'])
    rendering = localizer.render(T_map_cam, camera.pinhole().with_short_side(short_side))
    depths = rendering.depth_HW[rendering.opacity_HW > 0.5]
    return float(np.median(depths)) if depths.size else 0.0


def _shown(results: Sequence[FrameResult]) -> dict[str, float]:
    """Return what the progress bar shows: running medians over the frames with a pose."""
    errors = [result.errors for result in results if result.has_pose]
    shown = {'located': len(errors) / len(results)}
    if errors:
        shown['median_error'] = float(np.median([error.translation for error in errors]))
        shown['median_deg'] = float(np.median([error.rotation_deg for error in errors]))
    return shown
