"""The pixels that parts are fitted to."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
import torch

from posefield.data.multiview import Multiview
from posefield.data.rig_camera import OBJECT, UNRELIABLE
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.errors import DataError
from posefield.geometry.images import resize
from posefield.geometry.rays import camera_rays, pixel_grid

# Background this near to the object, as a share of the short side, is drawn more often.
BAND = 0.08
# Pixels of the object this near to its outline are drawn as often as all others of it, so that
# thin parts, which have no others, are not lost beside thick ones; as a share of the short side.
RIM = 0.02
# In masks: beyond the images of a camera whose images are smaller than those of another.
OUTSIDE = 3


class FittingPixels:
    """All training images, small, with their pixels sorted by what they tell.

    Images are numbered view * F + frame.  Pixels are on the image plane at z = 1.

    Args:
        images_VFHW3: RGB in [0, 1]; masks_VFHW: 0 background, 1 object, 2 unreliable, 3 outside of
            the image.
        rays_VN2: the pixels' places on the image plane, row by row.
        T_scene_cam_V44: poses of the cameras.
        background: level of all colours where the object is not.
        device: where the pixels are kept.
    """

    def __init__(
        self,
        images_VFHW3: np.ndarray,
        masks_VFHW: np.ndarray,
        rays_VN2: torch.Tensor,
        T_scene_cam_V44: np.ndarray,
        background: float,
        device: torch.device | str = 'cpu',
    ):
        self.views, self.frames, height, width = masks_VFHW.shape
        self.background = background
        self.masks_VFHW = masks_VFHW
        self.rays_VN2 = rays_VN2.to(device)
        self.T_scene_cam_V44 = torch.tensor(T_scene_cam_V44, dtype=torch.float32, device=device)
        across = rays_VN2.reshape(self.views, height, width, 2)
        self.pixel_size = float((across[:, 0, -1, 0] - across[:, 0, 0, 0]).mean() / (width - 1))
        orders, starts = _sorted_pixels(masks_VFHW.reshape(-1, height, width))
        self._order = torch.from_numpy(orders).to(device)
        self._starts_I5 = torch.from_numpy(starts).to(device)
        flat = torch.from_numpy(images_VFHW3.reshape(self.images * height * width, 3))
        self._colours = flat.to(device)
        self._object = torch.from_numpy((masks_VFHW == OBJECT).reshape(-1)).to(device)
        if not (masks_VFHW == OBJECT).any():
            raise DataError('The masks show no pixel of the object in any frame to learn from.')

    @classmethod
    def read(
        cls,
        multiview: Multiview,
        frames: Sequence[int],
        normalisation: SceneNormalisation,
        short_side: int,
        device: torch.device | str = 'cpu',
    ) -> 'FittingPixels':
        """Read the training views of a recording, shrunk to a short side where larger.

        Raises:
            DataError: when images do not open or show nothing.
        """
        rigs = [multiview.cameras[view] for view in multiview.training_views]
        cameras = [
            rig.camera
            if min(rig.camera.width, rig.camera.height) <= short_side
            else rig.camera.with_short_side(short_side)
            for rig in rigs
        ]
        width = max(camera.width for camera in cameras)
        height = max(camera.height for camera in cameras)
        shape = (len(rigs), len(frames), height, width)
        images = np.full((*shape, 3), multiview.background_level, dtype=np.float32)
        masks = np.full(shape, OUTSIDE, dtype=np.uint8)
        for row, view in enumerate(multiview.training_views):
            across, down = cameras[row].width, cameras[row].height
            for column, frame in enumerate(frames):
                image, mask = _shrunk(*multiview.read_masked(view, frame), across, down)
                images[row, column, :down, :across] = image
                masks[row, column, :down, :across] = mask
        grid = pixel_grid(height, width)
        rays = torch.stack([camera_rays(camera, grid)[:, :2] for camera in cameras])
        poses = normalisation.pose_to_scene(np.stack([rig.T_world_cam for rig in rigs]))
        return cls(images, masks, rays, poses, multiview.background_level, device)

    @property
    def images(self) -> int:
        """Number of images, views times frames."""
        return self.views * self.frames

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return self._order.device

    def image_of(self, view: int, frame: int) -> np.ndarray:
        """Return the colours (N, 3) of an image, row by row."""
        per_image = self.rays_VN2.shape[1]
        first = (view * self.frames + frame) * per_image
        return self._colours[first : first + per_image].cpu().numpy()

    def cameras_of(self, images_B: torch.Tensor) -> torch.Tensor:
        """Return T_scene_cam (B, 4, 4) of images."""
        return self.T_scene_cam_V44[images_B // self.frames]

    def draw(
        self,
        images_B: torch.Tensor,
        counts: tuple[int, int, int, int],
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return random pixels of every image.

        Args:
            images_B: numbers of images.
            counts: how many inside the object, at its rim, in the background near it and in the
                rest; where an image has none of a kind, others stand in.
            generator: of the choice.

        Returns:
            places (B, N, 2), colours (B, N, 3), and whether the object is there (B, N).
        """
        starts = self._starts_I5[images_B]
        chosen = []
        for kind, count in enumerate(counts):
            first, size = starts[:, kind, None], (starts[:, kind + 1] - starts[:, kind])[:, None]
            draws = torch.rand(len(images_B), count, generator=generator, device=self.device)
            within = first + (draws * size).long()
            anywhere = (draws * starts[:, 4, None]).long()
            chosen.append(torch.where(size > 0, within, anywhere))
        per_image = self.rays_VN2.shape[1]
        pixels = self._order.flatten()[torch.cat(chosen, dim=1) + images_B[:, None] * per_image]
        views_B = images_B // self.frames
        places = self.rays_VN2.flatten(0, 1)[(pixels + views_B[:, None] * per_image)]
        flat = pixels + images_B[:, None] * per_image
        return places, self._colours[flat], self._object[flat]


def _shrunk(
    image: np.ndarray, mask: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    if mask.shape == (height, width):
        return image, mask
    covered = resize((mask == OBJECT).astype(np.float32), width, height)
    doubtful = resize((mask == UNRELIABLE).astype(np.float32), width, height)
    small = np.where(covered > 0.5, OBJECT, 0)
    return resize(image, width, height), np.where(doubtful > 0.25, UNRELIABLE, small)


def _sorted_pixels(masks_IHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels of every image by kind, those that tell nothing last, and where kinds begin.

    Kinds are those of `FittingPixels.draw`; the fifth start is of those that tell nothing.
    """
    short_side = min(masks_IHW.shape[1:])
    band, rim = max(2.0, BAND * short_side), max(1.0, RIM * short_side)
    orders, starts = [], []
    for mask in masks_IHW:
        is_object = mask == OBJECT
        inwards = ndimage.distance_transform_edt(np.pad(is_object, 1))[1:-1, 1:-1]
        outwards = ndimage.distance_transform_edt(~is_object)
        background = np.where(outwards <= band, 2, 3)
        kinds = np.where(is_object, np.where(inwards <= rim, 1, 0), background)
        kinds = np.where((mask == UNRELIABLE) | (mask == OUTSIDE), 4, kinds).reshape(-1)
        orders.append(np.argsort(kinds, kind='stable'))
        counts = np.bincount(kinds, minlength=5)
        starts.append(np.concatenate([[0], np.cumsum(counts)[:4]]))
    return np.stack(orders), np.stack(starts)
