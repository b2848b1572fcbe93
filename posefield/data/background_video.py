"""The background of a video in which an object moves but never leaves.

The median over time shows the object wherever it is for more than half of the time.  Here, each
pixel has a few colours that it shows again and again, and one of them is the background's, or
none.  Which, is chosen for all pixels together: the outlines that follow from it must, in all
frames, lie where the pictures have edges (a Markov random field, solved by belief propagation).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from posefield.data.background import Background

FORBIDDEN = 1e3
# A pixel that shows one colour for more of the time than this changes seldom.
STEADY = 0.9


@dataclass(frozen=True)
class VideoBackgroundConfig:
    """How the background is chosen.

    Attributes:
        long_side: pixels of the pictures in which it is chosen.
        colours: how many colours a pixel can have that may be the background's.
        alike: levels (of 255) in which one colour varies.
        least_share: a colour that is shown for less of the time is none.
        edge: levels of a step at which an outline is cheap.
        outline: what an outline costs even at an edge; 1 more where there is none.
        covered: what a pixel costs before which the object always is, in the same unit.
        hidden: what a pixel costs whose background never shows.
        iterations: of belief propagation.
        damping: share of the old message that is kept.
    """

    long_side: int = 240
    colours: int = 3
    alike: float = 8.0
    least_share: float = 0.03
    edge: float = 12.0
    outline: float = 0.06
    covered: float = 0.005
    hidden: float = 0.05
    iterations: int = 200
    damping: float = 0.5


def background_of_video(
    images_T: np.ndarray,
    config: VideoBackgroundConfig | None = None,
) -> Background:
    """Return the background of pictures (T, H, W, 3) uint8 spread over a video."""
    config = config or VideoBackgroundConfig()
    height, width = images_T.shape[1:3]
    scale = min(1.0, config.long_side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small_T = np.stack([cv2.resize(i, size, interpolation=cv2.INTER_AREA) for i in images_T])
    colours_K, shares_K = repeated_colours(small_T, config)
    covered_LT = np.stack(
        [np.abs(small_T - colours).max(axis=-1) > 2 * config.alike for colours in colours_K]
        + [np.ones(small_T.shape[:3], bool)]
    )
    labels_HW = _choose(small_T, covered_LT, shares_K, config)
    chosen_T = np.take_along_axis(covered_LT, labels_HW[None, None], axis=0)[0]
    return _mean_where_free(images_T, chosen_T)


def repeated_colours(
    images_T: np.ndarray, config: VideoBackgroundConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours that each pixel shows most, and for which share of the time.

    Args:
        images_T: (T, H, W, 3) uint8.
        config: how many, and how alike.

    Returns:
        (K, H, W, 3) float32 levels, most frequent first, and (K, H, W) shares.
    """
    moments, height, width, _ = images_T.shape
    flat_T = images_T.reshape(moments, -1, 3)
    colours_K = np.zeros((config.colours, height * width, 3), np.float32)
    shares_K = np.zeros((config.colours, height * width), np.float32)
    colours_K[:] = flat_T.astype(np.float32).mean(axis=0)
    shares_K[0] = 1.0
    changing = np.ptp(flat_T, axis=0).max(axis=1) > 2 * config.alike
    series_T = flat_T[:, changing].astype(np.int16)
    free_T = np.ones(series_T.shape[:2], bool)
    for rank in range(config.colours):
        centre, count = _densest(series_T, free_T, config.alike)
        near_T = free_T & (np.abs(series_T - centre).max(axis=-1) <= config.alike)
        total = np.maximum(near_T.sum(axis=0), 1)
        mean = np.einsum('tnc,tn->nc', series_T, near_T) / total[:, None]
        colours_K[rank, changing] = mean
        shares_K[rank, changing] = count / moments
        free_T &= np.abs(series_T - mean).max(axis=-1) > 2 * config.alike
    shape = (config.colours, height, width)
    return colours_K.reshape(*shape, 3), shares_K.reshape(shape)


def _densest(
    series_T: np.ndarray, free_T: np.ndarray, alike: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return each pixel's value (N, 3) with the most free values near it, and how many (N)."""
    best = np.zeros(series_T.shape[1], np.int32)
    moment = np.zeros(series_T.shape[1], np.int64)
    for index, values in enumerate(series_T):
        near_T = (np.abs(series_T - values) <= alike).all(axis=-1) & free_T
        count = near_T.sum(axis=0) * free_T[index]
        better = count > best
        best[better] = count[better]
        moment[better] = index
    return series_T[moment, np.arange(series_T.shape[1])], best


def _choose(
    images_T: np.ndarray,
    covered_LT: np.ndarray,
    shares_K: np.ndarray,
    config: VideoBackgroundConfig,
) -> np.ndarray:
    """Return which colour (H, W) is the background's; the last label is none of them.

    Args:
        images_T: (T, H, W, 3) uint8.
        covered_LT: (L, T, H, W) whether the object is there, if a label is right.
        shares_K: (K, H, W) for which share of the time a colour shows.
        config: what it costs.
    """
    covered = covered_LT.astype(np.float32)
    costs = covered.mean(axis=1) * config.covered
    costs[:-1] += np.where(shares_K >= config.least_share, 0.0, FORBIDDEN)
    costs[-1] = np.where(_surrounded(shares_K[0]), config.hidden, FORBIDDEN)
    costs_HWL = np.moveaxis(costs, 0, -1)
    images = images_T.astype(np.float32)
    right = _disagreement(
        images[:, :, :-1], images[:, :, 1:], covered[..., :-1], covered[..., 1:], config
    )
    down = _disagreement(
        images[:, :-1], images[:, 1:], covered[:, :, :-1], covered[:, :, 1:], config
    )
    return _least_cost(costs_HWL, right, down, config)


def _surrounded(shares_HW: np.ndarray) -> np.ndarray:
    """Return the pixels that change often, and those in holes between them."""
    changes = (shares_HW < STEADY).astype(np.uint8)
    changes = cv2.morphologyEx(changes, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    outlines, _ = cv2.findContours(changes, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(changes)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return filled.astype(bool)


def _disagreement(
    one_T: np.ndarray,
    other_T: np.ndarray,
    covered_one: np.ndarray,
    covered_other: np.ndarray,
    config: VideoBackgroundConfig,
) -> np.ndarray:
    """Return what two labels of neighbours cost: outlines where a picture has no edge.

    Args:
        one_T, other_T: (T, H, W, 3) pictures of the pixels and of their neighbours.
        covered_one, covered_other: (L, T, H, W) whether each is covered under a label.
        config: what an outline costs.

    Returns:
        (H, W, L, L): rows are the pixel's labels.
    """
    step_T = np.abs(one_T - other_T).max(axis=-1)
    weight_T = np.exp(-((step_T / config.edge) ** 2)) + config.outline
    one = np.einsum('thw,lthw->hwl', weight_T, covered_one)
    other = np.einsum('thw,lthw->hwl', weight_T, covered_other)
    both = np.einsum('thw,kthw,lthw->hwkl', weight_T, covered_one, covered_other, optimize=True)
    return (one[..., :, None] + other[..., None, :] - 2 * both) / len(one_T)


def _least_cost(
    costs_HWL: np.ndarray, right: np.ndarray, down: np.ndarray, config: VideoBackgroundConfig
) -> np.ndarray:
    """Return labels (H, W) of low cost, by min-sum belief propagation on the grid.

    Args:
        costs_HWL: of each pixel's labels.
        right, down: of pairs of labels, with the neighbour on the right and below.
        config: iterations and damping.
    """
    left, up = right.swapaxes(-1, -2), down.swapaxes(-1, -2)
    from_left, from_right, from_above, from_below = (np.zeros_like(costs_HWL) for _ in range(4))
    keep = config.damping
    for _ in range(config.iterations):
        total = costs_HWL + from_left + from_right + from_above + from_below
        to_right = _message((total - from_right)[:, :-1], right)
        to_left = _message((total - from_left)[:, 1:], left)
        to_below = _message((total - from_below)[:-1], down)
        to_above = _message((total - from_above)[1:], up)
        from_left[:, 1:] = keep * from_left[:, 1:] + (1 - keep) * to_right
        from_right[:, :-1] = keep * from_right[:, :-1] + (1 - keep) * to_left
        from_above[1:] = keep * from_above[1:] + (1 - keep) * to_below
        from_below[:-1] = keep * from_below[:-1] + (1 - keep) * to_above
    return (costs_HWL + from_left + from_right + from_above + from_below).argmin(axis=-1)


def _message(costs_HWL: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the least cost of each label of the neighbour, relative to its best."""
    message = (costs_HWL[..., :, None] + pairs).min(axis=-2)
    return message - message.min(axis=-1, keepdims=True)


def _mean_where_free(images_T: np.ndarray, covered_T: np.ndarray) -> Background:
    """Return the mean colours of moments without the object.

    Args:
        images_T: (T, H, W, 3) uint8.
        covered_T: (T, h, w) bool at a lower resolution.
    """
    height, width = images_T.shape[1:3]
    total_HW3 = np.zeros((height, width, 3), np.float32)
    count_HW = np.zeros((height, width), np.float32)
    kernel = np.ones((3, 3), np.uint8)
    for image, covered in zip(images_T, covered_T, strict=True):
        grown = cv2.dilate(covered.astype(np.uint8), kernel)
        free_HW = cv2.resize(grown, (width, height), interpolation=cv2.INTER_NEAREST) == 0
        total_HW3 += image * free_HW[..., None]
        count_HW += free_HW
    return Background(total_HW3 / np.maximum(count_HW, 1)[..., None], count_HW > 0)
