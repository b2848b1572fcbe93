"""A simulated recording of a moving robot by several cameras, with the truth about its joints."""

from collections.abc import Iterator, Sequence
import contextlib
import math
from pathlib import Path
import threading
import time

import cv2
import numpy as np

from posefield.data.articulation_frames import Drawing, draw_frames
from posefield.data.articulation_truth import TRUTH_FILE, ArticulationTruth, TrueJoint
from posefield.data.camera_hemisphere import (
    cameras_around,
    hemisphere_directions,
    square_camera,
)
from posefield.data.joint_motion import random_motion
from posefield.data.multiview import MULTIVIEW_KIND, Multiview, MultiviewWriter
from posefield.data.rig_camera import RigCamera
from posefield.data.simulated_robot import SUPERSAMPLING, SimulatedRobot, find_urdf
from posefield.data.tiny_renderer import GlView
from posefield.data.visual_geometry import outline_points
from posefield.errors import DataError, Interrupted
from posefield.geometry.poses import invert
from posefield.learning.progress import Progress, QuietProgress
from posefield.storage import ensure_replaceable

LEAST_SIZE = 16


def simulate_articulation(
    urdf: Path | str,
    out: Path | str,
    *,
    views: int = 20,
    held_out_views: int = 3,
    frames: int = 1000,
    held_out_frames: float = 0.2,
    size: int = 512,
    rate_hz: float = 15.0,
    max_joint_speed: float = 1.0,
    seed: int = 0,
    processes: int | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Multiview:
    """Move a robot to random joint goals, film it and save the recording with its truth.

    Beside the images and exact masks the folder has `truth.json` and, for every image, the links
    that it shows: `segmentation/<camera>/<frame>.png`, index of the link plus 1 or 0.  The base is
    fixed at the world's origin, z is up.  With several processes, a script that calls this must
    be safe to import (`if __name__ == '__main__':`).

    Args:
        urdf: a file, or a name that comes with PyBullet, such as `kuka_iiwa/model.urdf`.
        out: folder to write.
        views: cameras to learn from.
        held_out_views: cameras for tests only, on top of `views`.
        frames: moments, those held out too.
        held_out_frames: share of the frames, the last ones, that is for tests only.
        size: width and height of the images in pixels.
        rate_hz: frames per second.
        max_joint_speed: rad/s.
        seed: of motion and cameras; the same seed gives the same files.
        processes: how many draw at once; by default as many as there are cores.
        progress: where to show how far it is.
        stop: when set, nothing is written.

    Returns:
        The recording, in metres.

    Raises:
        DataError: for numbers that make no recording, or a robot that cannot be used.
        BundleError: when `out` cannot be written or replaced.
        Interrupted: when `stop` was set.
    """
    _check(views, held_out_views, frames, held_out_frames, size, rate_hz, seed)
    ensure_replaceable(out, MULTIVIEW_KIND)
    progress = progress or QuietProgress()
    stamps_s = np.arange(frames) / rate_hz
    with SimulatedRobot(urdf) as robot:
        if not robot.movable:
            raise DataError(f'The robot {urdf} has no joint that can move.')
        positions_FJ = random_motion(
            robot.movable, stamps_s, max_joint_speed=max_joint_speed, seed=seed
        )
        outlines = outline_points(robot.visual_shapes(), len(robot.links))
        truth = true_motion(robot, positions_FJ, outlines)
    cameras = cameras_around(
        hemisphere_directions(views, held_out_views, seed),
        held_out_views,
        square_camera(size),
        truth.scene_centre,
        sweep(truth.T_world_link_FL44, outlines),
    )
    about = {'format': 'simulated', 'urdf': str(urdf), 'seed': seed}
    views_drawn = tuple(gl_view(rig, truth) for rig in cameras)
    drawing = Drawing(find_urdf(urdf), views_drawn, positions_FJ)
    with MultiviewWriter(out, cameras, provenance=about) as writer:
        try:
            _draw(drawing, writer, [rig.name for rig in cameras], processes, progress, stop)
        finally:
            progress.close()
        truth.save(writer.folder / TRUTH_FILE)
        training = frames - round(frames * held_out_frames)
        return writer.finish(stamps_s.tolist(), range(training, frames))


def _check(
    views: int,
    held_out_views: int,
    frames: int,
    held_out_frames: float,
    size: int,
    rate_hz: float,
    seed: int,
) -> None:
    if views < 2 or held_out_views < 0:
        raise DataError(
            f'At least 2 views to learn from are needed, got {views}, and {held_out_views} held '
            'out.'
        )
    if not 0.0 <= held_out_frames < 1.0 or frames - round(frames * held_out_frames) < 2:
        raise DataError(
            f'At least 2 frames to learn from are needed, got {frames} with a share of '
            f'{held_out_frames} held out.'
        )
    if size < LEAST_SIZE:
        raise DataError(f'Images need at least {LEAST_SIZE} pixels a side, got {size}.')
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise DataError(f'The rate must be positive, got {rate_hz} Hz.')
    if seed < 0:
        raise DataError(f'The seed must be 0 or more, got {seed}.')


def true_motion(
    robot: SimulatedRobot, positions_FJ: np.ndarray, outlines: Sequence[np.ndarray]
) -> ArticulationTruth:
    """Return the truth about a motion; `outlines` are the hulls (N, 3) of the links."""
    T_world_link_L44 = robot.link_poses(np.zeros(len(robot.movable)))
    joints = []
    for joint in robot.joints:
        T_parent_joint = invert(T_world_link_L44[joint.parent]) @ T_world_link_L44[joint.child]
        joints.append(
            TrueJoint(
                name=joint.name,
                kind=joint.kind,
                parent=robot.links[joint.parent],
                child=robot.links[joint.child],
                axis_3=T_parent_joint[:3, :3] @ joint.axis_3,
                T_parent_joint=T_parent_joint,
                lower=joint.lower,
                upper=joint.upper,
            )
        )
    T_world_link_FL44 = np.stack([robot.link_poses(positions_J) for positions_J in positions_FJ])
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for points_N3 in sweep(T_world_link_FL44, outlines):
        low, high = np.minimum(low, points_N3.min(axis=0)), np.maximum(high, points_N3.max(axis=0))
    centre_3 = (low + high) / 2
    radius = max(
        float(np.linalg.norm(points_N3 - centre_3, axis=1).max())
        for points_N3 in sweep(T_world_link_FL44, outlines)
    )
    return ArticulationTruth(
        robot.links, tuple(joints), T_world_link_FL44, positions_FJ, radius, centre_3
    )


def gl_view(rig: RigCamera, truth: ArticulationTruth) -> GlView:
    """Return the view in which a camera draws the whole scene."""
    distance = float(np.linalg.norm(rig.T_world_cam[:3, 3] - truth.scene_centre))
    fine = rig.camera.resized(rig.camera.width * SUPERSAMPLING, rig.camera.height * SUPERSAMPLING)
    far = distance + 2.0 * truth.scene_radius
    return GlView.of(fine, rig.T_world_cam, near=0.01 * distance, far=far)


def sweep(T_world_link_FL44: np.ndarray, outlines: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Give the corners (N, 3) of all links in the world, of one frame after the other."""
    for T_world_link_L44 in T_world_link_FL44:
        yield np.concatenate(
            [
                points @ T[:3, :3].T + T[:3, 3]
                for points, T in zip(outlines, T_world_link_L44, strict=True)
            ]
        )


def _draw(
    drawing: Drawing,
    writer: MultiviewWriter,
    names: Sequence[str],
    processes: int | None,
    progress: Progress,
    stop: threading.Event | None,
) -> None:
    """Draw all frames into a recording that is being made."""
    total = len(drawing.positions_FJ)
    begin = time.monotonic()
    progress.start('simulate', True)
    with contextlib.closing(draw_frames(drawing, processes)) as drawn_frames:
        for frame, drawn in enumerate(drawn_frames):
            if stop is not None and stop.is_set():
                raise Interrupted(
                    f'Simulating stopped at frame {frame} of {total}; nothing was written.'
                )
            for view, name in enumerate(names):
                labels = drawn.labels_VHW[view]
                writer.add(view, frame, drawn.images_VHW3[view], (labels > 0).astype(np.uint8))
                _write_labels(writer.folder / 'segmentation' / name / f'{frame:06d}.png', labels)
            done = (frame + 1) / total
            left_s = (time.monotonic() - begin) * (1.0 / done - 1.0)
            progress.update('simulate', done, {}, left_s)


def _write_labels(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), labels):
        raise DataError(f'The picture of links {path} could not be written.')
