"""A small tf buffer for machines without tf2_ros: interpolates, and says what is missing."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

import numpy as np
from transforms3d.affines import compose
from transforms3d.quaternions import (
    axangle2quat,
    mat2quat,
    qinverse,
    qmult,
    quat2axangle,
    quat2mat,
)

from posefield.geometry.poses import invert


class TransformMissing(Exception):
    """No transform at that time between these frames; the message says why."""


@dataclass
class _Track:
    """The transforms of one child frame to its parent, by time."""

    parent: str
    is_static: bool
    stamps_ns: list[int] = field(default_factory=list)
    transforms: dict[int, np.ndarray] = field(default_factory=dict)


class TransformBuffer:
    """Keeps the last seconds of every transform; not safe for threads by itself."""

    def __init__(self, cache_s: float = 10.0):
        self._cache_ns = round(cache_s * 1e9)
        self._tracks: dict[str, _Track] = {}

    def clear(self) -> None:
        """Forget what changes; static transforms hold for ever."""
        self._tracks = {child: t for child, t in self._tracks.items() if t.is_static}

    def set(
        self, parent: str, child: str, stamp_ns: int, T_parent_child: np.ndarray, is_static: bool
    ) -> None:
        """Store one transform; a child that changes its parent starts anew."""
        track = self._tracks.get(child)
        if track is None or track.parent != parent or track.is_static != is_static:
            track = self._tracks[child] = _Track(parent, is_static)
        if is_static:
            track.stamps_ns, track.transforms = [0], {0: T_parent_child}
            return
        if stamp_ns not in track.transforms:
            insort(track.stamps_ns, stamp_ns)
        track.transforms[stamp_ns] = T_parent_child
        oldest = track.stamps_ns[-1] - self._cache_ns
        while track.stamps_ns[0] < oldest:
            del track.transforms[track.stamps_ns.pop(0)]

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """Return T_target_source (4, 4) at a time; never extrapolates.

        Raises:
            TransformMissing: when a frame is unknown, unconnected, or has no data at that time.
        """
        for frame in (target, source):
            if target != source and not self._knows(frame):
                raise TransformMissing(f'frame "{frame}" is not on TF')
        up_from_source = self._ancestors(source)
        up_from_target = self._ancestors(target)
        common = next((frame for frame in up_from_source if frame in up_from_target), None)
        if common is None:
            raise TransformMissing(f'"{target}" and "{source}" are in unconnected trees')
        T_common_source = self._chain(up_from_source, common, stamp_ns)
        T_common_target = self._chain(up_from_target, common, stamp_ns)
        return invert(T_common_target) @ T_common_source

    def _knows(self, frame: str) -> bool:
        return frame in self._tracks or any(t.parent == frame for t in self._tracks.values())

    def _ancestors(self, frame: str) -> list[str]:
        """Return the frame, its parent, and so on to the root (a loop ends where it closes)."""
        frames = [frame]
        while frames[-1] in self._tracks:
            parent = self._tracks[frames[-1]].parent
            if parent in frames:
                break
            frames.append(parent)
        return frames

    def _chain(self, frames: list[str], common: str, stamp_ns: int) -> np.ndarray:
        T = np.eye(4)
        for child in frames[: frames.index(common)]:
            T = self._at(child, stamp_ns) @ T
        return T

    def _at(self, child: str, stamp_ns: int) -> np.ndarray:
        track = self._tracks[child]
        if track.is_static:
            return track.transforms[0]
        index = bisect_left(track.stamps_ns, stamp_ns)
        if index < len(track.stamps_ns) and track.stamps_ns[index] == stamp_ns:
            return track.transforms[stamp_ns]
        if index in (0, len(track.stamps_ns)):
            edge = 'first' if index == 0 else 'last'
            stamp = track.stamps_ns[0 if index == 0 else -1]
            raise TransformMissing(
                f'"{track.parent}" -> "{child}" is not known at {stamp_ns / 1e9:.3f}, its {edge} '
                f'transform is of {stamp / 1e9:.3f}'
            )
        before, after = track.stamps_ns[index - 1], track.stamps_ns[index]
        share = (stamp_ns - before) / (after - before)
        return interpolate(track.transforms[before], track.transforms[after], share)


def interpolate(T_0: np.ndarray, T_1: np.ndarray, share: float) -> np.ndarray:
    """Return the transform a share of the way: straight in translation, slerp in rotation."""
    q_0, q_1 = mat2quat(T_0[:3, :3]), mat2quat(T_1[:3, :3])
    if q_0 @ q_1 < 0:
        q_1 = -q_1
    axis, angle = quat2axangle(qmult(qinverse(q_0), q_1))
    quat_wxyz = qmult(q_0, axangle2quat(axis, share * angle))
    translation = (1.0 - share) * T_0[:3, 3] + share * T_1[:3, 3]
    return compose(translation, quat2mat(quat_wxyz), np.ones(3))
