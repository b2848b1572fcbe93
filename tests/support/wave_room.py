"""An empty room whose walls carry smooth waves: colours and features, exact and differentiable."""

import torch

from posefield.fields.rendering import view_rays
from posefield.geometry.camera import Camera
from posefield.geometry.rays import pixel_grid
from posefield.relocalization.refiners.synthesis import Synthesized, resized_maps

HALF_SIZE = (2.0, 2.0, 1.4)


class WaveRoom:
    """A box around the origin; every channel is a sum of waves in space.

    Args:
        channels: of the features; the first three, squashed, are the colours.
        seed: of the waves.
    """

    def __init__(self, channels: int = 8, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.logspace(-0.3, 0.5, 6)[:, None, None]
        directions = torch.randn(6, channels, 3, generator=generator)
        directions = directions / directions.norm(dim=2, keepdim=True)
        self._waves = 2.0 * torch.pi * directions / lengths
        self._phases = 2.0 * torch.pi * torch.rand(6, channels, generator=generator)

    def features(self, origins_N3: torch.Tensor, directions_N3: torch.Tensor) -> torch.Tensor:
        """Return the features (N, C) where rays leave the room."""
        safe = torch.where(directions_N3.abs() < 1e-9, 1e-9, directions_N3)
        walls = torch.tensor(HALF_SIZE) * safe.sign()
        depths = ((walls - origins_N3) / safe).amin(dim=1, keepdim=True)
        points = origins_N3 + depths * directions_N3
        phases = torch.einsum('nd,wcd->nwc', points, self._waves.to(points.dtype))
        return torch.sin(phases + self._phases.to(points.dtype)).mean(dim=1)


class RoomSynthesis:
    """The room seen by a camera, and a query taken at another pose: a `Synthesis`."""

    def __init__(self, room: WaveRoom, camera: Camera, T_query: torch.Tensor):
        self.camera = camera
        self._room = room
        with torch.no_grad():
            self._query = self.view(T_query.to(torch.float32))

    def view(self, T_field_cam: torch.Tensor) -> Synthesized:
        features = self._features(T_field_cam, None).T
        features = features.reshape(-1, self.camera.height, self.camera.width)
        return Synthesized(torch.sigmoid(3.0 * features[:3]), features)

    def colours(self, T_field_cam: torch.Tensor, rows_N: torch.Tensor | None) -> torch.Tensor:
        return torch.sigmoid(3.0 * self._features(T_field_cam, rows_N)[:, :3])

    def observed_features(self, height: int, width: int) -> torch.Tensor:
        return resized_maps(self._query.features_CHW, height, width)

    def observed_colours(self) -> torch.Tensor:
        return self._query.colours_3HW

    def _features(self, T_field_cam: torch.Tensor, rows_N: torch.Tensor | None) -> torch.Tensor:
        pixels = pixel_grid(self.camera.height, self.camera.width)
        pixels = pixels if rows_N is None else pixels[rows_N]
        return self._room.features(*view_rays(self.camera, T_field_cam, pixels))
