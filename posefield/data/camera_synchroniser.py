"""Groups images of several cameras that were taken together, as they come in."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posefield.errors import DataError

NANOSECONDS = 1_000_000_000
# The last images that rates and skews are taken over.
WINDOW = 60


@dataclass(frozen=True, eq=False)
class SynchronisedSet:
    """Images that were taken together.

    Attributes:
        stamp_ns: the median of the images' stamps (the earlier of the two in the middle).
        items: what was added, by camera; cameras that missed the moment are not in it.
        stamps_ns: the stamp of each item.
    """

    stamp_ns: int
    items: Mapping[str, Any]
    stamps_ns: Mapping[str, int]

    @property
    def skew_s(self) -> float:
        """The time between the first and the last image."""
        return _spread(self.stamps_ns) / NANOSECONDS


@dataclass(frozen=True)
class CameraCounters:
    """What came of one camera.

    Attributes:
        received: images that came.
        rate_hz: of the last images, by their arrival; None before the second.
        age_s: time since the last image; None before the first.
        skew_s: largest distance of its last images from the stamps of their sets; None before
            its first set.
        offset_s: how far the stamp of its last image is after the newest stamp of any other
            camera; None before both came.
        dropped: images that are in no set, for whatever reason.
        late: those that came after their moment had been given up.
        out_of_order: those older than the image before.
        duplicates: those with the stamp of the image before.
        jumps: how often its time jumped, back or forth.
        last_jump_s: by how much the last time; positive is forth, 0 where it never did.
        since_set: images since the last one that was in a set.
    """

    received: int = 0
    rate_hz: float | None = None
    age_s: float | None = None
    skew_s: float | None = None
    offset_s: float | None = None
    dropped: int = 0
    late: int = 0
    out_of_order: int = 0
    duplicates: int = 0
    jumps: int = 0
    last_jump_s: float = 0.0
    since_set: int = 0


@dataclass(frozen=True)
class _Entry:
    stamp_ns: int
    item: Any
    arrived_s: float


class _Camera:
    """The waiting images of one camera and its counters."""

    def __init__(self):
        self.waiting: deque[_Entry] = deque()
        self.arrivals_s: deque[float] = deque(maxlen=WINDOW)
        self.skews_s: deque[float] = deque(maxlen=WINDOW)
        self.last_stamp_ns: int | None = None
        self.offset_s: float | None = None
        self.received = self.dropped = self.late = self.since_set = 0
        self.out_of_order = self.duplicates = self.jumps = 0
        self.last_jump_s = 0.0
        # Waited for in vain, and silent since.
        self.is_given_up = False

    def counters(self, now_s: float) -> CameraCounters:
        arrivals_s = self.arrivals_s
        span_s = arrivals_s[-1] - arrivals_s[0] if arrivals_s else 0.0
        return CameraCounters(
            received=self.received,
            rate_hz=(len(arrivals_s) - 1) / span_s if span_s > 0 else None,
            age_s=now_s - arrivals_s[-1] if arrivals_s else None,
            skew_s=max(self.skews_s) if self.skews_s else None,
            offset_s=self.offset_s,
            dropped=self.dropped,
            late=self.late,
            out_of_order=self.out_of_order,
            duplicates=self.duplicates,
            jumps=self.jumps,
            last_jump_s=self.last_jump_s,
            since_set=self.since_set,
        )


class CameraSynchroniser:
    """Finds the images of N cameras whose stamps lie within a tolerance of each other.

    A set is given as soon as it has an image of every camera. A camera that misses a moment (its
    next image is of a later one) is left out of it; one that is silent is waited for, but not
    longer than `timeout_s`, and then no more until it sends again. Sets of fewer than
    `min_cameras` are dropped. Images of one camera that would fit one set equally are told apart
    by the least spread of stamps. Memory is bounded by `buffer` images of each camera.

    Stamps are the cameras' time, `now_s` is any clock that never jumps. Not safe for threads by
    itself.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        tolerance_s: float,
        min_cameras: int | None = None,
        buffer: int = 30,
        timeout_s: float = 0.5,
        jump_s: float = 1.0,
    ):
        """Take the cameras and what a set is.

        Args:
            names: of the cameras.
            tolerance_s: largest time between the first and the last stamp of a set; less than
                half the time between two images of a camera leaves no doubt.
            min_cameras: the least number of cameras of a set; None for all.
            buffer: images of one camera that may wait.
            timeout_s: how long an image waits for a camera that may still send its own.
            jump_s: a stamp that differs by more than this from what the arrival lets expect is a
                jump in time.

        Raises:
            DataError: for no names, names used twice, or numbers out of range.
        """
        self._names = tuple(names)
        self._min_cameras = len(self._names) if min_cameras is None else min_cameras
        self._check(tolerance_s, buffer, timeout_s, jump_s)
        self._tolerance_ns = round(tolerance_s * NANOSECONDS)
        self._buffer = buffer
        self._timeout_s = timeout_s
        self._jump_ns = round(jump_s * NANOSECONDS)
        self._cameras = {name: _Camera() for name in self._names}
        self._begun_s: float | None = None
        self._last_set_ns: int | None = None
        self.complete_sets = 0
        self.partial_sets = 0

    def _check(self, tolerance_s: float, buffer: int, timeout_s: float, jump_s: float) -> None:
        names = self._names
        if not names or len(set(names)) != len(names) or not all(names):
            raise DataError(
                f'Cameras to synchronise need names that are used once, found {list(names)}.'
            )
        if not 1 <= self._min_cameras <= len(names):
            raise DataError(
                f'The least number of cameras of a set must be 1 to {len(names)}, found '
                f'{self._min_cameras}.'
            )
        if buffer < 2:
            raise DataError(f'At least 2 images of a camera must be able to wait, found {buffer}.')
        for what, value in (('tolerance', tolerance_s), ('timeout', timeout_s), ('jump', jump_s)):
            if not 0 < value < float('inf'):
                raise DataError(
                    f'The {what} of synchronisation must be positive, found {value} s.'
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras."""
        return self._names

    def add(self, name: str, stamp_ns: int, item: Any, now_s: float) -> list[SynchronisedSet]:
        """Take an image that came in and return the sets that are decided now, in their order.

        Args:
            name: of the camera.
            stamp_ns: when it was taken, by the camera.
            item: to find in the set.
            now_s: when it came in.

        Raises:
            DataError: for a camera that was not named.
        """
        camera = self._cameras.get(name)
        if camera is None:
            raise DataError(
                f'There is no camera {name!r} to synchronise, found {", ".join(self._names)}.'
            )
        self._begin(now_s)
        if self._count(camera, name, stamp_ns, now_s):
            camera.waiting.append(_Entry(stamp_ns, item, now_s))
        sets = self._decide(now_s)
        while len(camera.waiting) > self._buffer:
            sets += self._decide(now_s, forced=1)
        return sets

    def flush(self, now_s: float) -> list[SynchronisedSet]:
        """Return the sets whose missing cameras have been waited for long enough."""
        self._begin(now_s)
        return self._decide(now_s)

    def lost(self, now_s: float, after_s: float) -> tuple[str, ...]:
        """Return the cameras that have sent no image for so long."""
        self._begin(now_s)
        return tuple(name for name in self._names if self._silence_s(name, now_s) >= after_s)

    def counters(self, now_s: float) -> dict[str, CameraCounters]:
        """Return the counters of every camera."""
        return {name: camera.counters(now_s) for name, camera in self._cameras.items()}

    def clear(self) -> None:
        """Forget the waiting images, which are not counted as dropped, and the time of sets."""
        for camera in self._cameras.values():
            camera.waiting.clear()
            camera.last_stamp_ns = None
        self._last_set_ns = None

    def _begin(self, now_s: float) -> None:
        if self._begun_s is None:
            self._begun_s = now_s

    def _silence_s(self, name: str, now_s: float) -> float:
        arrivals_s = self._cameras[name].arrivals_s
        return now_s - (arrivals_s[-1] if arrivals_s else self._begun_s)

    def _count(self, camera: _Camera, name: str, stamp_ns: int, now_s: float) -> bool:
        """Count an image and return whether it may still be in a set."""
        camera.received += 1
        camera.since_set += 1
        self._measure_offset(camera, name, stamp_ns)
        last_ns, silence_s = camera.last_stamp_ns, self._silence_s(name, now_s)
        camera.arrivals_s.append(now_s)
        camera.is_given_up = False
        if last_ns is not None:
            step_ns = stamp_ns - last_ns
            if step_ns == 0:
                camera.duplicates += 1
                camera.dropped += 1
                return False
            jumped_ns = step_ns - max(0, round(silence_s * NANOSECONDS))
            if step_ns < -self._jump_ns or jumped_ns > self._jump_ns:
                self._jump(camera, jumped_ns, is_back=step_ns < 0)
            elif step_ns < 0:
                camera.out_of_order += 1
                camera.dropped += 1
                return False
        camera.last_stamp_ns = stamp_ns
        if self._last_set_ns is not None and 0 <= self._last_set_ns - stamp_ns <= self._jump_ns:
            camera.late += 1
            camera.dropped += 1
            return False
        return True

    def _measure_offset(self, camera: _Camera, name: str, stamp_ns: int) -> None:
        others_ns = [
            other.last_stamp_ns
            for other_name, other in self._cameras.items()
            if other_name != name and other.last_stamp_ns is not None
        ]
        if others_ns:
            camera.offset_s = (stamp_ns - max(others_ns)) / NANOSECONDS

    def _jump(self, camera: _Camera, jumped_ns: int, is_back: bool) -> None:
        """Count a jump; images of before a jump back will find no partner any more."""
        camera.jumps += 1
        camera.last_jump_s = jumped_ns / NANOSECONDS
        if is_back:
            camera.dropped += len(camera.waiting)
            camera.waiting.clear()

    def _decide(self, now_s: float, forced: int = 0) -> list[SynchronisedSet]:
        """Give sets, or drop images that can be in none, until it is time to wait.

        Args:
            now_s: the present.
            forced: how many decisions are made without waiting for silent cameras.
        """
        sets = []
        while True:
            heads = {name: c.waiting[0] for name, c in self._cameras.items() if c.waiting}
            if not heads:
                return sets
            anchor = min(heads, key=lambda name: heads[name].stamp_ns)
            if self._must_wait(heads[anchor], now_s):
                if not forced:
                    return sets
                forced -= 1
            members = self._members(heads)
            if len(members) < self._min_cameras or self._is_better_without(anchor, heads, members):
                self._cameras[anchor].waiting.popleft()
                self._cameras[anchor].dropped += 1
            else:
                sets.append(self._give(members))

    def _must_wait(self, anchor: _Entry, now_s: float) -> bool:
        """Return whether a camera without waiting images may still send one for this moment."""
        silent = [camera for camera in self._cameras.values() if not camera.waiting]
        if now_s - anchor.arrived_s < self._timeout_s:
            return not all(camera.is_given_up for camera in silent)
        for camera in silent:
            camera.is_given_up = True
        return False

    def _members(self, heads: Mapping[str, _Entry]) -> dict[str, _Entry]:
        """Return the first images that lie within the tolerance of the earliest."""
        first_ns = min(entry.stamp_ns for entry in heads.values())
        return {
            name: entry
            for name, entry in heads.items()
            if entry.stamp_ns - first_ns <= self._tolerance_ns
        }

    def _is_better_without(
        self, anchor: str, heads: Mapping[str, _Entry], members: Mapping[str, _Entry]
    ) -> bool:
        """Return whether the rest finds more or nearer images when the first is dropped."""
        later = {name: entry for name, entry in heads.items() if name != anchor}
        waiting = self._cameras[anchor].waiting
        if len(waiting) > 1:
            later[anchor] = waiting[1]
        rest = [name for name in members if name != anchor]
        if not rest:
            return False
        others = self._members(later)
        if not all(name in others for name in rest):
            return False
        stamps, other_stamps = (
            {name: entry.stamp_ns for name, entry in entries.items()}
            for entries in (members, others)
        )
        return (len(others), -_spread(other_stamps)) > (len(members), -_spread(stamps))

    def _give(self, members: Mapping[str, _Entry]) -> SynchronisedSet:
        stamps_ns = {name: entry.stamp_ns for name, entry in members.items()}
        stamp_ns = sorted(stamps_ns.values())[(len(stamps_ns) - 1) // 2]
        for name in members:
            camera = self._cameras[name]
            camera.waiting.popleft()
            camera.since_set = len(camera.waiting)
            camera.skews_s.append(abs(stamps_ns[name] - stamp_ns) / NANOSECONDS)
        self._last_set_ns = stamp_ns
        if len(members) == len(self._names):
            self.complete_sets += 1
        else:
            self.partial_sets += 1
        items = {name: entry.item for name, entry in members.items()}
        return SynchronisedSet(stamp_ns, items, stamps_ns)


def _spread(stamps_ns: Mapping[str, int]) -> int:
    return int(np.ptp(list(stamps_ns.values())))
