"""Replaying a recorded drive through the tracker that the node runs, one image after another.

Nothing depends on the machine's speed: every image is processed, in order, with odometry at its
own stamp.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
import time
from typing import Any

import numpy as np

from posefield.errors import PosefieldError
from posefield.evaluation.evaluate_map import EvaluatedLocalizer, render_psnr
from posefield.evaluation.metrics import FrameResult, summarise
from posefield.evaluation.trajectories import trajectory_errors
from posefield.geometry.camera import Camera
from posefield.geometry.trajectory import Trajectory
from posefield.learning.progress import Progress
from posefield.relocalization.tracker import RelocalizationTracker, TrackerConfig

STAGE = 'replay'


@dataclass(frozen=True)
class ReplayImage:
    """One image of a drive.

    Attributes:
        stamp_s: seconds.
        image: (H, W, 3) RGB, uint8.
        camera: its intrinsics.
        T_odom_base: (4, 4) odometry at the stamp; None where there is none.
        T_base_cam: (4, 4) extrinsics; None takes the camera as base.
    """

    stamp_s: float
    image: np.ndarray
    camera: Camera
    T_odom_base: np.ndarray | None = None
    T_base_cam: np.ndarray | None = None


@dataclass(frozen=True)
class Replay:
    """What a replay gave.

    Attributes:
        results: one for each image with ground truth; `accepted` means published.
        published: camera poses (T_map_cam) as the node would publish them.
        states: how many images left the tracker in which state.
        images: how many were replayed.
    """

    results: list[FrameResult]
    published: Trajectory
    states: dict[str, int]
    images: int


def replay(
    localizer: EvaluatedLocalizer,
    images: Iterable[ReplayImage],
    total: int,
    truth: Trajectory | None,
    config: TrackerConfig,
    progress: Progress,
) -> Replay:
    """Localize every image of a drive in order.

    Args:
        localizer: the map.
        images: in the order of their stamps; read one at a time.
        total: how many there are, for the progress bar.
        truth: camera poses in the map, or None.
        config: thresholds of the tracker.
        progress: told after every image.
    """
    tracker = RelocalizationTracker(localizer, config)
    results: list[FrameResult] = []
    published: dict[float, np.ndarray] = {}
    states: dict[str, int] = {}
    count = 0
    begin_s = time.monotonic()
    progress.start(STAGE, True)
    try:
        for image in images:
            result = _process(tracker, localizer, image, truth)
            if result.accepted:
                published[image.stamp_s] = result.localization.T_map_cam
            if truth is not None and np.isfinite(result.T_map_cam_true).all():
                results.append(result)
            states[tracker.state.value] = states.get(tracker.state.value, 0) + 1
            count += 1
            fraction = min(1.0, count / total)
            left_s = (time.monotonic() - begin_s) * (1 - fraction) / fraction
            progress.update(STAGE, fraction, {'published': len(published) / count}, left_s)
    finally:
        progress.close()
    return Replay(results, Trajectory.from_pairs(published.items()), states, count)


def _process(
    tracker: RelocalizationTracker,
    localizer: EvaluatedLocalizer,
    image: ReplayImage,
    truth: Trajectory | None,
) -> FrameResult:
    """Return the result of one image; the truth is NaN where none is near enough in time."""
    T_true = truth.at(image.stamp_s) if truth is not None else None
    result = FrameResult(
        name=f'{image.stamp_s:.3f}',
        T_map_cam_true=np.full((4, 4), np.nan) if T_true is None else T_true,
        localization=None,
        seconds=0.0,
        stamp_s=image.stamp_s,
    )
    begin_s = time.perf_counter()
    try:
        tracked = tracker.process(
            image.image, image.camera, image.stamp_s, image.T_odom_base, image.T_base_cam
        )
    except PosefieldError as error:
        return replace(result, seconds=time.perf_counter() - begin_s, failure=str(error))
    seconds = time.perf_counter() - begin_s
    localization = replace(tracked.localization, accepted=tracked.published, reason=tracked.reason)
    psnr = render_psnr(localizer, image.image, image.camera, localization.T_map_cam)
    return replace(result, localization=localization, seconds=seconds, psnr=psnr)


def replay_figures(outcome: Replay, truth: Trajectory | None) -> dict[str, Any]:
    """Return the figures of `bag evaluate --json`: without truth only counts."""
    figures: dict[str, Any] = {
        'images': outcome.images,
        'published_share': len(outcome.published) / outcome.images if outcome.images else 0.0,
        'states': dict(sorted(outcome.states.items())),
    }
    if truth is None:
        return figures
    figures['images_without_truth'] = outcome.images - len(outcome.results)
    figures['trajectory'] = trajectory_errors(outcome.published, truth)
    if outcome.results:
        figures.update(summarise(outcome.results))
    return figures
