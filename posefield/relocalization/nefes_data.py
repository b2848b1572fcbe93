"""What a feature synthesizer is trained on: pixels, their rays and their feature labels.

All of it is at the small size at which views are rendered later.  Colours, masks and features
are brought to it in one way, bilinear between pixel centres (nefes.md sections 4.1 and 10.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from posefield.data.scene import Frame
from posefield.errors import DataError
from posefield.features.extractors import DenseExtractor
from posefield.fields.act import luminance_histogram
from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.camera import Camera
from posefield.geometry.images import resize, undistort
from posefield.relocalization.photos import SizedImage, to_u8

# Host memory for feature labels: 1700 photos of 60x80 pixels and 128 channels.
LABEL_BYTES = 2 << 30


@dataclass(frozen=True)
class NefesPhoto:
    """One training photo at the size that features are extracted at.

    Attributes:
        name: of the frame.
        T_map_cam: (4, 4).
        image_u8: (H, W, 3).
        camera: pinhole of that size.
        static_HW: bool, whether a pixel shows the static place; None where all do.
    """

    name: str
    T_map_cam: np.ndarray
    image_u8: np.ndarray
    camera: Camera
    static_HW: np.ndarray | None = None


def prepare_nefes_photo(frame: Frame, short_side: int) -> NefesPhoto:
    """Read one frame and its mask, undistorted and reduced to a short side."""
    sized = SizedImage(*undistort(frame.read_image(), frame.camera)).with_short_side(short_side)
    static = None
    if frame.mask_path is not None:
        mask, _ = undistort(frame.read_mask().astype(np.float32), frame.camera)
        static = resize(mask, sized.camera.width, sized.camera.height) > 0.5
    return NefesPhoto(frame.name, frame.T_map_cam, to_u8(sized.image_HW3), sized.camera, static)


class FeatureLabels:
    """Features of the photos at their small size, computed when first asked for and kept.

    Args:
        images_u8: (H, W, 3) each.
        cameras: of the small size.
        extractor: frozen.
        device: where it computes.
        limit_bytes: of what is kept; beyond it labels are computed again every time.
    """

    def __init__(
        self,
        images_u8: Sequence[np.ndarray],
        cameras: Sequence[Camera],
        extractor: DenseExtractor,
        device: torch.device,
        limit_bytes: int,
    ):
        self.channels = extractor.channels
        self._images_u8, self._cameras = images_u8, cameras
        self._extractor = extractor
        self._device = device
        self._bytes_left = limit_bytes
        self._kept: dict[int, torch.Tensor] = {}

    def of(self, photo: int) -> torch.Tensor:
        """Return the labels (h * w, C) of a photo, float16 on the CPU."""
        if photo in self._kept:
            return self._kept[photo]
        labels_PC = self._extract(photo)
        size = labels_PC.numel() * labels_PC.element_size()
        if size <= self._bytes_left:
            self._bytes_left -= size
            self._kept[photo] = labels_PC
        return labels_PC

    @torch.no_grad()
    def _extract(self, photo: int) -> torch.Tensor:
        image = image_tensor(self._images_u8[photo], self._device)
        labels = at_size(self._extractor(image), self._cameras[photo])
        return labels[0].flatten(1).T.to('cpu', torch.float16).contiguous()


class NefesViews:
    """All training photos at their small size, and the cameras that saw them (field frame)."""

    def __init__(
        self,
        photos: Sequence[NefesPhoto],
        transform: SceneTransform,
        short_side: int,
        extractor: DenseExtractor,
        device: torch.device,
        label_bytes: int = LABEL_BYTES,
    ):
        """Reduce the photos.

        Args:
            photos: with poses.
            transform: to the field frame, with the range of the rays.
            short_side: of the small size; a smaller photo keeps its own.
            extractor: of the feature labels; frozen.
            device: where batches are made.
            label_bytes: of host memory for feature labels.

        Raises:
            DataError: when a photo has no static pixel left at the small size.
        """
        self.transform = transform
        self.device = device
        self.cameras = [_reduced(photo.camera, short_side) for photo in photos]
        self.labels = FeatureLabels(
            [photo.image_u8 for photo in photos], self.cameras, extractor, device, label_bytes
        )
        # Which pixels (h * w,) of each photo are static.
        self.static: list[np.ndarray] = []
        small, histograms = [], []
        for photo, camera in zip(photos, self.cameras, strict=True):
            image = image_tensor(photo.image_u8, device)
            colours_P3 = at_size(image, camera)[0].flatten(1).T
            small.append((colours_P3 * 255.0).round().to(torch.uint8))
            histograms.append(luminance_histogram(image))
            self.static.append(_static_pixels(photo, camera))
        self._colours_P3 = torch.cat(small)
        self.histograms_N10 = torch.cat(histograms)
        self._widths = torch.tensor([camera.width for camera in self.cameras], device=device)
        counts = torch.tensor([len(pixels) for pixels in small], device=device)
        self._starts = torch.cumsum(counts, dim=0) - counts
        self._intrinsics_N4 = torch.tensor(
            [[c.fx, c.fy, c.cx, c.cy] for c in self.cameras], dtype=torch.float32, device=device
        )
        poses = transform.camera_to_field(np.stack([photo.T_map_cam for photo in photos]))
        self.T_field_cam_N44 = torch.tensor(poses, dtype=torch.float32, device=device)

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.cameras)

    def colours(self, photos_R: torch.Tensor, pixels_R: torch.Tensor) -> torch.Tensor:
        """Return RGB (R, 3) in [0, 1] of flat pixel indices of photos."""
        return self._colours_P3[self._starts[photos_R] + pixels_R].to(torch.float32) / 255.0

    def features(self, photos_R: torch.Tensor, pixels_R: torch.Tensor) -> torch.Tensor:
        """Return feature labels (R, C) of flat pixel indices of photos.

        The indices are on the CPU, where the labels are kept; the result is on the device.
        """
        labels = torch.empty(len(photos_R), self.labels.channels, dtype=torch.float16)
        for photo in photos_R.unique().tolist():
            mine = photos_R == photo
            labels[mine] = self.labels.of(photo)[pixels_R[mine]]
        return labels.to(self.device).to(torch.float32)

    def rays(
        self, photos_R: torch.Tensor, pixels_R: torch.Tensor, T_field_cam_R44: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return origins and directions (R, 3) in the field frame; a distance is a depth."""
        width = self._widths[photos_R]
        xy = torch.stack([pixels_R % width, pixels_R // width], dim=1).to(torch.float32)
        intrinsics = self._intrinsics_N4[photos_R]
        xy = (xy - intrinsics[:, 2:]) / intrinsics[:, :2]
        rays = torch.cat([xy, torch.ones_like(xy[:, :1])], dim=1)
        directions = torch.einsum('rij,rj->ri', T_field_cam_R44[:, :3, :3], rays)
        return T_field_cam_R44[:, :3, 3], directions


def image_tensor(image_u8: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return an (H, W, 3) uint8 image as (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image_u8).to(device).permute(2, 0, 1)[None].to(torch.float32) / 255.0


def at_size(maps_BCHW: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Return maps (B, C, h, w) at the size of a camera, bilinear between pixel centres."""
    size = (camera.height, camera.width)
    return F.interpolate(maps_BCHW, size=size, mode='bilinear', align_corners=False)


def _reduced(camera: Camera, short_side: int) -> Camera:
    smaller = short_side < min(camera.width, camera.height)
    return camera.with_short_side(short_side) if smaller else camera


def _static_pixels(photo: NefesPhoto, camera: Camera) -> np.ndarray:
    """Return which pixels (h * w,) of the small size are static."""
    if photo.static_HW is None:
        return np.ones(camera.width * camera.height, dtype=bool)
    mask = torch.from_numpy(photo.static_HW.astype(np.float32))[None, None]
    static = at_size(mask, camera).numpy().reshape(-1) > 0.5
    if not static.any():
        raise DataError(
            f'The mask of {photo.name} leaves no static pixel at {camera.width}x{camera.height}.'
        )
    return static
