"""Joins the images of a camera with their masks, which come by themselves and later."""

from collections import deque
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class MaskedItem:
    """An image and its mask.

    Attributes:
        stamp_ns: of both.
        image: as it was added.
        mask: as it was added; None where none came in time.
    """

    stamp_ns: int
    image: Any
    mask: Any


@dataclass(frozen=True)
class _Waiting:
    stamp_ns: int
    image: Any
    arrived_s: float


class MaskPairing:
    """Holds images until the mask of the same stamp is there, but not for longer than a time-out.

    Images leave in the order in which they came. Memory is bounded by `buffer` images and masks.
    `now_s` is any clock that never jumps. Not safe for threads by itself.
    """

    def __init__(self, *, timeout_s: float = 0.3, buffer: int = 30):
        self._timeout_s = timeout_s
        self._buffer = buffer
        self._images: deque[_Waiting] = deque()
        # Masks that came before their images.
        self._masks: dict[int, Any] = {}
        self.without_mask = 0

    def add_image(self, stamp_ns: int, image: Any, now_s: float) -> list[MaskedItem]:
        """Take an image and return those that are decided now."""
        self._images.append(_Waiting(stamp_ns, image, now_s))
        return self.flush(now_s)

    def add_mask(self, stamp_ns: int, mask: Any, now_s: float) -> list[MaskedItem]:
        """Take a mask and return the images that are decided now."""
        self._masks[stamp_ns] = mask
        while len(self._masks) > self._buffer:
            del self._masks[next(iter(self._masks))]
        return self.flush(now_s)

    def flush(self, now_s: float) -> list[MaskedItem]:
        """Return the images that have their masks, or that have waited long enough.

        An image leaves without its mask when that of a later image is there: masks keep the
        order of their images.
        """
        has_mask = [waiting.stamp_ns in self._masks for waiting in self._images]
        decided = len(has_mask) - has_mask[::-1].index(True) if any(has_mask) else 0
        items = []
        while self._images and (
            len(items) < decided
            or len(self._images) > self._buffer
            or now_s - self._images[0].arrived_s >= self._timeout_s
        ):
            waiting = self._images.popleft()
            mask = self._masks.pop(waiting.stamp_ns, None)
            self.without_mask += mask is None
            items.append(MaskedItem(waiting.stamp_ns, waiting.image, mask))
        return items
