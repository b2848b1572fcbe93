"""Colour and the last detail of the surface from where a point is in all parts (Eq. 4).

A point is encoded in the frame of every part, and the encodings are weighed by how near the
parts are.  So what is learned about a part moves with it, and nothing else is known: no time,
no pose and no direction of view.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from posefield.errors import LearningError
from posefield.fields.initialization import seeded

# w_beta at first; the sharpness of the weights softplus(w_beta) is then 30.
FIRST_SHARPNESS = 30.0
SLOPE = 0.2


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder.

    Attributes:
        octaves: frequencies of the encoding, 1, 2, 4 ...
        width: of the layers.
        depth: number of layers before the heads; the first has no activation.
        largest_residual: bound on the residual distance, scene units.

    Raises:
        LearningError: for numbers that make no network.
    """

    octaves: int = 6
    width: int = 256
    depth: int = 8
    largest_residual: float = 0.02

    def __post_init__(self):
        for name in ('octaves', 'width', 'depth', 'largest_residual'):
            if not getattr(self, name) > 0:
                raise LearningError(
                    f'{name} of a decoder must be positive, found {getattr(self, name)}.'
                )

    @property
    def channels(self) -> int:
        """Numbers that encode a point in one part."""
        return 6 * self.octaves


class Decoded(NamedTuple):
    """What a decoder says about points.

    Attributes:
        colours_N3: in [-1, 1].
        residuals_N: to add to the distance, scene units.
    """

    colours_N3: torch.Tensor
    residuals_N: torch.Tensor


def encode(points_NP3: torch.Tensor, octaves: int) -> torch.Tensor:
    """Return cos 2^k x and sin 2^k x (N, P, 6 octaves), without a factor of pi and without x."""
    powers = 2.0 ** torch.arange(octaves, dtype=points_NP3.dtype, device=points_NP3.device)
    angles = (points_NP3[..., None, :] * powers[:, None]).flatten(-2)
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)


class PartDecoder(nn.Module):
    """Decodes points near posed ellipsoids.

    Args:
        parts: P.
        config: sizes.
        generator: of the first weights.
    """

    def __init__(
        self, parts: int, config: DecoderConfig = DecoderConfig(), *, generator: torch.Generator
    ):
        super().__init__()
        self.parts, self.config = parts, config
        self.sharpness_weight = nn.Parameter(torch.tensor(FIRST_SHARPNESS))
        width = config.width
        with seeded(generator):
            layers: list[nn.Module] = [nn.Linear(config.channels * parts, width)]
            for _ in range(config.depth - 1):
                layers += [nn.Linear(width, width), nn.LeakyReLU(SLOPE)]
            self.layers = nn.Sequential(*layers)
            self.residual = nn.Linear(width, 1)
            self.colour = nn.Linear(width, 3)

    def zero_residual(self) -> None:
        """Start on the union itself: the residual is zero everywhere until it is learned."""
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)

    @property
    def sharpness(self) -> torch.Tensor:
        """How fast the weight of a part falls with its distance, per scene unit."""
        return nn.functional.softplus(self.sharpness_weight)

    def weights(self, distances_NP: torch.Tensor) -> torch.Tensor:
        """Return how much each part says about points, (N, P), summing to 1."""
        return torch.softmax(-self.sharpness * distances_NP, dim=-1)

    def hidden(self, points_NP3: torch.Tensor, distances_NP: torch.Tensor) -> torch.Tensor:
        """Return the last hidden layer (N, width), which both heads read."""
        encoded = encode(points_NP3, self.config.octaves)
        weighted = self.weights(distances_NP)[..., None] * encoded
        return self.layers(weighted.flatten(-2))

    def forward(self, points_NP3: torch.Tensor, distances_NP: torch.Tensor) -> Decoded:
        """Decode points.

        Args:
            points_NP3: in the frame of every part, scene units.
            distances_NP: to the ellipsoid of every part.
        """
        hidden = self.hidden(points_NP3, distances_NP)
        return Decoded(torch.tanh(self.colour(hidden)), self.residual_of(hidden))

    def residuals(self, points_NP3: torch.Tensor, distances_NP: torch.Tensor) -> torch.Tensor:
        """Return the residuals (N,) alone; see `forward`."""
        return self.residual_of(self.hidden(points_NP3, distances_NP))

    def residual_of(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the residuals (N,) of the last hidden layer."""
        return self.config.largest_residual * torch.tanh(self.residual(hidden)[..., 0])
