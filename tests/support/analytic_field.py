"""Fields that are known in closed form, rendered as a GridField is."""

import torch

from posefield.fields.grid_field import GridFieldConfig
from posefield.fields.proposal_rendering import render_proposal_rays
from posefield.fields.radiance import RayRender


class AnalyticField:
    """Override `densities`, `colours_at` and, for features, `features_at`."""

    def __init__(self, samples: int = 64):
        self.config = GridFieldConfig(proposal_samples=samples, samples=samples)
        self.proposal = self
        self._device_tag = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def parameters(self):
        return iter([self._device_tag])

    def densities(self, points_N3: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def colours_at(self, points_N3: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def features_at(self, points_N3: torch.Tensor) -> torch.Tensor | None:
        return None

    def encode(self, points_N3: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.densities(points_N3), points_N3

    def colours(self, points_N3: torch.Tensor, directions_N3: torch.Tensor) -> torch.Tensor:
        norms = directions_N3.norm(dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms))
        return self.colours_at(points_N3)

    def feature_basis(
        self, points_N3: torch.Tensor, directions_N3: torch.Tensor
    ) -> torch.Tensor | None:
        return self.features_at(points_N3)

    def features(self, sums_RC: torch.Tensor, weights_R: torch.Tensor) -> torch.Tensor:
        return sums_RC

    def render_rays(
        self, origins_R3, directions_R3, near, far, generator=None, *, transient=True
    ) -> RayRender:
        return render_proposal_rays(self, origins_R3, directions_R3, near, far, generator)
