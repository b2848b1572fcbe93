"""Masks by comparison with a picture of the background.

Shadows are a background's colour, only darker; where they, small differences or what cannot
belong to one object are seen, the mask says that it does not know.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from posefield.data.rig_camera import BACKGROUND, OBJECT, UNRELIABLE
from posefield.errors import DataError
from posefield.geometry.images import resize


@dataclass(frozen=True)
class SubtractionConfig:
    """How a picture is compared with its background; levels are of 0 to 255.

    Attributes:
        alike: a difference up to this is background.
        unlike: a difference from this on is object; between the two nobody knows.
        darkest, brightest: what a shadow or reflection multiplies the background by at most.
        least_share: objects of less than this share of the largest one are not believed; beside a
            larger one, a thirtieth of it is enough.
        reach: share of the height of the image at which pieces belong together; what differs
            further than twice this away from any object is background, too.
        edge: width in pixels at a height of 512 of the band along outlines that is unreliable.
    """

    alike: float = 14.0
    unlike: float = 26.0
    darkest: float = 0.75
    brightest: float = 1.15
    least_share: float = 0.12
    reach: float = 0.04
    edge: float = 1.0


@dataclass(frozen=True, eq=False)
class Background:
    """What a camera sees without the object.

    Attributes:
        colours_HW3: float32, levels of 0 to 255.
        known_HW: bool; false where the object was in the way all the time.
    """

    colours_HW3: np.ndarray
    known_HW: np.ndarray

    @classmethod
    def of_image(cls, image: np.ndarray) -> 'Background':
        """Return the background that a picture (H, W, 3) uint8 shows."""
        return cls(image.astype(np.float32), np.ones(image.shape[:2], bool))

    @classmethod
    def of_median(cls, images_T: np.ndarray) -> 'Background':
        """Return the median over time of pictures (T, H, W, 3) uint8.

        It is the background wherever the object is for less than half of the time.
        """
        return cls.of_image(np.median(images_T, axis=0))

    def resized(self, width: int, height: int) -> 'Background':
        """Return the background at another size; a pixel is known where all of it was."""
        if self.known_HW.shape == (height, width):
            return self
        shares_HW = resize(self.known_HW.astype(np.float32), width, height)
        return Background(resize(self.colours_HW3, width, height), shares_HW > 0.999)


def difference(image: np.ndarray, colours_HW3: np.ndarray) -> np.ndarray:
    """Return how much colours (H, W, 3) differ from a background's: the largest of three."""
    return np.abs(image.astype(np.float32) - colours_HW3).max(axis=-1)


def unshaded_difference(
    image: np.ndarray, colours_HW3: np.ndarray, config: SubtractionConfig
) -> np.ndarray:
    """Return the difference (H, W) that is left when the background may lie in a shadow."""
    image = image.astype(np.float32)
    energy = np.maximum((colours_HW3 * colours_HW3).sum(axis=-1), 1.0)
    gain = (image * colours_HW3).sum(axis=-1) / energy
    gain = np.clip(gain, config.darkest, config.brightest)
    return difference(image, gain[..., None] * colours_HW3)


def subtract(
    image: np.ndarray, background: Background, config: SubtractionConfig | None = None
) -> np.ndarray:
    """Return the mask of an image: 0 background, 1 object, 2 unreliable.

    Where the background is not known, an object that is seen beside is taken to go on.

    Args:
        image: (H, W, 3) uint8.
        background: of the same size.
        config: how to compare.

    Raises:
        DataError: when the sizes differ.
    """
    config = config or SubtractionConfig()
    if image.shape != background.colours_HW3.shape:
        raise DataError(
            f'The image is {image.shape[1]}x{image.shape[0]} but its background is '
            f'{background.colours_HW3.shape[1]}x{background.colours_HW3.shape[0]}.'
        )
    height = image.shape[0]
    smooth = _smooth(image)
    colours_HW3 = _smooth(background.colours_HW3)
    differs_HW = difference(smooth, colours_HW3)
    unshaded_HW = unshaded_difference(smooth, colours_HW3, config)
    shadow = _opened(unshaded_HW < config.alike, height)
    unlike = ((differs_HW >= config.unlike) & ~shadow) | ~background.known_HW
    likely = _closed(_opened(unlike, height), height)
    objects = _believed(likely, background.known_HW, config)
    mask = np.full(image.shape[:2], BACKGROUND, np.uint8)
    mask[(differs_HW > config.alike) | unlike] = UNRELIABLE
    cut = _cut(
        image, objects, (differs_HW >= 1.5 * config.unlike) & background.known_HW & objects, config
    )
    unsure = ~background.known_HW | (cut & _holes(objects))
    mask[objects != cut] = UNRELIABLE
    mask[cut & (objects | unsure)] = OBJECT
    mask[~cut & ~background.known_HW] = UNRELIABLE
    mask[~_grown(mask == OBJECT, 2 * config.reach)] = BACKGROUND
    return _with_unreliable_edge(mask, config.edge * height / 512)


def _cut(
    image: np.ndarray, objects: np.ndarray, sure: np.ndarray, config: SubtractionConfig
) -> np.ndarray:
    """Return the objects as their colours and edges have them (GrabCut), (H, W) bool."""
    height = image.shape[0]
    near = _grown(objects, config.reach)
    if not sure.any() or near.all():
        return objects
    rows, columns = np.nonzero(near)
    margin = 4
    window = (
        slice(max(rows.min() - margin, 0), rows.max() + margin + 1),
        slice(max(columns.min() - margin, 0), columns.max() + margin + 1),
    )
    seeds = np.full(image.shape[:2], cv2.GC_BGD, np.uint8)
    seeds[near] = cv2.GC_PR_BGD
    seeds[objects] = cv2.GC_PR_FGD
    seeds[cv2.erode(sure.astype(np.uint8), _kernel(height, 1 / 512)) > 0] = cv2.GC_FGD
    cut = np.ascontiguousarray(seeds[window])
    colours = np.ascontiguousarray(image[window])
    cv2.setRNGSeed(0)
    cv2.grabCut(colours, cut, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    result = np.zeros(image.shape[:2], bool)
    result[window] = (cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD)
    return result


def _smooth(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), 0.5 + image.shape[0] / 1024)


def _kernel(height: int, share: float) -> np.ndarray:
    """Return a round kernel whose radius is a share of the image's height, at least a pixel."""
    size = 2 * max(1, round(share * height)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def _grown(flags_HW: np.ndarray, share: float) -> np.ndarray:
    """Return the flags and what is at most a share of the image's height away."""
    if not flags_HW.any():
        return flags_HW
    away_HW = cv2.distanceTransform((~flags_HW).astype(np.uint8), cv2.DIST_L2, 5)
    return away_HW <= share * len(flags_HW)


def _opened(flags_HW: np.ndarray, height: int) -> np.ndarray:
    kernel = _kernel(height, 1 / 512)
    return cv2.morphologyEx(flags_HW.astype(np.uint8), cv2.MORPH_OPEN, kernel).astype(bool)


def _closed(flags_HW: np.ndarray, height: int) -> np.ndarray:
    kernel = _kernel(height, 1 / 256)
    return cv2.morphologyEx(flags_HW.astype(np.uint8), cv2.MORPH_CLOSE, kernel).astype(bool)


def _holes(flags_HW: np.ndarray) -> np.ndarray:
    """Return the pixels that the flags surround."""
    outlines, _ = cv2.findContours(
        flags_HW.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    filled = np.zeros(flags_HW.shape, np.uint8)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return (filled > 0) & ~flags_HW


def _believed(flags_HW: np.ndarray, known_HW: np.ndarray, config: SubtractionConfig) -> np.ndarray:
    """Return the connected objects that are large before a known background, and pieces nearby."""
    count, labels_HW = cv2.connectedComponents(flags_HW.astype(np.uint8))
    areas = np.bincount(labels_HW[known_HW], minlength=count)
    areas[0] = 0
    large = areas >= max(config.least_share * areas.max(), 1)
    near_HW = _grown(large[labels_HW], config.reach)
    pieces = np.unique(labels_HW[near_HW & flags_HW & known_HW])
    large[pieces] = areas[pieces] >= max(config.least_share / 30 * areas.max(), 1)
    return large[labels_HW] & flags_HW


def _with_unreliable_edge(mask: np.ndarray, width: float) -> np.ndarray:
    """Return the mask with a band of this width in pixels along its outlines unreliable."""
    objects = (mask == OBJECT).astype(np.uint8)
    inside = cv2.distanceTransform(objects, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(1 - objects, cv2.DIST_L2, 3)
    edged = mask.copy()
    edged[(inside > 0) & (inside <= width / 2)] = UNRELIABLE
    edged[(outside > 0) & (outside <= width / 2)] = UNRELIABLE
    return edged
