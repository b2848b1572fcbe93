"""Keyframes: photos with depth, whose lifted pixels are what a query is aligned to."""

from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from posefield.errors import BundleError
from posefield.features.blur import NO_BLUR, Blur, estimate_blur, power_spectrum
from posefield.features.filters import image_gradients
from posefield.fields.radiance import RadianceField
from posefield.fields.rendering import render_view
from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.camera import Camera
from posefield.geometry.images import to_float_rgb
from posefield.geometry.rays import camera_rays, pixel_grid
from posefield.relocalization.photos import Photo, SizedImage
from posefield.relocalization.refiners.alignment import SourcePoints, masked_blur

JPEG_QUALITY = 92
# Depth uncertainty, relative to the depth, at which a pixel has half its weight.
HALF_WEIGHT_SIGMA = 0.03
MAX_DEPTH_STEP = 0.1
MIN_OPACITY = 0.5
# Blurs are measured at this size, against so many keyframes.
BLUR_SHORT_SIDE = 240
BLUR_NEIGHBOURS = 3
# Points cached at a time, in keyframes times alignment rounds.
CACHE_SIZE = 256


@dataclass(frozen=True)
class Keyframe:
    """One photo of the map.

    Attributes:
        T_field_cam: (4, 4) float64.
        camera: pinhole of the stored image.
        jpeg: the encoded image.
        depths_hw: float16 depth of a reduced image, field units.
        trust_hw: uint8, 255 where the depth can be relied on, 0 where it is unknown.
    """

    T_field_cam: np.ndarray
    camera: Camera
    jpeg: np.ndarray
    depths_hw: np.ndarray
    trust_hw: np.ndarray

    def image(self) -> SizedImage:
        """Return the stored image.

        Raises:
            BundleError: when it does not decode to its camera's size.
        """
        decoded = cv2.imdecode(self.jpeg, cv2.IMREAD_COLOR)
        size = (self.camera.width, self.camera.height)
        if decoded is None or (decoded.shape[1], decoded.shape[0]) != size:
            raise BundleError(
                f'A keyframe image of the map does not decode to {size[0]}x{size[1]}; '
                'the map is damaged.'
            )
        return SizedImage(to_float_rgb(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)), self.camera)


def encode_jpeg(image_u8: np.ndarray) -> np.ndarray:
    """Return an RGB uint8 image as JPEG bytes (N,) uint8."""
    _, encoded = cv2.imencode(
        '.jpg',
        cv2.cvtColor(image_u8, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
    )
    return encoded.reshape(-1)


def depth_trust(
    depths_HW: torch.Tensor, sigmas_HW: torch.Tensor, opacities_HW: torch.Tensor
) -> torch.Tensor:
    """Return weights (H, W) in [0, 1]: low for smeared depth, 0 at depth edges and holes."""
    steps = torch.stack(image_gradients(depths_HW[None, None])).abs().amax(dim=0)[0, 0]
    known = (steps < MAX_DEPTH_STEP * depths_HW) & (opacities_HW > MIN_OPACITY)
    relative = sigmas_HW / depths_HW.clamp(min=1e-6)
    return known.to(torch.float32) / (1.0 + (relative / HALF_WEIGHT_SIGMA) ** 2)


def lift_pixels(
    camera: Camera, T_field_cam: torch.Tensor, depths_HW: torch.Tensor
) -> torch.Tensor:
    """Return the field-frame points (H*W, 3) of all pixels of a pinhole view."""
    pixels = pixel_grid(camera.height, camera.width, depths_HW.device)
    points = camera_rays(camera, pixels) * depths_HW.reshape(-1, 1)
    return points @ T_field_cam[:3, :3].T + T_field_cam[:3, 3]


def render_keyframe(
    photo: Photo, field: RadianceField, transform: SceneTransform, short_side: int
) -> Keyframe:
    """Return a training photo with the depth that the field has for it.

    Args:
        photo: with its keyframe image.
        field: learned.
        transform: between map and field frame.
        short_side: of the depth map.
    """
    device = next(iter(field.parameters())).device
    T_field_cam = transform.camera_to_field(photo.T_map_cam)
    pose = torch.tensor(T_field_cam, dtype=torch.float32, device=device)
    camera = photo.keyframe_camera
    if short_side < min(camera.width, camera.height):
        camera = camera.with_short_side(short_side)
    view = render_view(field, camera, pose, transform.near, transform.far)
    trust = depth_trust(view.depths_HW, view.depth_sigmas_HW, view.opacities_HW)
    return Keyframe(
        T_field_cam=T_field_cam,
        camera=photo.keyframe_camera,
        jpeg=encode_jpeg(photo.keyframe_u8),
        depths_hw=view.depths_HW.cpu().numpy().astype(np.float16),
        trust_hw=(trust * 255.0).round().to(torch.uint8).cpu().numpy(),
    )


class KeyframeSet:
    """The keyframes of a map, lifted on demand."""

    def __init__(self, keyframes: list[Keyframe], extractor, scene_scale: float, device: str):
        """Keep the keyframes.

        Args:
            keyframes: of the map.
            extractor: dense features.
            scene_scale: in field units; this far counts like turning 60 degrees.
            device: where points are made.
        """
        self.keyframes = keyframes
        self._extractor = extractor
        self._scale = scene_scale
        self._device = device
        poses = np.stack([keyframe.T_field_cam for keyframe in keyframes])
        self._centres, self._axes = poses[:, :3, 3], poses[:, :3, 2]
        self._cache: OrderedDict[tuple, SourcePoints] = OrderedDict()
        self._spectra: OrderedDict[tuple, np.ndarray] = OrderedDict()

    def nearest(
        self, T_field_cam: np.ndarray, count: int, excluded: frozenset[int] = frozenset()
    ) -> list[int]:
        """Return the keyframes closest in position and direction, best first."""
        cost = self._distances(T_field_cam)
        return [int(i) for i in np.argsort(cost, kind='stable') if int(i) not in excluded][:count]

    def distance(self, T_field_cam: np.ndarray, excluded: frozenset[int] = frozenset()) -> float:
        """Return how far a pose is from the nearest keyframe.

        The unit is the viewing distance, and turning by 60 degrees counts as much.
        """
        cost = self._distances(T_field_cam)
        cost[sorted(excluded)] = np.inf
        return float(cost.min())

    def _distances(self, T_field_cam: np.ndarray) -> np.ndarray:
        distances = np.linalg.norm(self._centres - T_field_cam[:3, 3], axis=1) / self._scale
        cosines = np.clip(self._axes @ T_field_cam[:3, 2], -1.0, 1.0)
        return distances + np.arccos(cosines) / np.deg2rad(60.0)

    def blur_of(
        self,
        query: SizedImage,
        T_field_cam: np.ndarray,
        excluded: frozenset[int] = frozenset(),
    ) -> Blur:
        """Return how a query is blurred, against the keyframes nearest to a pose.

        Args:
            query: of any size.
            T_field_cam: (4, 4), good enough to find keyframes that show much the same.
            excluded: keyframes not to look at.
        """
        chosen = self.nearest(T_field_cam, BLUR_NEIGHBOURS, excluded)
        if not chosen:
            return NO_BLUR
        query = query.with_short_side(BLUR_SHORT_SIDE)
        keyframes = [self.keyframes[index].camera for index in chosen]
        sizes = [camera.with_short_side(BLUR_SHORT_SIDE) for camera in keyframes]
        focal_px = min(query.camera.fx, *(camera.fx for camera in sizes))
        spectra = [self._spectrum(index, focal_px) for index in chosen]
        return estimate_blur(spectrum_at(query, focal_px), spectra, focal_px)

    def _spectrum(self, index: int, focal_px: float) -> np.ndarray:
        key = (index, round(focal_px, 3))
        if key not in self._spectra:
            self._spectra[key] = spectrum_at(self.keyframes[index].image(), focal_px)
            if len(self._spectra) > CACHE_SIZE:
                self._spectra.popitem(last=False)
        self._spectra.move_to_end(key)
        return self._spectra[key]

    def points(
        self, index: int, short_side: int, sigma_px: float, blur: Blur, count: int
    ) -> SourcePoints:
        """Return the most telling pixels of a keyframe, lifted to field-frame points.

        Args:
            index: of the keyframe.
            short_side: size at which features are taken.
            sigma_px: blur of the features, as for the query.
            blur: of the image, to match a blurred query.
            count: at most this many, drawn by gradient energy and depth trust.
        """
        key = (index, short_side, sigma_px, blur, count)
        if key not in self._cache:
            self._cache[key] = self._lift(index, short_side, sigma_px, blur, count)
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _lift(self, index, short_side, sigma_px, blur, count) -> SourcePoints:
        keyframe = self.keyframes[index]
        sized = keyframe.image().with_short_side(short_side)
        blurred = torch.from_numpy(blur.applied(sized.image_HW3, sized.camera.fx))
        image = blurred.to(self._device).permute(2, 0, 1)[None]
        whole = torch.ones_like(image[:, :1])
        features = masked_blur(self._extractor(image), whole, sigma_px)
        energy = sum((g**2).sum(dim=1) for g in image_gradients(features)).reshape(-1)
        depths, trust = (
            enlarged(values, sized.camera, self._device)
            for values in (keyframe.depths_hw.astype(np.float32), keyframe.trust_hw / 255.0)
        )
        weights = trust.reshape(-1)
        chosen = _spread_choice(energy * weights, count, seed=index)
        T_field_cam = torch.tensor(keyframe.T_field_cam, dtype=torch.float32, device=self._device)
        points = lift_pixels(sized.camera, T_field_cam, depths)
        flat = features[0].reshape(features.shape[1], -1).T
        return SourcePoints(points[chosen], flat[chosen].contiguous(), weights[chosen])


def enlarged(values_hw: np.ndarray, camera: Camera, device: torch.device | str) -> torch.Tensor:
    """Return a reduced map at the camera's size (half-pixel convention)."""
    values = torch.tensor(np.asarray(values_hw, dtype=np.float32), device=device)
    return F.interpolate(
        values[None, None],
        size=(camera.height, camera.width),
        mode='bilinear',
        align_corners=False,
    )[0, 0]


def _spread_choice(importance_N: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Draw `count` rows without replacement, likelier where important; the same every time."""
    positive = int((importance_N > 0).sum())
    if positive <= count:
        return torch.nonzero(importance_N > 0)[:, 0]
    generator = torch.Generator(importance_N.device).manual_seed(seed)
    return torch.multinomial(importance_N, count, replacement=False, generator=generator)


def spectrum_at(sized: SizedImage, focal_px: float) -> np.ndarray:
    """Return the power spectrum of an image reduced to a focal length."""
    camera = sized.camera
    share = focal_px / camera.fx
    if share < 0.98:
        sized = sized.with_short_side(max(2, round(share * min(camera.width, camera.height))))
    return power_spectrum(cv2.cvtColor(sized.image_HW3, cv2.COLOR_RGB2GRAY))
