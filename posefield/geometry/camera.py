"""The camera model: pinhole intrinsics with ROS distortion models.

Pixels follow ROS and OpenCV: the centre of the top-left pixel is (0, 0).  Camera axes are
optical: x right, y down, z forward.
"""

from dataclasses import dataclass, replace
import math

import cv2
import numpy as np

from posefield.errors import CameraError

# Number of coefficients that each distortion model of sensor_msgs/CameraInfo takes.
DISTORTION_LENGTHS = {
    'pinhole': (0,),
    'plumb_bob': (4, 5),
    'rational_polynomial': (8, 12, 14),
    'equidistant': (4,),
}


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one camera at one image size.

    Attributes:
        width, height: image size in pixels.
        fx, fy, cx, cy: focal lengths and principal point in pixels.
        model: `pinhole`, `plumb_bob`, `rational_polynomial` or `equidistant`.
        distortion: coefficients in the order of sensor_msgs/CameraInfo; empty for `pinhole`.

    Raises:
        CameraError: for a size, focal length or distortion that cannot describe a camera.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    model: str = 'pinhole'
    distortion: tuple[float, ...] = ()

    def __post_init__(self):
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(math.isfinite(number) for number in numbers):
            raise CameraError(f'Intrinsics must be finite numbers, found {numbers}.')
        if self.width < 1 or self.height < 1:
            raise CameraError(
                f'An image must have a positive size, found {self.width}x{self.height}.'
            )
        if self.fx <= 0 or self.fy <= 0:
            raise CameraError(
                f'Focal lengths must be positive, found fx={self.fx}, fy={self.fy}'
                ' (an uncalibrated camera sends 0).'
            )
        if self.model not in DISTORTION_LENGTHS:
            raise CameraError(
                f'Unknown distortion model {self.model!r}, expected one of '
                f'{", ".join(sorted(DISTORTION_LENGTHS))}.'
            )
        if len(self.distortion) not in DISTORTION_LENGTHS[self.model]:
            raise CameraError(
                f'Distortion model {self.model} takes '
                f'{" or ".join(map(str, DISTORTION_LENGTHS[self.model]))} coefficients, '
                f'found {len(self.distortion)}.'
            )

    @property
    def K_33(self) -> np.ndarray:
        """Return the intrinsic matrix, (3, 3) float64."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def is_distorted(self) -> bool:
        """Whether any distortion coefficient is non-zero (an equidistant lens always is)."""
        return self.model == 'equidistant' or any(self.distortion)

    def resized(self, width: int, height: int) -> 'Camera':
        """Return the camera of the same view at another size: c becomes (c + 0.5)*s - 0.5."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )

    def with_short_side(self, short_side: int) -> 'Camera':
        """Return the camera resized so that its shorter image side has `short_side` pixels."""
        scale = short_side / min(self.width, self.height)
        return self.resized(max(1, round(self.width * scale)), max(1, round(self.height * scale)))

    def cropped(self, x: int, y: int, width: int, height: int) -> 'Camera':
        """Return the camera of the window whose top-left pixel is (x, y)."""
        return replace(self, width=width, height=height, cx=self.cx - x, cy=self.cy - y)

    def pinhole(self) -> 'Camera':
        """Return the ideal camera that `undistort` maps this camera's images to."""
        return replace(self, model='pinhole', distortion=())

    def project(self, points_N3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project camera-frame points to pixels.

        Args:
            points_N3: points in the optical frame.

        Returns:
            pixels_N2 and visible_N: whether the point is in front and inside the image
            (pixel centres from -0.5 to size - 0.5).
        """
        points_N3 = np.asarray(points_N3, dtype=np.float64).reshape(-1, 3)
        in_front = points_N3[:, 2] > 1e-9
        safe = np.where(in_front[:, None], points_N3, [0.0, 0.0, 1.0])
        if self.model == 'pinhole':
            pixels = safe[:, :2] / safe[:, 2:] * [self.fx, self.fy] + [self.cx, self.cy]
        else:
            pixels = self._project_distorted(safe)
        size = np.array([self.width, self.height])
        inside = ((pixels > -0.5) & (pixels < size - 0.5)).all(axis=1)
        return pixels, in_front & inside

    def _project_distorted(self, points_N3: np.ndarray) -> np.ndarray:
        if not len(points_N3):
            return np.zeros((0, 2))
        zeros = np.zeros(3)
        distortion = np.asarray(self.distortion)
        if self.model == 'equidistant':
            pixels, _ = cv2.fisheye.projectPoints(
                points_N3[:, None], zeros, zeros, self.K_33, distortion
            )
        else:
            pixels, _ = cv2.projectPoints(points_N3, zeros, zeros, self.K_33, distortion)
        return pixels.reshape(-1, 2)

    def unproject(self, pixels_N2: np.ndarray) -> np.ndarray:
        """Return points_N3 on the rays of the pixels, at z = 1 in the optical frame."""
        pixels_N2 = np.asarray(pixels_N2, dtype=np.float64).reshape(-1, 2)
        if self.model == 'pinhole' or not len(pixels_N2):
            normalised = (pixels_N2 - [self.cx, self.cy]) / [self.fx, self.fy]
        else:
            normalised = self._undistort_pixels(pixels_N2)
        return np.concatenate([normalised, np.ones((len(normalised), 1))], axis=1)

    def _undistort_pixels(self, pixels_N2: np.ndarray) -> np.ndarray:
        distortion = np.asarray(self.distortion)
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
        if self.model == 'equidistant':
            rays = cv2.fisheye.undistortPoints(
                pixels_N2[:, None], self.K_33, distortion, criteria=criteria
            )
        else:
            rays = cv2.undistortPointsIter(
                pixels_N2[:, None], self.K_33, distortion, None, None, criteria
            )
        return rays.reshape(-1, 2)


def covered_share(query: Camera, reference: Camera) -> float:
    """Return the share of a reference view's width or height that a query covers, at most 1."""
    width = query.width / query.fx * reference.fx / reference.width
    height = query.height / query.fy * reference.fy / reference.height
    return min(1.0, width, height)
