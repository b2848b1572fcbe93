"""Following a moving camera from image to image: prior, confirmation, gate, lost and found.

The same object runs in the relocalizer node and in offline evaluation of bags.
"""

from collections import deque
from dataclasses import dataclass, replace
from enum import Enum
import math
from typing import Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from posefield.geometry.camera import Camera
from posefield.geometry.poses import invert, skew
from posefield.relocalization.localization import Localization, PosePrior
from posefield.relocalization.tracker_config import TrackerConfig

# A stamp this much older than the one before (seconds) means that time started again.
TIME_JUMP_S = 1.0


class TrackingState(str, Enum):
    """What the tracker knows about where the camera is."""

    UNINITIALIZED = 'uninitialized'
    SEARCHING = 'searching'
    CONFIRMING = 'confirming'
    TRACKING = 'tracking'
    DEGRADED = 'degraded'
    LOST = 'lost'


# The states in which the last published pose, carried on by odometry, still holds.
FOLLOWING_STATES = frozenset({TrackingState.TRACKING, TrackingState.DEGRADED})


@dataclass(frozen=True)
class TrackedPose:
    """What one image brought.

    Attributes:
        localization: the localizer's answer for this image.
        state: the state after this image.
        published: whether the pose may be used; never use the poses below where it is False.
        T_map_base: (4, 4) pose of the base (of the camera where no extrinsics were given).
        T_map_odom: (4, 4), None where no odometry was given.
        covariance_base: (6, 6) of T_map_base: x, y, z, rotation about fixed map x, y, z.
        gate_distance: Mahalanobis distance from the prediction, None where there was none.
        reason: why it is not published; empty where it is.
    """

    localization: Localization
    state: TrackingState
    published: bool
    T_map_base: np.ndarray
    T_map_odom: np.ndarray | None
    covariance_base: np.ndarray
    gate_distance: float | None
    reason: str


@dataclass(frozen=True)
class _Fix:
    """A base pose in the map at one moment; stamp_s None: from when the next image comes.

    median_depth is None while no image has told it.
    """

    stamp_s: float | None
    T_map_base: np.ndarray
    covariance: np.ndarray
    T_odom_base: np.ndarray | None
    median_depth: float | None


@dataclass(frozen=True)
class Prediction:
    """Where a base should be by now: (4, 4), and (6, 6) in the order of PosePrior."""

    T_map_base: np.ndarray
    covariance: np.ndarray


class LocalizesImages(Protocol):
    """The part of a Localizer that a tracker calls."""

    def localize(
        self, image: np.ndarray, camera: Camera, prior: PosePrior | None = None
    ) -> Localization:
        """Return the pose of one image."""


class RelocalizationTracker:
    """Turns a stream of images into poses worth publishing.

    UNINITIALIZED until the first image; SEARCHING without a prior; CONFIRMING while accepted
    fixes are fewer than `confirm_k`; TRACKING from a predicted prior; DEGRADED while fixes fail
    or disagree with the prediction; LOST for the image that exhausts `lost_after`, after which
    the search is global again.
    """

    def __init__(self, localizer: LocalizesImages, config: TrackerConfig | None = None):
        self.config = config or TrackerConfig()
        self._localizer = localizer
        self.reset()

    @property
    def state(self) -> TrackingState:
        """The state after the last image."""
        return self._state

    def reset(self) -> None:
        """Forget everything but the map: the next image is searched globally."""
        self._state = TrackingState.UNINITIALIZED
        self._anchor: _Fix | None = None
        self._anchor_is_hint = False
        self._failures = 0
        self._last_stamp_s: float | None = None
        self._candidates: deque[_Fix | None] = deque(maxlen=self._window)

    @property
    def _window(self) -> int:
        return max(self.config.confirm_n, self.config.confirm_k)

    def reconfigure(self, config: TrackerConfig) -> None:
        """Go on with other thresholds, keeping what is known."""
        self.config = config
        self._candidates = deque(self._candidates, maxlen=self._window)

    def set_initial_pose(self, T_map_base: np.ndarray, covariance: np.ndarray) -> None:
        """Start again from a person's guess of the base pose at the next image.

        The guess is a prior, not a fix: nothing is published from it, and the first accepted
        fix need not agree with it.

        Args:
            T_map_base: (4, 4).
            covariance: (6, 6) of x, y, z, rotation about fixed map x, y, z.
        """
        self.reset()
        self._anchor = _Fix(None, T_map_base, covariance, None, None)
        self._anchor_is_hint = True
        self._state = TrackingState.SEARCHING

    def process(
        self,
        image: np.ndarray,
        camera: Camera,
        stamp_s: float,
        T_odom_base: np.ndarray | None = None,
        T_base_cam: np.ndarray | None = None,
    ) -> TrackedPose:
        """Localize one image and decide whether its pose is published.

        Args:
            image: (H, W, 3) RGB, uint8 or float in [0, 1].
            camera: its intrinsics.
            stamp_s: when it was taken.
            T_odom_base: (4, 4) odometry at that moment; None where there is none.
            T_base_cam: (4, 4) extrinsics; None takes the camera itself as base.
        """
        if self._last_stamp_s is not None and stamp_s < self._last_stamp_s - TIME_JUMP_S:
            self.reset()
        self._last_stamp_s = stamp_s
        T_base_cam = np.eye(4) if T_base_cam is None else T_base_cam
        if self._anchor is not None and self._anchor.stamp_s is None:
            self._anchor = replace(self._anchor, stamp_s=stamp_s, T_odom_base=T_odom_base)
        predicted = self._predict(stamp_s, T_odom_base)
        localization = self._localizer.localize(image, camera, self._prior(predicted, T_base_cam))
        fix = self._fix(localization, stamp_s, T_odom_base, T_base_cam)
        distance = None
        if predicted is not None and not self._anchor_is_hint:
            distance = mahalanobis(predicted, fix.T_map_base, fix.covariance)
        published, reason = self._judge(localization, fix, distance)
        T_map_odom = None if T_odom_base is None else fix.T_map_base @ invert(T_odom_base)
        return TrackedPose(
            localization,
            self._state,
            published,
            fix.T_map_base,
            T_map_odom,
            fix.covariance,
            distance,
            reason,
        )

    def _predict(self, stamp_s: float, T_odom_base: np.ndarray | None) -> Prediction | None:
        if self._anchor is None:
            return None
        return predict(self._anchor, stamp_s, T_odom_base, self.config)

    def _prior(self, predicted: Prediction | None, T_base_cam: np.ndarray) -> PosePrior | None:
        """Return the predicted camera pose, unless it says too little."""
        if predicted is None:
            return None
        T_map_cam = predicted.T_map_base @ T_base_cam
        lever = T_map_cam[:3, 3] - predicted.T_map_base[:3, 3]
        covariance = moved_covariance(predicted.covariance, lever)
        if not self._anchor_is_hint:
            depth = self._anchor.median_depth
            widest = np.sqrt(np.diag(covariance).reshape(2, 3).max(axis=1))
            if (
                widest[0] > self.config.prior_max_translation * depth
                or widest[1] > self.config.prior_max_rotation
            ):
                return None
        return PosePrior(T_map_cam, covariance)

    def _fix(
        self,
        localization: Localization,
        stamp_s: float,
        T_odom_base: np.ndarray | None,
        T_base_cam: np.ndarray,
    ) -> _Fix:
        T_map_base = localization.T_map_cam @ invert(T_base_cam)
        lever = T_map_base[:3, 3] - localization.T_map_cam[:3, 3]
        covariance = moved_covariance(localization.covariance, lever)
        return _Fix(stamp_s, T_map_base, covariance, T_odom_base, localization.median_depth)

    def _judge(
        self, localization: Localization, fix: _Fix, distance: float | None
    ) -> tuple[bool, str]:
        """Move the state machine by one image; return whether to publish, or why not."""
        if not localization.accepted:
            return False, self._failed(localization.reason or 'The pose was not accepted.')
        if distance is not None and distance > self.config.gate_sigmas:
            return False, self._failed(
                f'The pose is {distance:.1f} sigmas from where motion predicts it, the gate is '
                f'{self.config.gate_sigmas:.1f}.'
            )
        if self._state not in FOLLOWING_STATES:
            self._candidates.append(fix)
            agreeing = self._count_agreeing(fix)
            if agreeing < self.config.confirm_k:
                self._state = TrackingState.CONFIRMING
                return False, (
                    f'{agreeing} of {self.config.confirm_k} fixes agree so far; waiting for more.'
                )
        self._anchor, self._anchor_is_hint = fix, False
        self._failures = 0
        self._candidates.clear()
        self._state = TrackingState.TRACKING
        return True, ''

    def _failed(self, reason: str) -> str:
        """Count an image without a usable fix and fall back one state if need be."""
        self._failures += 1
        if self._state in FOLLOWING_STATES:
            self._state = TrackingState.DEGRADED
            if self._failures >= self.config.lost_after:
                self._give_up(TrackingState.LOST)
            return reason
        self._candidates.append(None)
        confirming = any(candidate is not None for candidate in self._candidates)
        self._state = TrackingState.CONFIRMING if confirming else TrackingState.SEARCHING
        if self._anchor_is_hint and self._failures >= self.config.lost_after:
            self._give_up(TrackingState.SEARCHING)
        return reason

    def _give_up(self, state: TrackingState) -> None:
        self._anchor, self._anchor_is_hint = None, False
        self._failures = 0
        self._candidates.clear()
        self._state = state

    def _count_agreeing(self, fix: _Fix) -> int:
        """Return how many candidates, carried on to now, agree with the newest (itself too)."""
        agreeing = 0
        for candidate in self._candidates:
            if candidate is None:
                continue
            carried = predict(candidate, fix.stamp_s, fix.T_odom_base, self.config)
            distance = mahalanobis(carried, fix.T_map_base, fix.covariance)
            agreeing += distance <= self.config.gate_sigmas
        return agreeing


def predict(
    fix: _Fix, stamp_s: float, T_odom_base: np.ndarray | None, config: TrackerConfig
) -> Prediction:
    """Return the base pose now: moved by odometry, or where it was, with a grown covariance."""
    depth = 1.0 if fix.median_depth is None else fix.median_depth
    floor = np.array([config.floor_translation * depth] * 3 + [config.floor_rotation] * 3)
    if T_odom_base is not None and fix.T_odom_base is not None:
        motion = invert(fix.T_odom_base) @ T_odom_base
        T_map_base = fix.T_map_base @ motion
        travelled = float(np.linalg.norm(motion[:3, 3]))
        turned = float(Rotation.from_matrix(motion[:3, :3]).magnitude())
        translation = config.odometry_translation_ratio * travelled
        rotation = config.odometry_rotation_ratio * (turned + travelled / depth)
    else:
        T_map_base = fix.T_map_base
        elapsed_s = abs(stamp_s - fix.stamp_s)
        translation = config.free_speed * depth * elapsed_s
        rotation = min(config.free_turn * elapsed_s, math.pi)
    lever = T_map_base[:3, 3] - fix.T_map_base[:3, 3]
    grown = np.array([translation] * 3 + [rotation] * 3)
    covariance = moved_covariance(fix.covariance, lever) + np.diag(floor**2 + grown**2)
    return Prediction(T_map_base, covariance)


def moved_covariance(covariance: np.ndarray, lever: np.ndarray) -> np.ndarray:
    """Return the (6, 6) covariance of a point `lever` (map axes) away on the same rigid body."""
    J = np.eye(6)
    J[:3, 3:] = -skew(lever)
    return J @ covariance @ J.T


def mahalanobis(predicted: Prediction, T: np.ndarray, covariance: np.ndarray) -> float:
    """Return the distance of a pose from a prediction in sigmas of both (6 degrees of freedom)."""
    R_error = T[:3, :3] @ predicted.T_map_base[:3, :3].T
    error = np.concatenate(
        [T[:3, 3] - predicted.T_map_base[:3, 3], Rotation.from_matrix(R_error).as_rotvec()]
    )
    total = predicted.covariance + covariance
    return math.sqrt(max(float(error @ np.linalg.solve(total, error)), 0.0))
