"""Random view synthesis: the field shows what poses between the photos look like.

The data augmentation of DFNet (nefes.md section 1.5), with the ranges taken from the cameras
and depths of the map instead of a table.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation
import torch

from posefield.fields.radiance import RadianceField
from posefield.fields.rendering import render_view
from posefield.fields.scene_transform import SceneTransform
from posefield.geometry.camera import Camera


@dataclass(frozen=True)
class SynthesisConfig:
    """Where random views are taken.

    Attributes:
        translation: largest shift, relative to the scene scale.
        rotation_deg: largest turn about each axis.
    """

    translation: float = 0.15
    rotation_deg: float = 12.0


@dataclass(frozen=True)
class ReferenceViews:
    """Small posed images: photos or renders.

    Attributes:
        images_NHW3: uint8.
        T_field_cam_N44: float64.
    """

    images_NHW3: np.ndarray
    T_field_cam_N44: np.ndarray


def random_poses(
    T_field_cam_N44: np.ndarray,
    count: int,
    scene_scale: float,
    config: SynthesisConfig,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return poses (count, 4, 4) scattered around training poses.

    Centres stay inside the training cameras' bounding box, widened by the largest shift.
    """
    reach = config.translation * scene_scale
    centres = T_field_cam_N44[:, :3, 3]
    low, high = centres.min(axis=0) - reach, centres.max(axis=0) + reach
    poses = T_field_cam_N44[generator.integers(len(T_field_cam_N44), size=count)].copy()
    shifts = generator.uniform(-reach, reach, size=(count, 3))
    poses[:, :3, 3] = np.clip(poses[:, :3, 3] + shifts, low, high)
    limit = np.deg2rad(config.rotation_deg)
    turns = Rotation.from_rotvec(generator.uniform(-limit, limit, size=(count, 3)))
    poses[:, :3, :3] = poses[:, :3, :3] @ turns.as_matrix()
    return poses


def synthesise_views(
    field: RadianceField,
    transform: SceneTransform,
    camera: Camera,
    T_field_cam_N44: np.ndarray,
    check_stop: Callable[[], None],
    report: Callable[[float], None],
) -> ReferenceViews:
    """Render the poses that show something, small; a view into a near wall is left out."""
    device = next(iter(field.parameters())).device
    images, kept = [], []
    for index, pose in enumerate(T_field_cam_N44):
        check_stop()
        T = torch.tensor(pose, dtype=torch.float32, device=device)
        view = render_view(field, camera, T, transform.near, transform.far)
        report((index + 1) / len(T_field_cam_N44))
        if float(view.depths_HW.median()) < 2.0 * transform.near:
            continue
        images.append((view.colours_HW3.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu())
        kept.append(pose)
    if not images:
        return ReferenceViews(
            np.zeros((0, camera.height, camera.width, 3), np.uint8), np.zeros((0, 4, 4))
        )
    return ReferenceViews(torch.stack(images).numpy(), np.stack(kept))
