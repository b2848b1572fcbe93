"""MlpField: the published field of NeFeS, a coarse and a fine network (section 2)."""

from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import nn
import torch.nn.functional as F

from posefield.fields.encodings import frequency_encoding
from posefield.fields.initialization import seeded
from posefield.fields.mlp_rendering import render_mlp_rays
from posefield.fields.pieces import render_in_pieces
from posefield.fields.radiance import RayRender

# Rays that a CPU renders at once: the activations of more do not fit into its caches, which
# costs more than rendering twice does where gradients are wanted.
CPU_RAYS = 128


@dataclass(frozen=True)
class MlpFieldConfig:
    """Sizes of an MlpField; the defaults are the published ones.

    Attributes:
        width, depth: of the trunk; the heads are half as wide.
        skip: index of the trunk's layer that is given the position again.
        position_levels, direction_levels: of the frequency encodings.
        coarse_samples, fine_samples: per ray; the fine network is asked at both.
        features: channels of the feature head; 0 for none.
        transient: whether the fine network has a head for what only some photos show.
        detach_feature_weights: whether features are composited with weights that carry no
            gradient, so that they never shape the density (section 2.4).
    """

    width: int = 128
    depth: int = 8
    skip: int = 4
    position_levels: int = 10
    direction_levels: int = 4
    coarse_samples: int = 64
    fine_samples: int = 64
    features: int = 128
    transient: bool = True
    detach_feature_weights: bool = True

    kind: ClassVar[str] = 'mlp'

    def to_dict(self) -> dict:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> 'MlpFieldConfig':
        """Return the configuration that `to_dict` described."""
        return cls(**values)


@dataclass(frozen=True)
class TransientSamples:
    """What the transient head says of samples: densities and betas (R, S), RGB (R, S, 3)."""

    densities: torch.Tensor
    colours: torch.Tensor
    betas: torch.Tensor


class RadianceMlp(nn.Module):
    """One network from positions and directions to density, colour and features.

    The coarse network has the layers of the fine one, as published, so it has feature outputs
    that are never asked for.
    """

    def __init__(self, config: MlpFieldConfig, transient: bool):
        """Draw first values from torch's global generator.

        Args:
            config: sizes.
            transient: whether there is a transient head.
        """
        super().__init__()
        self.config = config
        position, direction = 3 + 6 * config.position_levels, 3 + 6 * config.direction_levels
        width, half = config.width, config.width // 2
        inputs = [position] + [width] * (config.depth - 1)
        inputs[config.skip] += position if config.skip else 0
        self.trunk = nn.ModuleList(nn.Linear(size, width) for size in inputs)
        self.density = nn.Linear(width, 1)
        self.bottleneck = nn.Linear(width, width)
        self.static_hidden = nn.Linear(width + direction, half)
        self.static_out = nn.Linear(half, 3 + config.features)
        self.has_transient = transient
        if transient:
            self.transient_in = nn.Linear(width + direction, half)
            self.transient_hidden = nn.ModuleList(nn.Linear(half, half) for _ in range(2))
            self.transient_density = nn.Linear(half, 1)
            self.transient_colour = nn.Linear(half, 3)
            self.transient_beta = nn.Linear(half, 1)

    def trunk_codes(self, points_RS3: torch.Tensor) -> torch.Tensor:
        """Return the codes (R, S, width) of field-frame points."""
        encoded = frequency_encoding(points_RS3, self.config.position_levels)
        codes = encoded
        for index, layer in enumerate(self.trunk):
            if index and index == self.config.skip:
                codes = torch.cat([encoded, codes], dim=-1)
            codes = F.relu(layer(codes))
        return codes

    def densities(self, codes_RSW: torch.Tensor) -> torch.Tensor:
        """Return static densities (R, S)."""
        return F.softplus(self.density(codes_RSW)[..., 0])

    def heads(
        self, codes_RSW: torch.Tensor, directions_R3: torch.Tensor, transient: bool
    ) -> tuple[torch.Tensor, TransientSamples | None]:
        """Return the static basis (R, S, width / 2), and the transient samples if asked for.

        Args:
            codes_RSW: of the trunk.
            directions_R3: unit view directions of the rays.
            transient: whether the transient head is asked, where there is one.
        """
        view = frequency_encoding(directions_R3, self.config.direction_levels)
        basis = F.relu(self._after_bottleneck(self.static_hidden, codes_RSW, view))
        if not (transient and self.has_transient):
            return basis, None
        hidden = F.relu(self._after_bottleneck(self.transient_in, codes_RSW, view))
        for layer in self.transient_hidden:
            hidden = F.relu(layer(hidden))
        return basis, TransientSamples(
            densities=F.softplus(self.transient_density(hidden)[..., 0]),
            colours=torch.sigmoid(self.transient_colour(hidden)),
            betas=F.softplus(self.transient_beta(hidden)[..., 0]),
        )

    def _after_bottleneck(
        self, layer: nn.Linear, codes_RSW: torch.Tensor, view_RD: torch.Tensor
    ) -> torch.Tensor:
        """Return layer([bottleneck(codes), view]), (R, S, width / 2).

        The bottleneck has no activation, so both matrices are multiplied once for all samples;
        and what comes from the view is the same along a ray.
        """
        width = self.config.width
        of_codes, of_view = layer.weight[:, :width], layer.weight[:, width:]
        constant = F.linear(view_RD, of_view, layer.bias) + of_codes @ self.bottleneck.bias
        return F.linear(codes_RSW, of_codes @ self.bottleneck.weight) + constant[:, None]

    def colours(self, basis_RSH: torch.Tensor) -> torch.Tensor:
        """Return static colours (R, S, 3), which are not confined to [0, 1]."""
        return F.linear(basis_RSH, self.static_out.weight[:3], self.static_out.bias[:3])

    def features(self, basis_RH: torch.Tensor, weights_R: torch.Tensor) -> torch.Tensor:
        """Return features (R, C) of weighted sums of the basis and the sums of the weights."""
        weight, bias = self.static_out.weight[3:], self.static_out.bias[3:]
        return F.linear(basis_RH, weight) + weights_R[:, None] * bias


class MlpField(nn.Module):
    """The published field: nothing is contracted, rays end at `far`.

    Its static colours are raw: sigmoid(K c + b) of ACT makes them colours.
    """

    kind: ClassVar[str] = MlpFieldConfig.kind
    raw_colours: ClassVar[bool] = True

    def __init__(self, config: MlpFieldConfig, generator: torch.Generator):
        super().__init__()
        self.config = config
        with seeded(generator):
            self.coarse = RadianceMlp(config, transient=False)
            self.fine = RadianceMlp(config, transient=config.transient)

    def render_rays(
        self,
        origins_R3: torch.Tensor,
        directions_R3: torch.Tensor,
        near: float,
        far: float,
        generator: torch.Generator | None = None,
        *,
        transient: bool = True,
    ) -> RayRender:
        """Render rays of the field frame; see `rendering.render_rays`."""

        def render(origins_R3: torch.Tensor, directions_R3: torch.Tensor) -> RayRender:
            return render_mlp_rays(
                self, origins_R3, directions_R3, near, far, generator, transient=transient
            )

        in_pieces = generator is None and origins_R3.device.type == 'cpu'
        size = CPU_RAYS if in_pieces else len(origins_R3)
        return render_in_pieces(render, origins_R3, directions_R3, size)
