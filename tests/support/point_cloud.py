"""Cameras on an arc around a cloud of points, and what they see of it."""

import numpy as np

from posefield.geometry.poses import invert
from posefield.relocalization.triangulation import View
from support.textured_room import look_at, pinhole

CAMERA = pinhole(640, 480, 500.0)


def arc_of_views(count: int, radius: float = 4.0, spread_deg: float = 70.0) -> list[View]:
    """Return cameras that look at the origin from an arc, at varying heights."""
    angles = np.deg2rad(np.linspace(-spread_deg / 2, spread_deg / 2, count))
    centres = radius * np.stack(
        [np.cos(angles), np.sin(angles), 0.1 * np.sin(5.0 * angles)], axis=1
    )
    return [View(CAMERA, look_at(centre, np.zeros(3))) for centre in centres]


def cloud(count: int, seed: int, half_size: float = 1.0) -> np.ndarray:
    """Return points (N, 3) around the origin."""
    return np.random.default_rng(seed).uniform(-half_size, half_size, size=(count, 3))


def projected(view: View, points_N3: np.ndarray) -> np.ndarray:
    """Return the pixels (N, 2) of points that must all be visible."""
    T_cam_map = invert(view.T_map_cam)
    pixels, visible = view.camera.project(points_N3 @ T_cam_map[:3, :3].T + T_cam_map[:3, 3])
    assert visible.all()
    return pixels
