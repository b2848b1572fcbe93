"""Drawing the frames of a simulated robot in parallel.

Worker processes import this: nothing in it may need torch, which takes seconds to import.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
import multiprocessing
from pathlib import Path

import numpy as np

from posefield.data.simulated_robot import SimulatedRobot
from posefield.data.tiny_renderer import GlView
from posefield.errors import DataError
from posefield.worker_processes import cores, results_in_order, serve_parent

# Fewer images than this are not worth the start of another process.
IMAGES_PER_PROCESS = 100


@dataclass(frozen=True, eq=False)
class DrawnFrame:
    """All views of one moment.

    Attributes:
        images_VHW3: uint8 RGB.
        labels_VHW: uint8, index of the link plus 1, 0 for the background.
    """

    images_VHW3: np.ndarray
    labels_VHW: np.ndarray


@dataclass(frozen=True, eq=False)
class Drawing:
    """What a process needs to draw any frame.

    Attributes:
        urdf: file.
        views: V of them, with the samples that `SimulatedRobot.render` expects.
        positions_FJ: of the movable joints.
    """

    urdf: Path
    views: tuple[GlView, ...]
    positions_FJ: np.ndarray

    def draw(self, robot: SimulatedRobot, frame: int) -> DrawnFrame:
        """Draw all views of a frame; the result depends on nothing that was drawn before."""
        return self.draw_at(robot, self.positions_FJ[frame])

    def draw_at(self, robot: SimulatedRobot, positions_J: np.ndarray) -> DrawnFrame:
        """Draw all views with the joints at positions (J,)."""
        images, labels = zip(
            *(robot.render(positions_J, view) for view in self.views), strict=True
        )
        return DrawnFrame(np.stack(images), np.stack(labels))


def draw_frames(drawing: Drawing, processes: int | None = None) -> Iterator[DrawnFrame]:
    """Draw all frames in order.

    Args:
        drawing: what to draw.
        processes: how many at once; by default as many as there are cores and the work is worth.

    Raises:
        DataError: for a number below 1, or when a process ends before its work is done.
    """
    if processes is None:
        images = len(drawing.positions_FJ) * len(drawing.views)
        processes = max(1, min(cores(), images // IMAGES_PER_PROCESS))
    if processes < 1:
        raise DataError(f'At least 1 process is needed to draw, got {processes}.')
    frames = range(len(drawing.positions_FJ))
    if processes == 1:
        with SimulatedRobot(drawing.urdf) as robot:
            for frame in frames:
                yield drawing.draw(robot, frame)
        return
    yield from _draw_in_parallel(drawing, frames, processes)


def _draw_in_parallel(
    drawing: Drawing, frames: Sequence[int], processes: int
) -> Iterator[DrawnFrame]:
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context('spawn'), DrawingWorker.start, (drawing,)
    )
    try:
        yield from results_in_order(
            lambda frame: pool.submit(DrawingWorker.draw, frame), frames, 2 * processes
        )
    except BrokenProcessPool as error:
        raise DataError(
            'A process that draws ended before its work was done, as when memory is short; '
            'try fewer processes.'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


class DrawingWorker:
    """The robot of one worker process, which only its process has."""

    drawing: Drawing
    robot: SimulatedRobot

    @classmethod
    def start(cls, drawing: Drawing) -> None:
        """Load the robot; called once in every worker."""
        serve_parent()
        cls.drawing = drawing
        cls.robot = SimulatedRobot(drawing.urdf).__enter__()

    @classmethod
    def draw(cls, frame: int) -> DrawnFrame:
        """Draw one frame."""
        return cls.drawing.draw(cls.robot, frame)

    @classmethod
    def draw_at(cls, positions_J: np.ndarray) -> DrawnFrame:
        """Draw a moment with the joints at positions."""
        return cls.drawing.draw_at(cls.robot, positions_J)
