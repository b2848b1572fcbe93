"""The surface and colours of a moving thing: a decoder around its posed ellipsoids.

Every point is seen from the few parts that are near it.  Names: R rays, K samples on each,
M parts that matter to a ray, P parts in all.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
import math
from typing import Any, NamedTuple

import torch
from torch import nn

from posefield.articulation.decoder import DecoderConfig, PartDecoder, encode
from posefield.articulation.ellipsoid_sdf import ellipsoid_distance
from posefield.articulation.shading import Shading
from posefield.articulation.shells import RayBundle
from posefield.articulation.union import SoftUnion
from posefield.errors import BundleError, LearningError

SMALLEST_RADIUS = 0.01
# Distance of parts that do not matter to a ray, scene units: as good as infinite.
ABSENT = 10.0


@dataclass(frozen=True)
class SurfaceConfig:
    """What a surface is made of; the defaults are the paper's (Watch It Move section 3).

    Attributes:
        decoder: sizes; its largest residual is how far the surface can be from the ellipsoids.
        part_sharpness: beta at first, how sharply points belong to one part.
        union_sharpness: kappa at first; the smaller, the rounder the creases between parts.
        exact: whether distances to ellipsoids are found by Newton's method, else to first order,
            which is right on their surface and several times as fast.
        shading: whether colours depend on how a part is turned in the scene's fixed light.
        sharpness: s of the opacity, per scene unit.
        samples: K on a ray when images are rendered.
    """

    decoder: DecoderConfig = DecoderConfig()
    part_sharpness: float = 30.0
    union_sharpness: float = 50.0
    exact: bool = True
    shading: bool = False
    sharpness: float = 600.0
    samples: int = 64


class NearParts(NamedTuple):
    """The parts that matter to each of R rays (or points), up to M of them.

    Attributes:
        parts_RM: indices of parts, any where there are fewer.
        present_RM: whether it is one.
        T_scene_part_RM44: their poses; the scene may be any frame that all of them share.
    """

    parts_RM: torch.Tensor
    present_RM: torch.Tensor
    T_scene_part_RM44: torch.Tensor

    @classmethod
    def of_rays(cls, rays: RayBundle, near_RP: torch.Tensor) -> 'NearParts':
        """Gather the parts that are near to rays.

        Args:
            rays: with the poses of all parts.
            near_RP: which matter to which ray.
        """
        most = max(1, int(near_RP.sum(dim=1).max()))
        present, parts = near_RP.to(torch.int8).topk(most, dim=1)
        poses = rays.T_scene_part_RP44
        if len(poses) == 1:
            chosen = poses[0][parts]
        else:
            chosen = poses.gather(1, parts[..., None, None].expand(-1, -1, 4, 4))
        return cls(parts, present.bool(), chosen)


class SurfaceSamples(NamedTuple):
    """What is at points.

    Attributes:
        distances_RK: signed distances to the surface, negative inside.
        residuals_RK: their part that the decoder added.
        colours_RK3: RGB in [0, 1].
        parts_RK: index of the part that each point belongs to most.
    """

    distances_RK: torch.Tensor
    residuals_RK: torch.Tensor
    colours_RK3: torch.Tensor
    parts_RK: torch.Tensor


class Surface(nn.Module):
    """Ellipsoids, their union, and what a decoder adds to it.

    Args:
        radii_P3: semi-axes at first, scene units.
        config: sizes.
        generator: of the decoder's first weights; its residual begins at zero.
    """

    def __init__(self, radii_P3: torch.Tensor, config: SurfaceConfig, generator: torch.Generator):
        super().__init__()
        self.config = config
        self.raw_radii_P3 = nn.Parameter(radii_P3.detach().to(torch.float32).clone())
        self.decoder = PartDecoder(len(radii_P3), config.decoder, generator=generator)
        self.decoder.zero_residual()
        self.union = SoftUnion()
        with torch.no_grad():
            self.decoder.sharpness_weight.fill_(config.part_sharpness)
            self.union.sharpness_weight.fill_(config.union_sharpness / 10.0)
        features = len(radii_P3) * config.decoder.channels
        self.shading = Shading(features) if config.shading else None
        self.register_buffer('sharpness', torch.tensor(config.sharpness))

    @property
    def radii_P3(self) -> torch.Tensor:
        """Semi-axes of the ellipsoids, scene units."""
        return self.raw_radii_P3.clamp(min=SMALLEST_RADIUS)

    @property
    def residual(self) -> float:
        """How far the decoder can move the surface, scene units."""
        return self.config.decoder.largest_residual

    @property
    def inflation(self) -> float:
        """How far outside of the ellipsoids a crease is where three parts meet, scene units."""
        return math.log(3.0) / float(self.union.sharpness.detach())

    def forward(
        self, points_RK3: torch.Tensor, near: NearParts, *, lit: bool = True
    ) -> SurfaceSamples:
        """Look at points.

        Args:
            points_RK3: in the frame of the parts' poses.
            near: the parts that matter to them.
            lit: whether colours are as in the scene's light, for which the frame must be turned
                as the scene is; else as in the same light from everywhere.
        """
        R_RM33 = near.T_scene_part_RM44[..., :3, :3]
        offsets = points_RK3[:, :, None] - near.T_scene_part_RM44[:, None, :, :3, 3]
        local_RKM3 = torch.einsum('rkmi,rmij->rkmj', offsets, R_RM33)
        radii_RM3 = self.radii_P3[near.parts_RM]
        distance = ellipsoid_distance if self.config.exact else first_order_distance
        distances_RKM = distance(local_RKM3, radii_RM3[:, None])
        distances_RKM = torch.where(near.present_RM[:, None], distances_RKM, ABSENT)
        weights_RKM = self.decoder.weights(distances_RKM)
        features_RKF = self._features(local_RKM3, weights_RKM, near.parts_RM)
        hidden = self.decoder.layers(features_RKF)
        residuals_RK = self.decoder.residual_of(hidden)
        colours_RK3 = 0.5 + 0.5 * torch.tanh(self.decoder.colour(hidden))
        if self.shading is not None and lit:
            normals = nn.functional.normalize(local_RKM3 / radii_RM3[:, None] ** 2, dim=-1)
            gains = self.shading(features_RKF, normals, weights_RKM, R_RM33)
            colours_RK3 = colours_RK3 * gains
        elif self.shading is not None:
            colours_RK3 = colours_RK3 * self.shading.mean_gain_3
        nearest = near.parts_RM[:, None].expand_as(distances_RKM)
        return SurfaceSamples(
            self.union(distances_RKM) + residuals_RK,
            residuals_RK,
            colours_RK3,
            nearest.gather(2, distances_RKM.argmin(dim=2, keepdim=True))[..., 0],
        )

    def _features(
        self, local_RKM3: torch.Tensor, weights_RKM: torch.Tensor, parts_RM: torch.Tensor
    ) -> torch.Tensor:
        """Return every part's weighted encoding at its place, zeros at parts that are away."""
        encoded = encode(local_RKM3, self.config.decoder.octaves) * weights_RKM[..., None]
        shape = (*encoded.shape[:2], len(self.raw_radii_P3), encoded.shape[-1])
        places = parts_RM[:, None, :, None].expand_as(encoded)
        return encoded.new_zeros(shape).scatter(2, places, encoded).flatten(2)

    def to_config(self) -> dict[str, Any]:
        """Return what `from_config` takes beside the tensors, as JSON has it."""
        return {**asdict(self.config), 'parts': len(self.raw_radii_P3)}

    @classmethod
    def from_config(
        cls, values: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
    ) -> 'Surface':
        """Return a surface as `to_config` and `state_dict` described it.

        Raises:
            BundleError: when they do not belong together.
        """
        numbers = dict(values)
        try:
            radii_P3 = torch.ones(int(numbers.pop('parts')), 3)
            decoder = DecoderConfig(**numbers.pop('decoder'))
            config = SurfaceConfig(decoder=decoder, **numbers)
            surface = cls(radii_P3, config, torch.Generator())
            surface.load_state_dict(dict(tensors))
        except (KeyError, TypeError, RuntimeError, ValueError, LearningError) as error:
            reason = ' '.join(str(error).split())
            raise BundleError(f'The surface is not as its settings say: {reason}') from error
        return surface


def first_order_distance(points_3: torch.Tensor, radii_3: torch.Tensor) -> torch.Tensor:
    """Return signed distances (...) to ellipsoids, right on their surface and near it.

    k (k - 1) / |x / r^2| with k = |x / r|; not below minus the smallest radius.

    Args:
        points_3: (..., 3) in the frames of the ellipsoids.
        radii_3: (..., 3) positive, broadcast against the points.
    """
    scaled = points_3 / radii_3
    k = (scaled * scaled).sum(-1).clamp(min=1e-12).sqrt()
    gradient = scaled / radii_3
    slope = (gradient * gradient).sum(-1).clamp(min=1e-12).sqrt()
    return torch.maximum(k * (k - 1.0) / slope, -radii_3.amin(-1))
