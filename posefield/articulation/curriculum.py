"""Which images are learned from: at first few frames, then more and more (section 7).

Parts are carried from frame to frame, so those that were added last are looked at more often.
"""

from dataclasses import dataclass

import numpy as np

from posefield.errors import LearningError


@dataclass(frozen=True)
class CurriculumConfig:
    """The published curriculum, in iterations.

    Attributes:
        first_frames: T0, learned from until `hold`.
        hold: tau_0, when frames begin to be added.
        complete: tau_1, when all frames have been added.
        recent: the last frames of those added so far.
        recent_share: probability with which one of them is drawn, beyond their own share.

    Raises:
        LearningError: for numbers that make no curriculum.
    """

    first_frames: int = 10
    hold: int = 10_000
    complete: int = 80_000
    recent: int = 6
    recent_share: float = 0.2

    def __post_init__(self):
        if not (
            self.first_frames >= 1
            and 0 <= self.hold < self.complete
            and self.recent >= 1
            and 0 <= self.recent_share <= 1
        ):
            raise LearningError(
                'A curriculum needs first_frames and recent of at least 1, 0 <= hold < complete '
                f'and recent_share in [0, 1], found {self}.'
            )

    def frames(self, iteration: int, frames: int) -> int:
        """Return how many of the frames have been added in an iteration."""
        first = min(self.first_frames, frames)
        added = min(max(iteration - self.hold, 0), self.complete - self.hold)
        return first + added * (frames - first) // (self.complete - self.hold)


class ImageSampler:
    """Draws images, by the curriculum first and then in shuffled epochs over all of them.

    The same seed draws the same images in every process.

    Args:
        views, frames: V and T of the video.
        config: of the curriculum.
        seed: of all draws.
    """

    def __init__(self, views: int, frames: int, config: CurriculumConfig, seed: int):
        self._views, self._frames = views, frames
        self._config = config
        self._seed = seed
        # Images drawn in epochs so far; all that a resumed run needs to know.
        self.drawn = 0

    def draw(self, step: int, iteration: int, images: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the views (B,) and frames (B,) of the next images.

        Args:
            step: another one every time.
            iteration: of the curriculum.
            images: B.
        """
        added = self._config.frames(iteration, self._frames)
        if added >= self._frames:
            return self._next_of_epochs(images)
        generator = np.random.default_rng((self._seed, 0, step))
        first_recent = max(0, added - self._config.recent)
        frames = np.where(
            generator.random(images) < self._config.recent_share,
            generator.integers(first_recent, added, images),
            generator.integers(0, added, images),
        )
        return generator.integers(0, self._views, images), frames

    def _next_of_epochs(self, images: int) -> tuple[np.ndarray, np.ndarray]:
        total = self._views * self._frames
        numbers = np.arange(self.drawn, self.drawn + images)
        self.drawn += images
        epochs = numbers // total
        orders = {
            int(epoch): np.random.default_rng((self._seed, 1, int(epoch))).permutation(total)
            for epoch in np.unique(epochs)
        }
        chosen = np.array(
            [orders[int(e)][n % total] for e, n in zip(epochs, numbers, strict=True)]
        )
        return chosen // self._frames, chosen % self._frames
