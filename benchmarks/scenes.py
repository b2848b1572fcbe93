"""Scenes that several benchmarks measure: small and undistorted, with a learned map of each."""

from collections.abc import Sequence
from pathlib import Path
import subprocess
import sys
import time

import cv2
import numpy as np

from posefield.data.nerf import read_nerf
from posefield.data.scene import Frame, Scene
from posefield.data.seven_scenes import read_seven_scenes
from posefield.data.simulate import simulate_scene
from posefield.geometry.images import resize, undistort
from posefield.relocalization.localizer import Localizer

SHORT_SIDE = 240
SCENES = ('fox', 'blocks', 'halves', 'room')
CPU_PRESET = ('--preset', 'cpu')


def load_scene(name: str, data: Path, work: Path) -> Scene:
    """Return a scene as its publishers split it, before any resizing."""
    if name == 'fox':
        return read_nerf(data / 'fox')
    if name == 'room':
        return simulate_scene(
            work / 'room_full', seed=0, train_views=60, test_views=40, width=320, height=240
        )
    return read_seven_scenes(
        data / 'redkitchen', poses='sfm_pgt.txt', split_file='splits.json', split_name=name
    )


def small_scene(scene: Scene, folder: Path) -> Scene:
    """Save the scene undistorted and small: all that any method gets to see."""
    frames = []
    for frame in scene.frames:
        image, pinhole = undistort(frame.read_image(), frame.camera)
        camera = pinhole.with_short_side(SHORT_SIDE)
        name = str(Path(frame.name).with_suffix('.png'))
        path = folder / 'raw' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        small = resize(image, camera.width, camera.height)
        cv2.imwrite(str(path), cv2.cvtColor(as_u8(small), cv2.COLOR_RGB2BGR))
        frames.append(Frame(name, path, camera, frame.T_map_cam))
    splits = {
        split: tuple(str(Path(name).with_suffix('.png')) for name in names)
        for split, names in scene.splits.items()
    }
    reduced = Scene(folder, tuple(sorted(frames, key=lambda f: f.name)), splits, scene.units)
    return reduced.save(folder / 'scene')


def as_u8(image: np.ndarray) -> np.ndarray:
    """Return a float image in [0, 1] as uint8."""
    return np.clip(np.round(image * 255.0), 0, 255).astype(np.uint8)


def learn_map(scene: Scene, out: Path, steps: int, options: Sequence[str] = CPU_PRESET) -> float:
    """Learn a map with the command of a user, unless there is one; return the seconds.

    Args:
        scene: saved in its folder.
        out: folder of the map.
        steps: of the field.
        options: of `posefield map train` that choose what is learned.
    """
    if (out / 'map.json').is_file():
        return float(Localizer.load(out).info['seconds_to_learn'])
    begin_s = time.monotonic()
    subprocess.run(
        [
            sys.executable, '-m', 'posefield.cli', 'map', 'train', str(scene.root), '--out',
            str(out), *options, '--steps', str(steps), '--quiet',
        ],
        check=True,
    )  # fmt: skip
    return time.monotonic() - begin_s
