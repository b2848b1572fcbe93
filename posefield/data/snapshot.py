"""One moment of several cameras as pictures and a JSON file with their calibrations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import re

import numpy as np

from posefield import __version__
from posefield.data.image_files import write_rgb
from posefield.geometry.camera import Camera
from posefield.storage import atomic_folder, write_json

SNAPSHOT_SCHEMA = 1
SNAPSHOT_KIND = 'snapshot'


@dataclass(frozen=True, eq=False)
class SnapshotView:
    """What one camera saw.

    Attributes:
        name: of the camera.
        image: (H, W, 3) uint8 RGB, as it came.
        camera: that took it, with its distortion.
        stamp_ns: when it was taken.
        T_world_cam: (4, 4) where the camera stood; None where nobody knows.
    """

    name: str
    image: np.ndarray
    camera: Camera
    stamp_ns: int
    T_world_cam: np.ndarray | None


def write_snapshot(folder: Path, views: Sequence[SnapshotView], world_frame: str) -> Path:
    """Write pictures `<camera>.png` and `snapshot.json`, all or nothing.

    Raises:
        BundleError, DataError: when the folder cannot be written.
    """
    with atomic_folder(folder) as new:
        entries = []
        for view in views:
            file = f'{re.sub("[^A-Za-z0-9_.-]", "_", view.name)}.png'
            write_rgb(new / file, view.image)
            camera, pose = view.camera, view.T_world_cam
            entries.append(
                {
                    'name': view.name,
                    'image': file,
                    'stamp_ns': view.stamp_ns,
                    **{key: getattr(camera, key) for key in ('width', 'height')},
                    **{key: float(getattr(camera, key)) for key in ('fx', 'fy', 'cx', 'cy')},
                    'model': camera.model,
                    'distortion': [float(value) for value in camera.distortion],
                    'T_world_cam': None if pose is None else pose.tolist(),
                }
            )
        write_json(
            new / 'snapshot.json',
            {
                'schema': SNAPSHOT_SCHEMA,
                'kind': SNAPSHOT_KIND,
                'posefield_version': __version__,
                'world_frame': world_frame,
                'cameras': entries,
            },
        )
    return folder
