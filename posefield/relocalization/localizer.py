"""The Localizer: image in, pose with covariance and score out, in the user's map frame."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.camera import Camera
from posefield.geometry.images import to_float_rgb, undistort
from posefield.learning.devices import select_device
from posefield.relocalization.hypotheses import FieldPrior, Outcome
from posefield.relocalization.ladder import Ladder
from posefield.relocalization.localization import Localization, PosePrior
from posefield.relocalization.localizer_config import REFINERS, RUNGS, LocalizerConfig
from posefield.relocalization.map_bundle import MapBundle
from posefield.relocalization.photos import SizedImage
from posefield.relocalization.query import Query
from posefield.relocalization.stopwatch import Stopwatch

__all__ = ['REFINERS', 'RUNGS', 'Localizer', 'LocalizerConfig', 'Rendering']


@dataclass(frozen=True)
class Rendering:
    """What the map shows at a pose.

    Attributes:
        image_HW3: float32 RGB in [0, 1].
        depth_HW: along the optical axis, map units.
        opacity_HW: in [0, 1].
    """

    image_HW3: np.ndarray
    depth_HW: np.ndarray
    opacity_HW: np.ndarray


class Localizer:
    """Localizes images in one map.  The same image gives the same pose on a CPU."""

    def __init__(
        self,
        bundle: MapBundle,
        config: LocalizerConfig | None = None,
        device: torch.device | str = 'cpu',
    ):
        self.bundle = bundle
        self.config = config or LocalizerConfig.of_map(bundle.info)
        self._ladder = Ladder(bundle, self.config, device)
        self._device = device

    @classmethod
    def load(
        cls,
        map_dir: Path | str,
        device: str = 'auto',
        configure: Callable[[LocalizerConfig], LocalizerConfig] | None = None,
    ) -> 'Localizer':
        """Return a Localizer of a map folder.

        Args:
            map_dir: written by `posefield map train`.
            device: `auto`, `cpu` or `cuda`.
            configure: changes the rungs and their settings that the map was made for.

        Raises:
            BundleError: when the map is damaged, unsafe or of a newer version.
            LearningError: when the device is not there.
        """
        chosen = select_device(device)
        bundle = MapBundle.load(Path(map_dir), chosen)
        config = LocalizerConfig.of_map(bundle.info)
        return cls(bundle, configure(config) if configure else config, chosen)

    @property
    def info(self) -> Mapping[str, Any]:
        """The content of map.json."""
        return self.bundle.info

    def localize(
        self, image: np.ndarray, camera: Camera, prior: PosePrior | None = None
    ) -> Localization:
        """Return the pose of one image.

        Args:
            image: (H, W, 3) RGB, uint8 or float in [0, 1], distorted as `camera` says.
            camera: its intrinsics.
            prior: a guess, tried first where the sparse rung does not settle the matter.

        Raises:
            CameraError: when the image's size is not the camera's.
            LocalizationError: when no rung has any hypothesis.
        """
        watch = Stopwatch()
        with watch.time('total'):
            query = self._query(image, camera, watch)
            field_prior = _prior_in_field(prior, self.bundle.transform)
            outcome = self._ladder.localize(query, field_prior, watch=watch)
        return self._localization(outcome, watch)

    def refine(
        self, image: np.ndarray, camera: Camera, T_map_cam_start: np.ndarray
    ) -> Localization:
        """Return the pose that the refiners of the configuration reach from a start pose.

        Raises:
            CameraError: when the image's size is not the camera's.
        """
        watch = Stopwatch()
        with watch.time('total'):
            query = self._query(image, camera, watch)
            start = self.bundle.transform.camera_to_field(T_map_cam_start)
            outcome = self._ladder.refine(query, start, watch)
        return self._localization(outcome, watch)

    def render(self, T_map_cam: np.ndarray, camera: Camera) -> Rendering:
        """Return what the map shows at a pose, for the pinhole camera of these intrinsics."""
        T_field_cam = self.bundle.transform.camera_to_field(T_map_cam)
        view = self._ladder.field.render(camera.pinhole(), T_field_cam)
        return Rendering(
            view.colours_HW3.clamp(0.0, 1.0).cpu().numpy(),
            view.depths_HW.cpu().numpy() / self.bundle.transform.scale,
            view.opacities_HW.cpu().numpy(),
        )

    def _query(self, image: np.ndarray, camera: Camera, watch: Stopwatch) -> Query:
        with watch.time('image'):
            sized = SizedImage(*undistort(to_float_rgb(image), camera))
            return Query(sized, self.bundle.extractor, self._device)

    def _localization(self, outcome: Outcome, watch: Stopwatch) -> Localization:
        hypothesis, transform = outcome.hypothesis, self.bundle.transform
        accepted = outcome.score >= outcome.threshold
        reason = (
            ''
            if accepted
            else f'The score {outcome.score:.2f} is below the threshold {outcome.threshold:.2f}.'
        )
        return Localization(
            T_map_cam=transform.camera_to_map(hypothesis.T_field_cam),
            covariance=self._covariance(outcome),
            T_map_cam_coarse=transform.camera_to_map(hypothesis.T_field_cam_coarse),
            hypothesis=hypothesis.rung,
            accepted=accepted,
            score=outcome.score,
            reason=reason,
            median_depth=outcome.check.median_depth / transform.scale,
            renders=hypothesis.renders + 1,
            iterations=hypothesis.iterations,
            timings=dict(watch.seconds),
        )

    def _covariance(self, outcome: Outcome) -> np.ndarray:
        """Return the (6, 6) covariance in ROS order, map units and axes."""
        hypothesis, calibration = outcome.hypothesis, self.bundle.calibration
        to_map = np.diag([1.0 / self.bundle.transform.scale] * 3 + [1.0] * 3)
        if hypothesis.information_66 is None:
            sigmas = [calibration.coarse_translation] * 3 + [calibration.coarse_rotation] * 3
            covariance = np.diag(np.square(sigmas))
        else:
            covariance = twist_covariance_in_map(
                hypothesis.information_66, hypothesis.T_field_cam[:3, :3]
            )
        covariance = to_map @ covariance @ to_map
        return 0.5 * (covariance + covariance.T)


def twist_covariance_in_map(information_66: np.ndarray, R_map_cam: np.ndarray) -> np.ndarray:
    """Return the covariance of (camera centre, rotation vector), both about the map's axes.

    A camera-frame twist (v, w), X <- Exp(w) X + v, moves the centre by -R_map_cam v and turns
    the camera by -R_map_cam w about the map's axes.
    """
    scale = np.sqrt(np.maximum(np.diag(information_66), 1e-12))
    scaled = information_66 / np.outer(scale, scale)
    # Scaling first keeps metres and radians from spoiling the inverse.
    covariance = np.linalg.inv(scaled + 1e-9 * np.eye(6)) / np.outer(scale, scale)
    B = np.zeros((6, 6))
    B[:3, :3] = B[3:, 3:] = R_map_cam
    return B @ covariance @ B.T


def _prior_in_field(prior: PosePrior | None, transform: SceneTransform) -> FieldPrior | None:
    if prior is None:
        return None
    to_field = np.diag([transform.scale] * 3 + [1.0] * 3)
    return FieldPrior(
        transform.camera_to_field(prior.T_map_cam), to_field @ prior.covariance @ to_field
    )
