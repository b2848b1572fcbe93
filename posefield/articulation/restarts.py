"""Where the runs that fit parts begin."""

import numpy as np

from posefield.articulation.fitting_data import FittingPixels
from posefield.articulation.part_seeding import hull_volumes

# Frames in which a run may begin lie at least so many frames apart, as a share of the video.
SPACING = 0.2


def first_frames(pixels: FittingPixels, count: int) -> list[int]:
    """Return where runs begin: frames with small visual hulls, apart from each other.

    The smaller a hull, the less of it is empty: there the silhouettes say most.
    """
    volumes = hull_volumes(pixels)
    volumes = np.where(volumes > 0, volumes, np.inf)
    apart = max(1, round(SPACING * pixels.frames))
    chosen: list[int] = []
    for frame in np.argsort(volumes, kind='stable').tolist():
        if all(abs(frame - other) >= apart for other in chosen):
            chosen.append(frame)
        if len(chosen) == count:
            return chosen
    # A short video has fewer frames apart than runs are wanted: begin in the best ones again.
    return [chosen[index % len(chosen)] for index in range(count)]
