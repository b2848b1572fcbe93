"""A recording of two coloured ellipsoids, of which one swings about the other."""

import math
from pathlib import Path

import numpy as np
import torch

from posefield.articulation.decoder import DecoderConfig
from posefield.articulation.parts import PartMotion
from posefield.articulation.shell_rendering import render_image
from posefield.articulation.surface import Surface, SurfaceConfig
from posefield.data.multiview import Multiview, MultiviewWriter
from posefield.data.rig_camera import RigCamera
from posefield.geometry.camera import Camera

RADII_P3 = np.array([[0.3, 0.25, 0.4], [0.45, 0.15, 0.15]])
COLOURS_P3 = np.array([[0.8, 0.3, 0.2], [0.2, 0.4, 0.8]])
JOINT_3 = np.array([0.2, 0.0, 0.1])
CAMERA = Camera(32, 32, 40.0, 40.0, 15.5, 15.5)
FRAMES = 12
HELD_OUT_FRAMES = (10, 11)


def angles(frames: int = FRAMES) -> np.ndarray:
    """Return the positions of the only joint, radians."""
    return 0.8 * np.sin(2.0 * math.pi * np.arange(frames) / frames)


def poses() -> np.ndarray:
    """Return T_world_part (F, 2, 4, 4): the second turns about y through JOINT_3."""
    T = np.tile(np.eye(4), (FRAMES, 2, 1, 1))
    for frame, angle in enumerate(angles()):
        cosine, sine = math.cos(angle), math.sin(angle)
        R = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
        T[frame, 1, :3, :3] = R
        T[frame, 1, :3, 3] = JOINT_3 + R @ [0.4, 0.0, 0.0]
    return T


def motion() -> PartMotion:
    """Return the truth in the frames to learn from; the scene is the world."""
    frames = tuple(f for f in range(FRAMES) if f not in HELD_OUT_FRAMES)
    return PartMotion(RADII_P3, poses()[list(frames)], COLOURS_P3, ((0, 1, 0, 1),), frames)


def look_at(eye: np.ndarray) -> np.ndarray:
    """Return T_world_cam of a camera that looks at the origin, upright."""
    forward = -eye / np.linalg.norm(eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    T = np.eye(4)
    T[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    T[:3, 3] = eye
    return T


def rig() -> tuple[RigCamera, ...]:
    """Return three cameras to learn from and one that is held out."""
    return tuple(
        RigCamera(
            f'camera_{number}',
            CAMERA,
            look_at(3.2 * np.array([math.cos(turn), math.sin(turn), 0.4])),
            held_out=number == 3,
        )
        for number, turn in enumerate((0.3, 2.2, 4.4, 5.3))
    )


def write_two_balls(folder: Path) -> Multiview:
    """Write the recording; background is white."""
    config = SurfaceConfig(DecoderConfig(1, 4, 1, 0.001), union_sharpness=200.0, sharpness=100.0)
    truth = Surface(torch.from_numpy(RADII_P3), config, torch.Generator().manual_seed(0))
    T = poses()
    cameras = rig()
    with MultiviewWriter(folder, cameras) as writer:
        for view, camera in enumerate(cameras):
            for frame in range(FRAMES):
                image = render_image(truth, CAMERA, camera.T_world_cam, T[frame], 1.0)
                parts = image.parts_HW.numpy()
                colours = np.where(parts[..., None] < 0, 1.0, COLOURS_P3[parts])
                writer.add(
                    view,
                    frame,
                    np.rint(255 * colours).astype(np.uint8),
                    (parts >= 0) * np.uint8(1),
                )
        return writer.finish([frame / 10 for frame in range(FRAMES)], HELD_OUT_FRAMES)
