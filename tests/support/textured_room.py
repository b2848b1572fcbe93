"""An empty room with smooth procedural texture, seen exactly: images, depths and poses."""

import numpy as np

from posefield.geometry.camera import Camera

HALF_SIZE = np.array([2.0, 2.0, 1.4])
WAVES = 60


class TexturedRoom:
    """A box around the origin, z up; the walls carry a sum of random waves in each colour."""

    def __init__(self, seed: int = 0, finest: float = 0.25):
        """Draw the texture.

        Args:
            seed: of the waves.
            finest: shortest wavelength in metres.
        """
        generator = np.random.default_rng(seed)
        lengths = np.geomspace(finest, 3.0, WAVES)
        directions = generator.normal(size=(WAVES, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self._waves = 2.0 * np.pi * directions / lengths[:, None]
        self._phases = generator.uniform(0.0, 2.0 * np.pi, size=WAVES)
        self._amplitudes = generator.normal(size=(WAVES, 3)) * 0.14 * lengths[:, None] ** 0.3

    def colours(self, points_N3: np.ndarray) -> np.ndarray:
        """Return RGB (N, 3) in [0, 1] of points on the walls."""
        waves = np.sin(points_N3 @ self._waves.T + self._phases)
        return 1.0 / (1.0 + np.exp(-2.0 * waves @ self._amplitudes))

    def view(self, camera: Camera, T_map_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the image (H, W, 3) float32, antialiased, and the depth (H, W) of the centres."""
        image = np.zeros((camera.height, camera.width, 3))
        for shift in ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)):
            points, _ = self._hits(camera, T_map_cam, shift)
            image += 0.25 * self.colours(points).reshape(image.shape)
        _, depths = self._hits(camera, T_map_cam, (0.0, 0.0))
        return image.astype(np.float32), depths.reshape(image.shape[:2])

    def _hits(self, camera, T_map_cam, shift) -> tuple[np.ndarray, np.ndarray]:
        """Return where the rays of all pixels leave the room (N, 3), and their depths (N,)."""
        x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        pixels = np.stack([x, y], axis=-1).reshape(-1, 2) + shift
        directions = camera.unproject(pixels) @ T_map_cam[:3, :3].T
        safe = np.where(np.abs(directions) < 1e-12, 1e-12, directions)
        depths = ((np.sign(safe) * HALF_SIZE - T_map_cam[:3, 3]) / safe).min(axis=1)
        return T_map_cam[:3, 3] + depths[:, None] * directions, depths


def look_at(centre: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return T_map_cam (4, 4) of a level camera that sees the target in its middle."""
    z = np.subtract(target, centre, dtype=np.float64)
    z /= np.linalg.norm(z)
    x = np.cross([0.0, 0.0, -1.0], z)
    x /= np.linalg.norm(x)
    T = np.eye(4)
    T[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    T[:3, 3] = centre
    return T


def pinhole(width: int, height: int, focal: float) -> Camera:
    """Return a camera with the principal point in the middle."""
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
