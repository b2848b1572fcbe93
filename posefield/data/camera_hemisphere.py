"""Cameras on a hemisphere that look at a moving object, no farther than all of it needs."""

from collections.abc import Iterable
import math

import numpy as np

from posefield.data.rig_camera import RigCamera
from posefield.geometry.camera import Camera

# From the left to the right edge of the image.
FIELD_OF_VIEW_DEG = 45.0
# Elevations of the cameras; from overhead a camera would have no upright side.
LOWEST_DEG, HIGHEST_DEG = 8.0, 60.0
# Half of the image that the object may fill.
FILLED = 0.94
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def square_camera(size: int) -> Camera:
    """Return the pinhole camera of simulated views, `size` x `size` pixels."""
    focal = size / 2 / math.tan(math.radians(FIELD_OF_VIEW_DEG) / 2)
    middle = (size - 1) / 2
    return Camera(size, size, focal, focal, middle, middle)


def hemisphere_directions(views: int, held_out_views: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors (V + H, 3) from the object to its cameras, those held out last.

    The V training views stand at equal angles around the object at elevations that spread evenly
    over the hemisphere's area; those held out stand between neighbours, half way where they can.
    """
    phase = np.random.default_rng([seed, 1]).uniform()
    heights = [(view + 0.5) * GOLDEN % 1.0 for view in range(views)]
    places = [(view / views, heights[view]) for view in range(views)]
    gaps = [index * views // held_out_views for index in range(held_out_views)]
    for index, view in enumerate(gaps):
        share = (index - gaps.index(view) + 1) / (gaps.count(view) + 1)
        height = (1.0 - share) * heights[view] + share * heights[(view + 1) % views]
        places.append(((view + share) / views, height))
    low, high = math.sin(math.radians(LOWEST_DEG)), math.sin(math.radians(HIGHEST_DEG))
    directions = []
    for turn, share in places:
        angle = 2.0 * math.pi * (turn + phase)
        height = low + (high - low) * share
        flat = math.sqrt(1.0 - height**2)
        directions.append([flat * math.cos(angle), flat * math.sin(angle), height])
    return np.array(directions)


def cameras_around(
    directions_V3: np.ndarray,
    held_out_views: int,
    camera: Camera,
    centre_3: np.ndarray,
    sweep: Iterable[np.ndarray],
) -> tuple[RigCamera, ...]:
    """Return cameras that look at a point from one distance, the least from which all see all.

    Args:
        directions_V3: unit vectors from the point to the cameras; the last are held out.
        held_out_views: how many.
        camera: of all views; square.
        centre_3: the point, in the world.
        sweep: points (N, 3) of the object at its surface, of one frame after the other.
    """
    rotations_V33 = np.stack([_looking_along(-direction) for direction in directions_V3])
    slope = FILLED * camera.width / 2 / camera.fx
    distance = 0.0
    for points_N3 in sweep:
        seen_VN3 = (points_N3 - centre_3) @ rotations_V33
        sideways = np.abs(seen_VN3[..., :2]).max(axis=-1)
        distance = max(distance, float((sideways / slope - seen_VN3[..., 2]).max()))
    cameras = []
    training = len(directions_V3) - held_out_views
    for index, (direction, R) in enumerate(zip(directions_V3, rotations_V33, strict=True)):
        T_world_cam = np.eye(4)
        T_world_cam[:3, :3] = R
        T_world_cam[:3, 3] = centre_3 + distance * direction
        cameras.append(RigCamera(f'cam_{index:02d}', camera, T_world_cam, index >= training))
    return tuple(cameras)


def _looking_along(forward: np.ndarray) -> np.ndarray:
    """Return R_world_cam (3, 3) of an upright camera; optical axes."""
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward], axis=1)
