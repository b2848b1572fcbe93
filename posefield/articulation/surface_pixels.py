"""The pixels that a surface is learned from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from posefield.data.multiview import Multiview
from posefield.data.rig_camera import OBJECT, UNRELIABLE
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.errors import DataError
from posefield.geometry.images import resize

# Pixels this near to the object, as a share of the short side, are all kept.
BORDER = 0.08
# Of the others, which show nothing but background, one in so many is.
SPARE_BACKGROUND = 10


@dataclass(frozen=True)
class PixelBatch:
    """Random pixels of all images.

    Attributes:
        rows_R: which of the learned frames each was taken in.
        origins_R3, directions_R3: its ray in the scene frame.
        colours_R3: RGB in [0, 1] over the background.
        masks_R: share of the pixel that the object covers.
    """

    rows_R: torch.Tensor
    origins_R3: torch.Tensor
    directions_R3: torch.Tensor
    colours_R3: torch.Tensor
    masks_R: torch.Tensor


class SurfacePixels:
    """All reliable pixels on and around the object, and some of the background.

    Args:
        multiview: only its training views are read.
        frames: of the video, to learn from.
        normalisation: to the scene frame.
        short_side: largest of the images; larger ones are shrunk.
        device: where the pixels are kept.
        report: told the fraction read.
        check_stop: raises when the work is to stop.

    Raises:
        DataError: when there is no pixel of the object in any image.
    """

    def __init__(
        self,
        multiview: Multiview,
        frames: Sequence[int],
        normalisation: SceneNormalisation,
        short_side: int,
        device: torch.device,
        report: Callable[[float], None],
        check_stop: Callable[[], None],
    ):
        self.background = multiview.background_level
        views = multiview.training_views
        cameras = []
        for view in views:
            camera = multiview.cameras[view].camera
            if min(camera.width, camera.height) > short_side:
                camera = camera.with_short_side(short_side)
            cameras.append(camera)
        poses = np.stack([multiview.cameras[view].T_world_cam for view in views])
        self._T_scene_cam_V44 = torch.tensor(
            normalisation.pose_to_scene(poses), dtype=torch.float32, device=device
        )
        self._intrinsics_V4 = torch.tensor(
            [[c.fx, c.fy, c.cx, c.cy] for c in cameras], dtype=torch.float32, device=device
        )
        pieces = []
        for row, frame in enumerate(frames):
            check_stop()
            for column, view in enumerate(views):
                size = (cameras[column].width, cameras[column].height)
                pieces.append(_kept_pixels(multiview, view, frame, size, row, column))
            report((row + 1) / len(frames))
        joined = [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)]
        places, pixels, levels = (torch.from_numpy(array).to(device) for array in joined)
        self._places_N2, self._pixels_N2, self._levels_N4 = places, pixels, levels
        if not (levels[:, 3] > 127).any():
            raise DataError(
                f'The masks of {multiview.root} show no pixel of the object in any frame to '
                'learn from, expected some.'
            )

    def __len__(self) -> int:
        return len(self._levels_N4)

    def pixel_size(self, distance: float) -> float:
        """Return how wide a pixel is at a distance from the cameras, scene units."""
        return distance / float(self._intrinsics_V4[:, :2].mean())

    @property
    def viewing_distance(self) -> float:
        """How far the cameras are from the middle of the scene, scene units."""
        return float(self._T_scene_cam_V44[:, :3, 3].norm(dim=1).mean())

    def draw(self, count: int, generator: torch.Generator) -> PixelBatch:
        """Return random pixels."""
        device = self._levels_N4.device
        chosen = torch.randint(len(self), (count,), generator=generator, device=device)
        rows, columns = self._places_N2[chosen].long().unbind(dim=1)
        intrinsics = self._intrinsics_V4[columns]
        xy = (self._pixels_N2[chosen].float() - intrinsics[:, 2:]) / intrinsics[:, :2]
        in_camera = torch.cat([xy, torch.ones_like(xy[:, :1])], dim=1)
        poses = self._T_scene_cam_V44[columns]
        levels = self._levels_N4[chosen].float() / 255.0
        return PixelBatch(
            rows,
            poses[:, :3, 3],
            torch.einsum('rij,rj->ri', poses[:, :3, :3], in_camera),
            levels[:, :3],
            levels[:, 3],
        )


def _kept_pixels(
    multiview: Multiview, view: int, frame: int, size: tuple[int, int], row: int, column: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (row, view), (x, y) and (red, green, blue, cover) of the pixels that are kept."""
    image, mask = multiview.read_masked(view, frame)
    unreliable = resize((mask == UNRELIABLE).astype(np.float32), *size) > 0
    cover = resize((mask == OBJECT).astype(np.float32), *size)
    image = resize(np.ascontiguousarray(image, dtype=np.float32), *size)
    reach = max(1, round(BORDER * min(size)))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    keep = cv2.dilate((cover > 0).astype(np.uint8), kernel) > 0
    keep.reshape(-1)[(row + column) % SPARE_BACKGROUND :: SPARE_BACKGROUND] = True
    y, x = np.nonzero(keep & ~unreliable)
    levels = np.concatenate([image[y, x], cover[y, x, None]], axis=1)
    places = np.tile(np.array([[row, column]], dtype=np.int16), (len(x), 1))
    return (
        places,
        np.stack([x, y], axis=1).astype(np.int16),
        np.rint(255.0 * levels).astype(np.uint8),
    )
