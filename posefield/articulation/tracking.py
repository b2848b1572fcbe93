"""Following a learned thing through live images: its pose from those of one moment.

Tracking starts from the pose before, carried on at its speed, or from the learned frames that look
most like the images; then it aligns the surface with the images in a few steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
import time
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from posefield.articulation.pose_alignment import Agreement, Aligner, Pose
from posefield.articulation.tracked_surface import surface_points
from posefield.articulation.tracked_views import ObservedView, TrackedView, observe
from posefield.data.multiview import BACKGROUND_LEVELS
from posefield.errors import ArticulationError

if TYPE_CHECKING:
    from posefield.articulation.articulated_model import ArticulatedModel

__all__ = ['PoseTracker', 'TrackedPose', 'TrackedView', 'TrackingConfig']

# The root is free where it moved by more than this share of the thing's size while learned.
ROOT_MOVES = 1e-6
# Alignment steps of a start, with smoothed images, before the best start is chosen.
SEARCH_STEPS = 6
# By how many pixels the small images of a search are smoothed.
SEARCH_PX = 1.0


@dataclass(frozen=True)
class TrackingConfig:
    """How poses are tracked.

    Attributes:
        short_side: images are compared at this many pixels on their short side, at most.
        points: on the surface.
        coarse_steps, fine_steps: of the alignment with smoothed and with sharp images.
        coarse_px, fine_px: by which images are smoothed, and how far outlines pull.
        colour_weight: of colours against outlines.
        lost_below: a pose with a lower score is not believed.
        search_frames: learned frames, at most, among which a start is searched.
        search_side, search_points: pixels of the short side and points on the surface meanwhile.
        search_starts: of them that are aligned.
        longest_gap_s: motion is carried on no longer than this.
    """

    short_side: int = 128
    points: int = 4000
    coarse_steps: int = 1
    fine_steps: int = 4
    coarse_px: float = 2.5
    fine_px: float = 0.8
    colour_weight: float = 1.0
    lost_below: float = 0.5
    search_frames: int = 32
    search_side: int = 48
    search_points: int = 800
    search_starts: int = 3
    longest_gap_s: float = 0.5

    def __post_init__(self):
        counts = (
            'short_side',
            'points',
            'search_frames',
            'search_side',
            'search_points',
            'search_starts',
        )
        for name in counts:
            if getattr(self, name) < 1:
                raise ArticulationError(f'{name} must be at least 1, found {getattr(self, name)}.')
        if self.coarse_steps < 0 or self.fine_steps < 0:
            raise ArticulationError(
                f'Steps must be 0 or more, found {self.coarse_steps} coarse and '
                f'{self.fine_steps} fine ones.'
            )
        if not 0.0 <= self.lost_below <= 1.0:
            raise ArticulationError(f'lost_below must be from 0 to 1, found {self.lost_below}.')


@dataclass(frozen=True, eq=False)
class TrackedPose:
    """Where a thing is at one moment.

    Attributes:
        joint_positions: (D,) of `structure.movable`, radians or world units.
        T_world_root: (4, 4).
        T_world_link_L44, T_world_part_P44: poses of all links and parts.
        score: overlap of the silhouettes times the agreement of the colours, 0 to 1.
        lost: whether the score is too low to be believed; the pose is then the last one.
        iterations: alignment steps taken.
        seconds: that it took.
        stamp_s: time of the images; None where nobody said.
        speeds_D: of the joints per second, or per image without stamps.
        root_speed_6: of the root likewise: its origin's motion, then its turn, world axes.
    """

    joint_positions: np.ndarray
    T_world_root: np.ndarray
    T_world_link_L44: np.ndarray
    T_world_part_P44: np.ndarray
    score: float
    lost: bool
    iterations: int
    seconds: float
    stamp_s: float | None = None
    speeds_D: np.ndarray = field(default_factory=lambda: np.zeros(0))
    root_speed_6: np.ndarray = field(default_factory=lambda: np.zeros(6))

    @property
    def pose(self) -> Pose:
        """The joint positions and the root."""
        return Pose(self.joint_positions, self.T_world_root)


@dataclass(frozen=True)
class _Found:
    pose: Pose
    agreement: Agreement
    iterations: int


class PoseTracker:
    """Finds the pose of a model in images; what takes seconds is done once, here.

    Args:
        model: what was learned.
        config: how to track.

    Raises:
        ArticulationError: where no link has a surface.
    """

    def __init__(self, model: 'ArticulatedModel', config: TrackingConfig | None = None):
        self.config = config or TrackingConfig()
        self._model = model
        self._background = BACKGROUND_LEVELS[model.background]
        found = model.found
        centres = found.part_poses(found.positions_FD, found.T_scene_root_F44)[..., :3, 3]
        extent = float(np.ptp(centres.reshape(-1, 3), axis=0).max())
        size = max(extent, float(model.radii_P3.max()))
        free = float(np.ptp(found.T_scene_root_F44, axis=0).max()) > ROOT_MOVES * size
        surface = surface_points(model, self.config.points)
        self._aligner = Aligner(model.structure, surface, size, free)
        self._rough = self._aligner.thinned(self.config.search_points)
        self._learned = self._learned_poses()

    def _learned_poses(self) -> list[Pose]:
        """Return some learned poses, evenly over the frames."""
        found = self._model.found
        count = len(found.positions_FD)
        chosen = np.linspace(0, count - 1, min(count, self.config.search_frames)).round()
        return [
            Pose(found.positions_FD[frame], found.T_scene_root_F44[frame])
            for frame in chosen.astype(int)
        ]

    def track(
        self,
        views: Sequence[TrackedView],
        previous: TrackedPose | None = None,
        stamp_s: float | None = None,
    ) -> TrackedPose:
        """Return the pose that images of one moment show.

        Args:
            views: one or more.
            previous: of the moment before; None, or one that is lost, starts a search.
            stamp_s: time of the images, for the speeds.

        Raises:
            ArticulationError: without views, or for a previous pose of another skeleton.
        """
        begin_s = time.monotonic()
        self._check(views, previous)
        level, side = self._background, self.config.short_side
        fine = [observe(view, side, level, self.config.fine_px) for view in views]
        coarse = [observe(view, side, level, self.config.coarse_px) for view in views]
        if not any((view.mask_HW == 1).any() for view in fine):
            found = _Found(self._fallback(previous), Agreement(0.0, 0.0), 0)
        elif previous is None or previous.lost:
            found = self._search(views, coarse, fine, previous)
        else:
            found = self._follow(views, coarse, fine, previous, stamp_s)
        lost = found.agreement.score < self.config.lost_below
        pose = self._fallback(previous) if lost else found.pose
        T_world_link = self._aligner.link_poses(pose)
        tracked = TrackedPose(
            joint_positions=pose.joint_positions,
            T_world_root=pose.T_world_root,
            T_world_link_L44=T_world_link,
            T_world_part_P44=self._model.repose(pose.joint_positions, pose.T_world_root),
            score=found.agreement.score,
            lost=lost,
            iterations=found.iterations,
            seconds=0.0,
            stamp_s=stamp_s,
            speeds_D=np.zeros(len(pose.joint_positions)),
        )
        if previous is not None and not previous.lost and not lost:
            tracked = _with_speeds(tracked, previous, self.config.longest_gap_s)
        return replace(tracked, seconds=time.monotonic() - begin_s)

    def _check(self, views: Sequence[TrackedView], previous: TrackedPose | None) -> None:
        if not views:
            raise ArticulationError('Tracking needs at least one view, found none.')
        if previous is not None:
            self._model.structure.positions_array(previous.joint_positions)

    def _fallback(self, previous: TrackedPose | None) -> Pose:
        """Return the pose that is told while the thing is lost."""
        return self._learned[0] if previous is None else previous.pose

    def _follow(
        self,
        views: Sequence[TrackedView],
        coarse: Sequence[ObservedView],
        fine: Sequence[ObservedView],
        previous: TrackedPose,
        stamp_s: float | None,
    ) -> _Found:
        """Return the pose near that before; searched for where that explains the images badly."""
        starts = [previous.pose, _carried_on(previous, stamp_s, self.config.longest_gap_s)]
        scores = [self._rough.agreement(start, fine).score for start in starts]
        found = self._align(starts[int(np.argmax(scores))], coarse, fine, starts[1])
        if found.agreement.score >= self.config.lost_below:
            return found
        searched = self._search(views, coarse, fine, previous)
        return max(found, searched, key=lambda one: one.agreement.score)

    def _search(
        self,
        views: Sequence[TrackedView],
        coarse: Sequence[ObservedView],
        fine: Sequence[ObservedView],
        previous: TrackedPose | None,
    ) -> _Found:
        """Return the pose that is reached best from the learned ones and the last."""
        starts = list(self._learned)
        if previous is not None:
            starts.append(previous.pose)
        # Small images, because a thing that moves is elsewhere when a search has taken long.
        small = [
            observe(view, self.config.search_side, self._background, SEARCH_PX) for view in views
        ]
        scores = np.array([self._rough.agreement(start, small).score for start in starts])
        best = np.argsort(-scores)[: self.config.search_starts]
        found, steps = [], 0
        for index in best:
            pose = starts[index]
            for _ in range(SEARCH_STEPS):
                pose = self._step(self._rough, pose, small, SEARCH_PX)
                steps += 1
            found.append((self._rough.agreement(pose, small).score, pose))
        pose = max(found, key=lambda one: one[0])[1]
        aligned = self._align(pose, coarse, fine)
        return replace(aligned, iterations=aligned.iterations + steps)

    def _align(
        self,
        pose: Pose,
        coarse: Sequence[ObservedView],
        fine: Sequence[ObservedView],
        expected: Pose | None = None,
    ) -> _Found:
        config = self.config
        for _ in range(config.coarse_steps):
            pose = self._step(self._aligner, pose, coarse, config.coarse_px, expected)
        for _ in range(config.fine_steps):
            pose = self._step(self._aligner, pose, fine, config.fine_px, expected)
        steps = config.coarse_steps + config.fine_steps
        return _Found(pose, self._aligner.agreement(pose, fine), steps)

    def _step(
        self,
        aligner: Aligner,
        pose: Pose,
        views: Sequence[ObservedView],
        blur_px: float,
        expected: Pose | None = None,
    ) -> Pose:
        return aligner.step(
            pose,
            views,
            expected,
            reach_px=4.0 * blur_px,
            colour_weight=self.config.colour_weight,
        )


def _elapsed(previous: TrackedPose, stamp_s: float | None) -> float:
    """Return the time since the pose before: seconds, or 1 where there are no stamps."""
    if stamp_s is None or previous.stamp_s is None:
        return 1.0
    return stamp_s - previous.stamp_s


def _carried_on(previous: TrackedPose, stamp_s: float | None, longest_s: float) -> Pose:
    """Return where a pose would be by now at its speed."""
    elapsed = _elapsed(previous, stamp_s)
    if not 0.0 < elapsed <= max(longest_s, 1.0 if stamp_s is None else 0.0):
        return previous.pose
    T = previous.T_world_root.copy()
    T[:3, :3] = Rotation.from_rotvec(elapsed * previous.root_speed_6[3:]).as_matrix() @ T[:3, :3]
    T[:3, 3] += elapsed * previous.root_speed_6[:3]
    return Pose(previous.joint_positions + elapsed * previous.speeds_D, T)


def _with_speeds(tracked: TrackedPose, previous: TrackedPose, longest_s: float) -> TrackedPose:
    """Return a pose with the speeds that it has since the one before, none after a long gap."""
    elapsed = _elapsed(previous, tracked.stamp_s)
    if not 0.0 < elapsed <= max(longest_s, 1.0 if tracked.stamp_s is None else 0.0):
        return tracked
    T, before = tracked.T_world_root, previous.T_world_root
    turn = Rotation.from_matrix(T[:3, :3] @ before[:3, :3].T).as_rotvec()
    moved = np.concatenate([T[:3, 3] - before[:3, 3], turn])
    return replace(
        tracked,
        speeds_D=(tracked.joint_positions - previous.joint_positions) / elapsed,
        root_speed_6=moved / elapsed,
    )
