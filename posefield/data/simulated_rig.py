"""A simulated robot filmed live: cameras around it, its motion, and processes that draw it."""

from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
import multiprocessing

import numpy as np

from posefield.data.articulation_frames import Drawing, DrawingWorker, DrawnFrame
from posefield.data.articulation_truth import ArticulationTruth
from posefield.data.camera_hemisphere import (
    cameras_around,
    hemisphere_directions,
    square_camera,
)
from posefield.data.joint_motion import random_motion
from posefield.data.rig_camera import RigCamera
from posefield.data.simulate_articulation import gl_view, sweep, true_motion
from posefield.data.simulated_robot import RobotJoint, SimulatedRobot, find_urdf
from posefield.data.visual_geometry import outline_points
from posefield.errors import DataError

ENDED = 'A process that draws has ended, as when memory is short; try fewer processes.'
# Moments per second at which the random motion is known; between them joints go straight.
MOTION_HZ = 30.0


@dataclass(frozen=True, eq=False)
class RigScene:
    """A robot, its random motion and the cameras that see all of it.

    Attributes:
        cameras: around the robot, with names `cam_00` and on.
        joints: that can move.
        drawing: what processes need to draw it; its positions are the random motion.
        truth: about the random motion.
    """

    cameras: tuple[RigCamera, ...]
    joints: tuple[RobotJoint, ...]
    drawing: Drawing
    truth: ArticulationTruth

    def random_positions(self, now_s: float) -> np.ndarray:
        """Return where the joints (J,) are in the random motion, which goes on and back again.

        Args:
            now_s: since its start.
        """
        last = len(self.drawing.positions_FJ) - 1
        place = abs(now_s) * MOTION_HZ % (2.0 * last)
        place = min(place, 2.0 * last - place)
        before = min(int(place), last - 1)
        one, other = self.drawing.positions_FJ[before : before + 2]
        return one + (place - before) * (other - one)


def make_scene(
    urdf: str,
    *,
    cameras: int,
    size: int,
    duration_s: float,
    max_joint_speed: float,
    seed: int,
) -> RigScene:
    """Return a robot that moves to random goals, and cameras around it.

    With the same seed, motion and directions of the cameras are those of `articulation simulate`.

    Args:
        urdf: a file, or a name that comes with PyBullet, such as `kuka_iiwa/model.urdf`.
        cameras: how many.
        size: width and height of their images in pixels.
        duration_s: of the random motion, before it goes back.
        max_joint_speed: rad/s.
        seed: of motion and cameras.

    Raises:
        DataError: for a robot that cannot be used, or has no joint that can move.
    """
    times = np.arange(max(2, round(duration_s * MOTION_HZ) + 1)) / MOTION_HZ
    with SimulatedRobot(urdf) as robot:
        if not robot.movable:
            raise DataError(f'The robot {urdf} has no joint that can move.')
        joints = robot.movable
        positions_FJ = random_motion(joints, times, max_joint_speed=max_joint_speed, seed=seed)
        outlines = outline_points(robot.visual_shapes(), len(robot.links))
        truth = true_motion(robot, positions_FJ, outlines)
    rig = cameras_around(
        hemisphere_directions(cameras, 0, seed),
        0,
        square_camera(size),
        truth.scene_centre,
        sweep(truth.T_world_link_FL44, outlines),
    )
    views = tuple(gl_view(camera, truth) for camera in rig)
    return RigScene(rig, joints, Drawing(find_urdf(urdf), views, positions_FJ), truth)


class LiveDrawer:
    """Draws moments in processes of its own; close it."""

    def __init__(self, drawing: Drawing, processes: int):
        """Start the processes and wait until all of them are ready, which takes seconds.

        Args:
            drawing: the robot and its views.
            processes: how many moments are drawn at once, at least 1.

        Raises:
            DataError: when one ends instead.
        """
        self._pool = ProcessPoolExecutor(
            processes, multiprocessing.get_context('spawn'), DrawingWorker.start, (drawing,)
        )
        first = [self.draw(drawing.positions_FJ[0]) for _ in range(processes)]
        try:
            for one in first:
                one.result()
        except BrokenProcessPool as error:
            raise DataError(ENDED) from error

    def draw(self, positions_J: Sequence[float]) -> Future[DrawnFrame]:
        """Begin to draw all views with the joints at positions.

        Raises:
            DataError: when a process has ended; the future then raises BrokenProcessPool.
        """
        positions_J = np.asarray(positions_J, dtype=np.float64)
        try:
            return self._pool.submit(DrawingWorker.draw_at, positions_J)
        except BrokenProcessPool as error:
            raise DataError(ENDED) from error

    def close(self) -> None:
        """End the processes; what is not begun is not drawn."""
        self._pool.shutdown(cancel_futures=True)
