"""Tiny scenes with real image files."""

import json
from pathlib import Path

import cv2
import numpy as np

from posefield.data.scene import Frame, Scene
from posefield.geometry.camera import Camera
from posefield.geometry.poses import from_quat_xyzw

SIZE = (16, 12)
CAMERA = Camera(*SIZE, 20.0, 21.0, 7.25, 5.75, 'plumb_bob', (0.1, -0.02, 0.003, -0.004, 0.0))


def pose(index: int) -> np.ndarray:
    """T_map_cam of a camera that turns while it moves."""
    quat_xyzw = np.array([0.1 * index, -0.05 * index, 0.2, 1.0])
    return from_quat_xyzw(quat_xyzw, np.array([0.5 * index, 0.1, -0.2 * index]))


def write_picture(path: Path, index: int = 0, size: tuple[int, int] = SIZE) -> Path:
    """Write a picture of one colour, which tells the index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), 10 * index, np.uint8))
    return path


def make_scene(folder: Path, count: int = 4, camera: Camera = CAMERA) -> Scene:
    """A scene of images in a folder: the first is held out."""
    names = [f'{index:03d}.png' for index in range(count)]
    frames = tuple(
        Frame(name, write_picture(folder / name, i), camera, pose(i), 100.0 + i)
        for i, name in enumerate(names)
    )
    splits = {'train': tuple(names[1:]), 'test': tuple(names[:1])}
    return Scene(folder, frames, splits, 'metres', ('lost.png',), {'format': 'test'})


def nerf_content(count: int = 4, **keys) -> dict:
    """The content of a transforms.json, with poses that have OpenGL axes."""
    frames = [
        {
            'file_path': f'images/{index:03d}.png',
            'transform_matrix': (pose(index) @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist(),
        }
        for index in range(count)
    ]
    return {'fl_x': 20.0, 'fl_y': 21.0, 'cx': 7.75, 'cy': 6.25, 'w': 16, 'h': 12,
            'frames': frames, **keys}  # fmt: skip


def write_nerf(folder: Path, content: dict, pictures: int = 4) -> Path:
    """Write a transforms.json and its first pictures."""
    for index in range(pictures):
        write_picture(folder / 'images' / f'{index:03d}.png', index)
    (folder / 'transforms.json').write_text(json.dumps(content))
    return folder
