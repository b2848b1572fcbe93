"""Training photos prepared for mapping: undistorted, resized, with keypoints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from posefield.data.scene import Frame
from posefield.features.sift import Keypoints, detect_sift
from posefield.geometry.camera import Camera
from posefield.geometry.images import resize, undistort


@dataclass(frozen=True)
class WorkingSizes:
    """Short sides in pixels of the images that each part works on.

    An image is never enlarged: a smaller one is used as it is.

    Attributes:
        sparse: keypoints.
        keyframe: keyframe alignment.
        training: what the field learns from.
        depth: depth maps of the keyframes.
        field: field alignment, and renders of feature synthesizers.
        labels: what the features come from that synthesizers learn.
        max_keypoints: in each photo.
    """

    sparse: int = 480
    keyframe: int = 240
    training: int = 120
    depth: int = 80
    field: int = 60
    labels: int = 240
    max_keypoints: int = 2000


@dataclass(frozen=True)
class SizedImage:
    """A pinhole image (H, W, 3) float32 RGB of one working size and its camera."""

    image_HW3: np.ndarray
    camera: Camera

    def with_short_side(self, short_side: int) -> 'SizedImage':
        """Return the image reduced to a short side; a smaller image is returned as it is."""
        camera = self.camera
        if short_side >= min(camera.width, camera.height):
            return self
        camera = camera.with_short_side(short_side)
        return SizedImage(resize(self.image_HW3, camera.width, camera.height), camera)


@dataclass(frozen=True)
class Photo:
    """One training photo at its working sizes.

    Attributes:
        name: of the frame.
        T_map_cam: (4, 4).
        keypoints: found at the sparse size, or None where the photo is no keyframe.
        sparse_camera: pinhole of that size.
        keyframe_u8: image of the keyframe size, (H, W, 3) uint8, or None likewise.
        keyframe_camera: pinhole of that size.
        training_u8: image of the training size, (H, W, 3) uint8.
        training_camera: pinhole of that size.
    """

    name: str
    T_map_cam: np.ndarray
    keypoints: Keypoints | None
    sparse_camera: Camera
    keyframe_u8: np.ndarray | None
    keyframe_camera: Camera
    training_u8: np.ndarray
    training_camera: Camera


def to_u8(image_HW3: np.ndarray) -> np.ndarray:
    """Return a float image in [0, 1] as uint8."""
    return np.clip(image_HW3 * 255.0 + 0.5, 0, 255).astype(np.uint8)


def prepare_photo(frame: Frame, sizes: WorkingSizes, is_keyframe: bool) -> Photo:
    """Read one frame and bring it to all working sizes."""
    full = SizedImage(*undistort(frame.read_image(), frame.camera))
    sparse = full.with_short_side(sizes.sparse)
    keyframe = sparse.with_short_side(sizes.keyframe)
    training = keyframe.with_short_side(sizes.training)
    return Photo(
        name=frame.name,
        T_map_cam=frame.T_map_cam,
        keypoints=detect_sift(sparse.image_HW3, sizes.max_keypoints) if is_keyframe else None,
        sparse_camera=sparse.camera,
        keyframe_u8=to_u8(keyframe.image_HW3) if is_keyframe else None,
        keyframe_camera=keyframe.camera,
        training_u8=to_u8(training.image_HW3),
        training_camera=training.camera,
    )


def prepare_photos(
    frames: Sequence[Frame],
    keyframe_names: frozenset[str],
    sizes: WorkingSizes,
    check_stop: Callable[[], None] = lambda: None,
    report: Callable[[float], None] = lambda fraction: None,
) -> list[Photo]:
    """Prepare all frames, in their order; `check_stop` may raise between two."""
    photos = []
    for index, frame in enumerate(frames):
        check_stop()
        photos.append(prepare_photo(frame, sizes, frame.name in keyframe_names))
        report((index + 1) / len(frames))
    return photos


def spread_over_poses(T_map_cam_N44: np.ndarray, count: int, scale: float) -> np.ndarray:
    """Return indices (ascending) of `count` poses that cover all, furthest point first.

    Args:
        T_map_cam_N44: poses.
        count: wanted; all when there are fewer.
        scale: scene scale; this far counts like turning 60 degrees.
    """
    total = len(T_map_cam_N44)
    if total <= count:
        return np.arange(total)
    centres = T_map_cam_N44[:, :3, 3] / scale
    axes = T_map_cam_N44[:, :3, 2]
    chosen = [0]
    nearest = np.full(total, np.inf)
    for _ in range(count - 1):
        last = chosen[-1]
        distance = np.linalg.norm(centres - centres[last], axis=1)
        angle = np.arccos(np.clip(axes @ axes[last], -1.0, 1.0))
        nearest = np.minimum(nearest, distance + angle / np.deg2rad(60.0))
        chosen.append(int(nearest.argmax()))
    return np.sort(np.array(chosen))
