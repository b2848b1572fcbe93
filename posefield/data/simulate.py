"""A simulated scene: a camera carried through a room twice, to learn and to test."""

import math
from pathlib import Path
import tempfile

import numpy as np

from posefield.data.image_files import write_rgb
from posefield.data.room import SimulatedRoom
from posefield.data.scene import Frame, Scene
from posefield.errors import DataError
from posefield.geometry.camera import Camera

# Focal length over image width: 65 degrees from the left to the right edge.
FOCAL_PER_WIDTH = 0.785
PERIOD_S = 0.5
TRAIN_HALF_AXES = (1.35, 0.95)
TEST_HALF_AXES = (0.80, 0.55)


def simulate_scene(
    out: Path | str,
    *,
    seed: int = 0,
    train_views: int = 60,
    test_views: int = 24,
    width: int = 320,
    height: int = 240,
) -> Scene:
    """Render a furnished room along two camera paths and save it as a scene.

    Args:
        out: scene folder to write.
        seed: of textures, furniture and paths; the same seed gives the same pictures.
        train_views, test_views: how many pictures of each path.
        width, height: pixels.

    Returns:
        The scene, in metres, with splits `train` and `test` and exact poses.

    Raises:
        DataError: for no views or no pixels, or when PyBullet is not installed.
    """
    if train_views < 1 or test_views < 1 or train_views + test_views < 2:
        raise DataError(
            f'A scene needs views to train and to test, got {train_views} and {test_views}.'
        )
    camera = room_camera(width, height)
    paths = {'train': training_path(train_views, seed), 'test': testing_path(test_views, seed)}
    frames = []
    with tempfile.TemporaryDirectory() as folder, SimulatedRoom(seed) as room:
        for split, poses_N44 in paths.items():
            for i, T_map_cam in enumerate(poses_N44):
                name = f'{split}/{i:04d}.png'
                image, _ = room.render(T_map_cam, camera)
                write_rgb(Path(folder) / name, image)
                stamp_s = PERIOD_S * len(frames)
                frames.append(Frame(name, Path(folder) / name, camera, T_map_cam, stamp_s))
        frames.sort(key=lambda frame: frame.name)
        return Scene(
            root=Path(folder),
            frames=tuple(frames),
            splits={
                split: tuple(f.name for f in frames if f.name.startswith(f'{split}/'))
                for split in paths
            },
            units='metres',
            provenance={'format': 'simulated', 'seed': seed},
        ).save(out)


def room_camera(width: int, height: int) -> Camera:
    """Return the pinhole camera of the simulated pictures."""
    focal = FOCAL_PER_WIDTH * width
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def training_path(views: int, seed: int = 0) -> np.ndarray:
    """Return T_map_cam (N, 4, 4) once around the room, looking across it while swaying."""
    start, sway, bob = np.random.default_rng([seed, 0]).uniform(0.0, 2.0 * math.pi, size=3)
    angles = start + np.linspace(0.0, 2.0 * math.pi, views, endpoint=False)
    return _look_across(
        angles,
        half_axes=TRAIN_HALF_AXES,
        heights_N=1.42 + 0.22 * np.sin(5.0 * angles + bob),
        yaw_offsets_N=math.radians(24.0) * np.sin(4.0 * angles + sway),
        pitches_N=math.radians(-9.0) + math.radians(7.0) * np.sin(3.0 * angles + bob),
        rolls_N=math.radians(2.0) * np.sin(2.0 * angles + sway),
    )


def testing_path(views: int, seed: int = 0) -> np.ndarray:
    """Return T_map_cam (N, 4, 4) of the other way round, on a smaller circle."""
    start, sway, bob = np.random.default_rng([seed, 1]).uniform(0.0, 2.0 * math.pi, size=3)
    angles = start - np.linspace(0.0, 2.0 * math.pi, views, endpoint=False)
    return _look_across(
        angles,
        half_axes=TEST_HALF_AXES,
        heights_N=1.40 + 0.15 * np.sin(2.0 * angles + bob),
        yaw_offsets_N=math.radians(18.0) * np.sin(3.0 * angles + sway),
        pitches_N=math.radians(-8.0) + math.radians(6.0) * np.sin(2.0 * angles + bob),
        rolls_N=math.radians(4.0) * np.sin(3.0 * angles + bob),
    )


def _look_across(
    angles_N: np.ndarray,
    *,
    half_axes: tuple[float, float],
    heights_N: np.ndarray,
    yaw_offsets_N: np.ndarray,
    pitches_N: np.ndarray,
    rolls_N: np.ndarray,
) -> np.ndarray:
    """Return poses (N, 4, 4) on an ellipse around the room's middle, facing its middle.

    Yaw offsets turn away from the middle, pitches are up, rolls clockwise; radians.
    """
    positions = np.stack(
        [half_axes[0] * np.cos(angles_N), half_axes[1] * np.sin(angles_N), heights_N], axis=1
    )
    yaws = np.arctan2(-positions[:, 1], -positions[:, 0]) + yaw_offsets_N
    forward = np.stack(
        [np.cos(yaws) * np.cos(pitches_N), np.sin(yaws) * np.cos(pitches_N), np.sin(pitches_N)],
        axis=1,
    )
    right = np.stack([np.sin(yaws), -np.cos(yaws), np.zeros_like(yaws)], axis=1)
    down = np.cross(forward, right)
    cos, sin = np.cos(rolls_N)[:, None], np.sin(rolls_N)[:, None]
    poses = np.tile(np.eye(4), (len(angles_N), 1, 1))
    poses[:, :3, 0] = cos * right + sin * down
    poses[:, :3, 1] = cos * down - sin * right
    poses[:, :3, 2] = forward
    poses[:, :3, 3] = positions
    return poses
