"""Videos of a ball that rises before a ring of cameras, and their calibration."""

from pathlib import Path

import cv2
import numpy as np

from support.multiviews import draw_ball, ring_of_cameras

SIZE = 64
FRAMES = 8
RATE_HZ = 20.0


def rising_ball() -> np.ndarray:
    """Return where the ball is, (FRAMES, 3): it rises before all cameras."""
    return np.outer(np.linspace(-0.75, 0.75, FRAMES), [0.0, 0.0, 1.0])


def write_video(path: Path, images: list[np.ndarray], rate_hz: float = RATE_HZ) -> None:
    """Write pictures (H, W, 3) uint8 RGB as a video."""
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), rate_hz, (width, height))
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()


def write_videos(folder: Path, distortion: tuple[float, ...] = ()) -> Path:
    """Write three videos and `rig.yml` into a new folder and return it."""
    folder.mkdir()
    storage = cv2.FileStorage(str(folder / 'rig.yml'), cv2.FILE_STORAGE_WRITE)
    for rig in ring_of_cameras(3, size=SIZE):
        write_video(folder / f'{rig.name}.avi', [draw_ball(rig, c)[0] for c in rising_ball()])
        T_cam_world = np.linalg.inv(rig.T_world_cam)
        storage.write(f'K_{rig.name}', rig.camera.K_33)
        storage.write(f'Rot_{rig.name}', T_cam_world[:3, :3])
        storage.write(f'T_{rig.name}', T_cam_world[:3, 3:])
        if distortion:
            storage.write(f'dist_{rig.name}', np.array([distortion]))
    storage.release()
    return folder
