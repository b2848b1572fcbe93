"""The frame in which articulated things are learned, and the way there and back.

Scene coordinates are world coordinates moved and scaled, with no rotation, so that the thing is
about one unit in size around the origin.  Users never see them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from posefield.errors import DataError


@dataclass(frozen=True, eq=False)
class SceneNormalisation:
    """scene = (world - centre) * scale.

    Attributes:
        centre_3: the origin of the scene in the world, in world units.
        scale: scene units per world unit.

    Raises:
        DataError: for a centre or scale that is not finite, or a scale that is not positive.
    """

    centre_3: np.ndarray
    scale: float

    def __post_init__(self):
        centre = np.asarray(self.centre_3, dtype=np.float64)
        if centre.shape != (3,) or not np.isfinite(centre).all():
            raise DataError(f'A scene centre must be three finite numbers, found {centre}.')
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise DataError(f'A scene scale must be a positive number, found {self.scale}.')
        object.__setattr__(self, 'centre_3', centre)
        object.__setattr__(self, 'scale', float(self.scale))

    def point_to_scene(self, points: np.ndarray) -> np.ndarray:
        """Return world points (..., 3) in scene coordinates."""
        return (np.asarray(points, dtype=np.float64) - self.centre_3) * self.scale

    def point_to_world(self, points: np.ndarray) -> np.ndarray:
        """Return scene points (..., 3) in world coordinates."""
        return np.asarray(points, dtype=np.float64) / self.scale + self.centre_3

    def pose_to_scene(self, T_world: np.ndarray) -> np.ndarray:
        """Return poses (..., 4, 4) of frames in the world as poses in the scene, still rigid."""
        T = np.array(T_world, dtype=np.float64)
        T[..., :3, 3] = self.point_to_scene(T[..., :3, 3])
        return T

    def pose_to_world(self, T_scene: np.ndarray) -> np.ndarray:
        """Return poses (..., 4, 4) of frames in the scene as poses in the world, still rigid."""
        T = np.array(T_scene, dtype=np.float64)
        T[..., :3, 3] = self.point_to_world(T[..., :3, 3])
        return T

    def length_to_scene(self, length: float | np.ndarray) -> float | np.ndarray:
        """Return world lengths in scene units."""
        return length * self.scale

    def length_to_world(self, length: float | np.ndarray) -> float | np.ndarray:
        """Return scene lengths in world units."""
        return length / self.scale

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, as JSON has it."""
        return {'centre': self.centre_3.tolist(), 'scale': self.scale}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> 'SceneNormalisation':
        """Return what `to_dict` gave.

        Raises:
            DataError: when a key is missing or no number.
        """
        try:
            return cls(np.asarray(entry['centre'], dtype=np.float64), float(entry['scale']))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f'A scene normalisation must have a centre and a scale, found {entry!r:.80}.'
            ) from error
