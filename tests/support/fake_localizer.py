"""A Localizer whose answers are scripted, for tests of what stands around the real one."""

from collections.abc import Callable
from dataclasses import dataclass, field
import time

import numpy as np

from posefield.errors import CameraError
from posefield.geometry.camera import Camera
from posefield.relocalization.localization import Localization, PosePrior

DEPTH = 2.0


@dataclass(frozen=True)
class FakeRendering:
    """The fields of a rendering that callers read."""

    image_HW3: np.ndarray
    depth_HW: np.ndarray
    opacity_HW: np.ndarray


def localization(
    T_map_cam: np.ndarray,
    *,
    accepted: bool = True,
    translation_std: float = 0.01,
    rotation_std: float = 0.005,
    hypothesis: str = 'sparse',
) -> Localization:
    """A plausible answer at this pose."""
    return Localization(
        T_map_cam=T_map_cam,
        covariance=np.diag([translation_std**2] * 3 + [rotation_std**2] * 3),
        T_map_cam_coarse=T_map_cam.copy(),
        hypothesis=hypothesis,
        accepted=accepted,
        score=0.9 if accepted else 0.1,
        reason='' if accepted else 'Too little of the image agrees with the map.',
        median_depth=DEPTH,
        renders=3,
        iterations=7,
        timings={'hypotheses': 0.001, 'alignment': 0.002, 'total': 0.003},
    )


def pose_of_brightness(image: np.ndarray, camera: Camera, prior: PosePrior | None) -> Localization:
    """The camera stands at x = first red value / 100, y = first green, z = first blue."""
    T_map_cam = np.eye(4)
    T_map_cam[:3, 3] = image[0, 0].astype(np.float64) / 100.0
    return localization(T_map_cam, hypothesis='sparse' if prior is None else 'prior')


@dataclass
class FakeLocalizer:
    """Answers every image by a function and remembers what it was asked."""

    answer: Callable[[np.ndarray, Camera, PosePrior | None], Localization] = pose_of_brightness
    delay_s: float = 0.0
    info: dict = field(default_factory=lambda: {'units': 'metres', 'map_id': 'fake'})
    calls: list[tuple[np.ndarray, Camera, PosePrior | None]] = field(default_factory=list)

    def localize(
        self, image: np.ndarray, camera: Camera, prior: PosePrior | None = None
    ) -> Localization:
        """Answer as scripted; like the real one, refuse an image that is not the camera's."""
        if image.shape[:2] != (camera.height, camera.width):
            raise CameraError(
                f'The image is {image.shape[1]}x{image.shape[0]} but its intrinsics are for '
                f'{camera.width}x{camera.height}.'
            )
        self.calls.append((image, camera, prior))
        time.sleep(self.delay_s)
        return self.answer(image, camera, prior)

    def render(self, T_map_cam: np.ndarray, camera: Camera) -> FakeRendering:
        """A blue picture."""
        shape = (camera.height, camera.width)
        image = np.zeros((*shape, 3), np.float32)
        image[..., 2] = 1.0
        return FakeRendering(image, np.full(shape, DEPTH, np.float32), np.ones(shape, np.float32))
