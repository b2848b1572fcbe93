"""Random view synthesis of DFNet: one view near every photo, drawn anew now and then (1.5)."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class RandomViewConfig:
    """Where the views are taken.

    Published: 0.2 m, 10 degrees and 0.2 m on 7-Scenes; 3 m, 7.5 degrees and 1 m on Cambridge.

    Attributes:
        translation: largest shift along each axis, relative to the scene scale.
        rotation_deg: largest turn about each axis.
        margin: how far outside the box of the photos' centres, relative to the scene scale.
    """

    translation: float = 0.1
    rotation_deg: float = 10.0
    margin: float = 0.1


def random_view_poses(
    T_field_cam_N44: np.ndarray,
    scene_scale: float,
    config: RandomViewConfig,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return one pose (N, 4, 4) near each photo, turned about the axes of the field frame.

    Args:
        T_field_cam_N44: of the photos.
        scene_scale: typical viewing distance in field units.
        config: how near.
        generator: of the draw.
    """
    count, limit = len(T_field_cam_N44), config.rotation_deg
    angles_N3 = generator.uniform(-limit, limit, size=(count, 3))
    reach = config.translation * scene_scale
    shifts_N3 = generator.uniform(-reach, reach, size=(count, 3))
    centres_N3 = T_field_cam_N44[:, :3, 3]
    margin = config.margin * scene_scale
    low, high = centres_N3.min(axis=0) - margin, centres_N3.max(axis=0) + margin
    turns_N33 = Rotation.from_euler('xyz', angles_N3, degrees=True).as_matrix()
    poses_N44 = np.array(T_field_cam_N44, dtype=np.float64)
    poses_N44[:, :3, :3] = turns_N33 @ poses_N44[:, :3, :3]
    poses_N44[:, :3, 3] = np.clip(centres_N3 + shifts_N3, low, high)
    return poses_N44
