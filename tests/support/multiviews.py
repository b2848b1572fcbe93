"""Small multi-view recordings of a ball that moves, with exact masks."""

from pathlib import Path

import cv2
import numpy as np

from posefield.data.multiview import Multiview, MultiviewWriter
from posefield.data.rig_camera import RigCamera
from posefield.geometry.camera import Camera

BALL_RADIUS = 0.3
BALL_RGB = (200, 60, 40)


def looking_at(eye_3: np.ndarray, target_3: np.ndarray) -> np.ndarray:
    """Return T_world_cam (4, 4), optical axes, of a camera that keeps z upwards."""
    forward = np.asarray(target_3, float) - eye_3
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    T = np.eye(4)
    T[:3, :4] = np.stack([right, np.cross(forward, right), forward, eye_3], axis=1)
    return T


def ring_of_cameras(
    count: int,
    held_out: int = 0,
    size: int = 48,
    centre_3: tuple[float, float, float] = (0.0, 0.0, 0.0),
    distance: float = 3.0,
) -> tuple[RigCamera, ...]:
    """Return cameras around a point that look at it; the last ones are held out."""
    camera = Camera(size, size, 1.2 * size, 1.2 * size, (size - 1) / 2, (size - 1) / 2)
    cameras = []
    for index in range(count + held_out):
        turn = 2.4 * index
        offset = distance * np.array([np.cos(turn), np.sin(turn), 0.3 + 0.1 * (index % 3)])
        pose = looking_at(np.asarray(centre_3) + offset, centre_3)
        cameras.append(RigCamera(f'cam{index}', camera, pose, held_out=index >= count))
    return tuple(cameras)


def draw_ball(rig: RigCamera, centre_3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture (H, W, 3) uint8 of the ball and its mask (H, W) of 0 and 1, exactly."""
    camera = rig.camera
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = camera.unproject(np.stack([columns, rows], axis=-1).reshape(-1, 2))
    rays = rays @ rig.T_world_cam[:3, :3].T
    offset = np.asarray(centre_3) - rig.T_world_cam[:3, 3]
    along = rays @ offset / np.linalg.norm(rays, axis=1)
    mask = offset @ offset - along**2 < BALL_RADIUS**2
    mask = mask.reshape(camera.height, camera.width).astype(np.uint8)
    image = np.full((camera.height, camera.width, 3), 90, np.uint8)
    image[mask == 1] = BALL_RGB
    return image, mask


def ball_centres(frames: int, centre_3: tuple[float, float, float]) -> np.ndarray:
    """Return where the ball is, (frames, 3): it moves to and fro along x."""
    offsets = np.zeros((frames, 3))
    offsets[:, 0] = np.linspace(-0.3, 0.3, frames)
    return offsets + centre_3


def write_ball(
    folder: Path,
    *,
    cameras: int = 3,
    held_out: int = 0,
    frames: int = 3,
    held_out_frames: tuple[int, ...] = (),
    size: int = 48,
    centre_3: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Multiview:
    """Write a recording of the ball and return it."""
    rig = ring_of_cameras(cameras, held_out, size, centre_3)
    with MultiviewWriter(folder, rig, background='black') as writer:
        for frame, centre in enumerate(ball_centres(frames, centre_3)):
            for view, camera in enumerate(rig):
                writer.add(view, frame, *draw_ball(camera, centre))
        return writer.finish(np.arange(frames) / 10, held_out_frames)


def overwrite_masks(multiview: Multiview, view: int, grey: int) -> None:
    """Make all masks of a camera one grey level."""
    for frame in range(multiview.num_frames):
        camera = multiview.cameras[view].camera
        pixels = np.full((camera.height, camera.width), grey, np.uint8)
        cv2.imwrite(str(multiview.mask_path(view, frame)), pixels)
