"""Images of a moving thing, made ready to align a model with them."""

from dataclasses import dataclass

import cv2
import numpy as np

from posefield.data.rig_camera import BACKGROUND, OBJECT, UNRELIABLE
from posefield.errors import ArticulationError
from posefield.geometry.camera import Camera
from posefield.geometry.images import resize, undistort
from posefield.geometry.poses import as_rigid, invert

# A pixel whose colour is this far from a plain background shows the object.
UNLIKE_BACKGROUND = 0.08
# Distances to the outline are cut here, as a share of the short side.
FARTHEST = 0.2
# Channels of `ObservedView.channels_HWC`: distance, then red, green and blue, each with slopes.
DISTANCE, COLOURS = slice(0, 3), (slice(3, 6), slice(6, 9), slice(9, 12))


@dataclass(frozen=True, eq=False)
class TrackedView:
    """What one camera saw at the moment that is tracked.

    Attributes:
        image_HW3: RGB in [0, 1], float32, as the camera sent it.
        mask_HW: 0 background, 1 object, 2 unreliable (a bool mask is fine); None where the
            background is plain and of the model's level.
        camera: of the image; a lens is undistorted here.
        T_world_cam: (4, 4), optical axes.

    Raises:
        ArticulationError: for shapes that do not belong together.
        PoseError: for a T_world_cam that is no rigid transform.
    """

    image_HW3: np.ndarray
    mask_HW: np.ndarray | None
    camera: Camera
    T_world_cam: np.ndarray

    def __post_init__(self):
        size = (self.camera.height, self.camera.width)
        if self.image_HW3.shape != (*size, 3):
            raise ArticulationError(
                f'A tracked image must have the shape {(*size, 3)} of its camera, found '
                f'{self.image_HW3.shape}.'
            )
        if self.mask_HW is not None and self.mask_HW.shape != size:
            raise ArticulationError(
                f'A mask must have the shape {size} of its image, found {self.mask_HW.shape}.'
            )
        object.__setattr__(self, 'T_world_cam', as_rigid(self.T_world_cam, 'T_world_cam'))


@dataclass(frozen=True, eq=False)
class ObservedView:
    """A view at the size at which it is compared.

    Attributes:
        camera: pinhole.
        T_cam_world: (4, 4).
        mask_HW: 0, 1 and 2.
        channels_HWC: float32: signed distance to the outline in pixels, positive outside, and its
            slopes along x and y; then each colour with its slopes.
    """

    camera: Camera
    T_cam_world: np.ndarray
    mask_HW: np.ndarray
    channels_HWC: np.ndarray

    def sample(self, pixels_N2: np.ndarray) -> np.ndarray:
        """Return the channels (N, 12) at places in the image, between pixels interpolated."""
        height, width = self.mask_HW.shape
        x = np.clip(pixels_N2[:, 0], 0.0, width - 1.001)
        y = np.clip(pixels_N2[:, 1], 0.0, height - 1.001)
        column, row = x.astype(np.intp), y.astype(np.intp)
        fx, fy = (x - column)[:, None], (y - row)[:, None]
        flat = self.channels_HWC.reshape(-1, self.channels_HWC.shape[-1])
        first = row * width + column
        upper = flat[first] * (1.0 - fx) + flat[first + 1] * fx
        lower = flat[first + width] * (1.0 - fx) + flat[first + width + 1] * fx
        return upper * (1.0 - fy) + lower * fy


def observe(view: TrackedView, short_side: int, background: float, blur_px: float) -> ObservedView:
    """Return a view as it is compared.

    Args:
        view: as it came.
        short_side: of the image, at most.
        background: level of the colours outside of the object.
        blur_px: by which colours are smoothed, so that their slopes reach further.
    """
    image, camera = undistort(np.asarray(view.image_HW3, np.float32), view.camera)
    mask = _mask(view, background)
    side = min(short_side, camera.width, camera.height)
    small = camera.with_short_side(side)
    size = (small.width, small.height)
    is_object = resize((mask == OBJECT).astype(np.float32), *size)
    is_unreliable = resize((mask == UNRELIABLE).astype(np.float32), *size)
    shrunk = np.where(is_object > 0.5, OBJECT, BACKGROUND).astype(np.uint8)
    shrunk[is_unreliable > 0.25] = UNRELIABLE
    colours = resize(image, *size)
    colours = np.where((shrunk == BACKGROUND)[..., None], np.float32(background), colours)
    channels = [_with_slopes(_outline_distance(shrunk))]
    smooth = cv2.GaussianBlur(colours, (0, 0), blur_px)
    channels += [_with_slopes(np.ascontiguousarray(smooth[..., c])) for c in range(3)]
    return ObservedView(small, invert(view.T_world_cam), shrunk, np.concatenate(channels, axis=-1))


def signed_distance(inside_HW: np.ndarray) -> np.ndarray:
    """Return how far pixel centres are from the outline in pixels, negative inside."""
    flags = inside_HW.astype(np.uint8)
    outside = cv2.distanceTransform(1 - flags, cv2.DIST_L2, cv2.DIST_MASK_5)
    within = cv2.distanceTransform(flags, cv2.DIST_L2, cv2.DIST_MASK_5)
    farthest = FARTHEST * min(inside_HW.shape)
    distance = np.where(inside_HW, 0.5 - within, outside - 0.5)
    return np.clip(distance, -farthest, farthest).astype(np.float32)


def _mask(view: TrackedView, background: float) -> np.ndarray:
    """Return the mask (H, W) of the undistorted image."""
    if view.mask_HW is None:
        image, _ = undistort(np.asarray(view.image_HW3, np.float32), view.camera)
        differs = np.abs(image - background).max(axis=-1) > UNLIKE_BACKGROUND
        return differs.astype(np.uint8)
    mask = view.mask_HW.astype(np.uint8)
    if not view.camera.is_distorted:
        return mask
    is_object, _ = undistort((mask == OBJECT).astype(np.float32), view.camera)
    is_unreliable, _ = undistort((mask == UNRELIABLE).astype(np.float32), view.camera)
    straight = np.where(is_object > 0.5, OBJECT, BACKGROUND).astype(np.uint8)
    straight[is_unreliable > 0.25] = UNRELIABLE
    return straight


def _outline_distance(mask_HW: np.ndarray) -> np.ndarray:
    """Return the distance to where the outline can be: 0 wherever the mask is unreliable."""
    certain = np.minimum(signed_distance(mask_HW == OBJECT), 0.0)
    possible = np.maximum(signed_distance(mask_HW != BACKGROUND), 0.0)
    return certain + possible


def _with_slopes(values_HW: np.ndarray) -> np.ndarray:
    """Return values with their slopes along x and y, (H, W, 3)."""
    kernel = np.array([[-0.5, 0.0, 0.5]], np.float32)
    along_x = cv2.filter2D(values_HW, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    along_y = cv2.filter2D(values_HW, -1, kernel.T, borderType=cv2.BORDER_REPLICATE)
    return np.stack([values_HW, along_x, along_y], axis=-1)
