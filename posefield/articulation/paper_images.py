"""The training images of Watch It Move, in batches of whole images (sections 1, 4 and 5.4).

Names: V cameras, T frames, B images of a batch, H x W pixels, all of one size.  Pixels have the
centre of the top-left one at (0, 0).
"""

from dataclasses import dataclass
import math

import numpy as np
import torch

from posefield.articulation.paper_losses import SeenPixels
from posefield.articulation.paper_rendering import ImageRays
from posefield.data.multiview import Multiview
from posefield.data.rig_camera import OBJECT, UNRELIABLE
from posefield.data.scene_normalisation import SceneNormalisation
from posefield.geometry.images import resize

# Lengths in pixels below are for images of 512 x 512 and are scaled with their size.
PUBLISHED_SIZE = 512
BLOCK = 64
# One of so many pixels is asked for its distance to the ellipsoids.
PIXELS_PER_SAMPLE = 16
# Points that are nearer to their camera are projected as if they were this far, scene units.
LEAST_DEPTH = 1e-2


@dataclass(frozen=True)
class ImageBatch:
    """B images and their cameras, on one device.

    Attributes:
        images_BHW3: uint8 RGB, background where the object is not.
        masks_BHW: uint8; 0 background, 1 object, 2 unreliable.
        frames_B: index of the frame of each.
        intrinsics_B4: fx, fy, cx, cy in pixels.
        T_scene_cam_B44: poses, optical axes.
    """

    images_BHW3: torch.Tensor
    masks_BHW: torch.Tensor
    frames_B: torch.Tensor
    intrinsics_B4: torch.Tensor
    T_scene_cam_B44: torch.Tensor

    @property
    def visible_B(self) -> torch.Tensor:
        """Whether more than one pixel of an image is of the object."""
        return (self.masks_BHW == OBJECT).flatten(1).sum(dim=1) > 1

    def blocks(self) -> torch.Tensor:
        """Return the pixels (B, H, W) in square blocks that have something of the object."""
        height, width = self.masks_BHW.shape[1:]
        size = max(1, round(BLOCK * pixel_scale(height, width)))
        on = (self.masks_BHW > 0).float()[:, None]
        on = torch.nn.functional.max_pool2d(on, size, ceil_mode=True)
        on = on.repeat_interleave(size, dim=2).repeat_interleave(size, dim=3)
        return on[:, 0, :height, :width] > 0

    def choose_pixels(self, scores_BN: torch.Tensor, count: int) -> torch.Tensor:
        """Return distinct pixels to render (B, R), as indices along N = H W.

        At random in the blocks; beyond them only where they have too few reliable pixels, and
        unreliable ones only where nothing else is left.

        Args:
            scores_BN: uniform in [0, 1).
            count: R.
        """
        ranks = self.blocks().flatten(1).float()
        ranks = torch.where(self.masks_BHW.flatten(1) == UNRELIABLE, -1.0, ranks)
        return (ranks + scores_BN).topk(count, dim=1, sorted=False).indices

    def choose_silhouette(self, scores_BN: torch.Tensor) -> torch.Tensor:
        """Return pixels (B, G) that tell where the object is, as indices along N = H W.

        Those of the object and unreliable ones first, at random; others where these are few.
        """
        count = max(1, scores_BN.shape[1] // PIXELS_PER_SAMPLE)
        ranks = (self.masks_BHW.flatten(1) > 0).float() + 0.1 * scores_BN
        return ranks.topk(count, dim=1, sorted=False).indices

    def every_second(self) -> torch.Tensor:
        """Return every second pixel in x and y (B, G), as indices along N = H W."""
        images, height, width = self.masks_BHW.shape
        rows = torch.arange(0, height, 2, device=self.masks_BHW.device)
        columns = torch.arange(0, width, 2, device=self.masks_BHW.device)
        return (rows[:, None] * width + columns).reshape(1, -1).expand(images, -1)

    def positions(self, pixels_BN: torch.Tensor) -> torch.Tensor:
        """Return the pixel centres (B, N, 2) as (x, y)."""
        width = self.masks_BHW.shape[2]
        return torch.stack([pixels_BN % width, pixels_BN // width], dim=2).float()

    def masks_at(self, pixels_BN: torch.Tensor) -> torch.Tensor:
        """Return the masks (B, N) at pixels."""
        return self.masks_BHW.flatten(1).gather(1, pixels_BN)

    def seen_at(self, pixels_BN: torch.Tensor) -> SeenPixels:
        """Return what the cameras saw at pixels."""
        index = pixels_BN[..., None].expand(-1, -1, 3)
        colours = self.images_BHW3.flatten(1, 2).gather(1, index).float() / 127.5 - 1.0
        in_blocks = self.blocks().flatten(1).gather(1, pixels_BN)
        return SeenPixels(colours, self.masks_at(pixels_BN), in_blocks, self.visible_B)

    def rays(self, pixels_BN: torch.Tensor, T_scene_part_BP44: torch.Tensor) -> ImageRays:
        """Return the rays of pixels, with the poses of the parts."""
        fx, fy, cx, cy = self.intrinsics_B4[:, :, None].unbind(dim=1)
        x, y = self.positions(pixels_BN).unbind(dim=2)
        x, y = ((x - cx) / fx)[..., None], ((y - cy) / fy)[..., None]
        T = self.T_scene_cam_B44[:, None]
        directions = x * T[..., :3, 0] + y * T[..., :3, 1] + T[..., :3, 2]
        return ImageRays(T[:, 0, :3, 3], T[:, 0, :3, 2], directions, T_scene_part_BP44)

    def project(self, points_BN3: torch.Tensor) -> torch.Tensor:
        """Return the pixels (B, N, 2) of scene points, with gradient and always finite."""
        T = self.T_scene_cam_B44[:, None]
        offsets = points_BN3 - T[..., :3, 3]
        x, y, z = ((offsets * T[..., :3, axis]).sum(dim=2) for axis in range(3))
        fx, fy, cx, cy = self.intrinsics_B4[:, :, None].unbind(dim=1)
        z = z.clamp(min=LEAST_DEPTH)
        return torch.stack([fx * x / z + cx, fy * y / z + cy], dim=2)


def pixel_scale(height: int, width: int) -> float:
    """Return how large lengths in pixels are against images of 512 x 512."""
    return math.sqrt(height * width) / PUBLISHED_SIZE


class ImageBatchSource:
    """All training images of a video, of which batches are made.

    Args:
        images_VTHW3, masks_VTHW: as in `ImageBatch`; they stay where they are.
        intrinsics_V4, T_scene_cam_V44: of the cameras.
        background: level of all colours where the object is not, -1 to 1.
        device: of the batches.
    """

    def __init__(
        self,
        images_VTHW3: torch.Tensor,
        masks_VTHW: torch.Tensor,
        intrinsics_V4: torch.Tensor,
        T_scene_cam_V44: torch.Tensor,
        background: float,
        device: torch.device | str,
    ):
        self._images, self._masks = images_VTHW3, masks_VTHW
        self._intrinsics = intrinsics_V4.to(device, torch.float32)
        self._poses = T_scene_cam_V44.to(device, torch.float32)
        self.background = background
        self.device = torch.device(device)

    @property
    def views(self) -> int:
        """The number V of cameras."""
        return self._images.shape[0]

    @property
    def frames(self) -> int:
        """The number T of frames."""
        return self._images.shape[1]

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        return self._images.shape[2] * self._images.shape[3]

    @property
    def reliable(self) -> bool:
        """Whether no mask has an unreliable pixel."""
        return not any(bool((masks == UNRELIABLE).any()) for masks in self._masks)

    @property
    def closest_camera(self) -> float:
        """Distance of the closest camera from the scene's origin, scene units."""
        return float(self._poses[:, :3, 3].norm(dim=1).min())

    @classmethod
    def from_multiview(
        cls,
        multiview: Multiview,
        normalisation: SceneNormalisation,
        size: int = PUBLISHED_SIZE,
        device: torch.device | str = 'cpu',
    ) -> 'ImageBatchSource':
        """Read the training images of a recording.

        All get the size of the first camera's, made smaller where its longer side exceeds `size`.
        """
        views, frames = multiview.training_views, multiview.training_frames
        first = multiview.cameras[views[0]].camera
        scale = min(1.0, size / max(first.width, first.height))
        width, height = round(first.width * scale), round(first.height * scale)
        images = np.empty((len(views), len(frames), height, width, 3), np.uint8)
        masks = np.empty((len(views), len(frames), height, width), np.uint8)
        level = round(255 * multiview.background_level)
        for v, view in enumerate(views):
            for f, frame in enumerate(frames):
                masks[v, f] = _resized_mask(multiview.read_mask(view, frame), width, height)
                image = resize(multiview.read_image(view, frame), width, height)
                images[v, f] = np.rint(255.0 * image.clip(0.0, 1.0))
                images[v, f][masks[v, f] != OBJECT] = level
        rigs = [multiview.cameras[view] for view in views]
        cameras = [rig.camera.resized(width, height) for rig in rigs]
        poses = np.stack([normalisation.pose_to_scene(rig.T_world_cam) for rig in rigs])
        return cls(
            torch.from_numpy(images),
            torch.from_numpy(masks),
            torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras]),
            torch.from_numpy(poses),
            2.0 * multiview.background_level - 1.0,
            device,
        )

    def batch(self, views_B: np.ndarray, frames_B: np.ndarray) -> ImageBatch:
        """Return images of these views and frames."""
        views, frames = torch.from_numpy(views_B), torch.from_numpy(frames_B)
        return ImageBatch(
            self._images[views, frames].to(self.device),
            self._masks[views, frames].to(self.device),
            frames.to(self.device),
            self._intrinsics[views.to(self.device)],
            self._poses[views.to(self.device)],
        )


def _resized_mask(mask_HW: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return a mask at another size; a pixel with anything unreliable in it is unreliable."""
    if mask_HW.shape == (height, width):
        return mask_HW
    shares = [resize((mask_HW == v).astype(np.float32), width, height) for v in (1, 2)]
    resized = np.where(shares[0] > 0.5, OBJECT, 0)
    return np.where(shares[1] > 1e-3, UNRELIABLE, resized).astype(np.uint8)
