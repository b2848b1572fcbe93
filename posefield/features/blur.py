"""How an image is blurred, told from the spectra of sharp photos of the same place.

A moving camera smears along a line and a defocused one all round.  Aligning a blurred query
with sharp keyframes is biased and uncertain; aligning it with keyframes blurred alike is not.
The power spectrum of a blurred image is that of a sharp one times the squared transfer function
of the blur, wherever things are in the two images, so no pose is needed to compare them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
import math

import cv2
import numpy as np

# Side of the square that spectra are taken of; longer images are folded into it.
SIDE_PX = 240
# The blurs that are told apart, in pixels of the images compared.
LINE_LENGTHS_PX = (5.0, 7.0, 9.0, 12.0, 15.0, 18.0, 21.0, 25.0, 30.0)
LINE_ANGLES = 18
SIGMAS_PX = (1.0, 1.5, 2.0, 3.0, 4.0)
# Frequencies compared, cycles a pixel, and the number of rings and of directions.
LOWEST_FREQUENCY, HIGHEST_FREQUENCY = 0.02, 0.3
RINGS, DIRECTIONS = 8, 12
# Power of 8-bit rounding and weak noise: attenuated beyond it, nothing can be measured.
NOISE_SIGMA = 1.5 / 255.0
# A blur must explain the spectrum this much better (mean squared log power) than none, and leave
# at most this share of what is to be explained: views of other things differ too.
MARGIN = 0.15
MAX_UNEXPLAINED = 0.6


@dataclass(frozen=True)
class Blur:
    """A blur, in units of the focal length, so that it fits images of every size.

    Attributes:
        sigma: of a round, Gaussian blur; 0 for none.
        length: of a smear along a line; 0 for none.
        angle: of the line, radians from the x axis towards y.
    """

    sigma: float = 0.0
    length: float = 0.0
    angle: float = 0.0

    def applied(self, image: np.ndarray, focal_px: float) -> np.ndarray:
        """Return an image (H, W) or (H, W, 3) float32, of this focal length, blurred."""
        sigma_px, length_px = self.sigma * focal_px, self.length * focal_px
        if sigma_px > 0.1:
            image = cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
        if length_px > 1.0:
            kernel = line_kernel(length_px, self.angle)
            image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        return image


NO_BLUR = Blur()


def line_kernel(length_px: float, angle: float) -> np.ndarray:
    """Return the kernel (K, K) float32 that averages along a centred line."""
    radius = math.ceil(length_px / 2)
    offsets = np.arange(-radius, radius + 1)
    x, y = np.meshgrid(offsets, offsets)
    along = np.abs(x * math.cos(angle) + y * math.sin(angle))
    across = np.abs(-x * math.sin(angle) + y * math.cos(angle))
    kernel = np.clip(length_px / 2 + 0.5 - along, 0, 1) * np.clip(1 - across, 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def power_spectrum(grey_HW: np.ndarray) -> np.ndarray:
    """Return the power (F,) of an image at the frequencies that blurs are told from.

    Args:
        grey_HW: float32 luminance in [0, 1] of any size.
    """
    window = np.outer(np.hanning(grey_HW.shape[0]), np.hanning(grey_HW.shape[1]))
    windowed = (grey_HW - np.average(grey_HW, weights=window)) * window
    folded = np.zeros((SIDE_PX, SIDE_PX))
    for top in range(0, grey_HW.shape[0], SIDE_PX):
        for left in range(0, grey_HW.shape[1], SIDE_PX):
            part = windowed[top : top + SIDE_PX, left : left + SIDE_PX]
            folded[: part.shape[0], : part.shape[1]] += part
    power = np.abs(np.fft.rfft2(folded)) ** 2 / (window**2).sum()
    return power.ravel()[_bins().order]


def estimate_blur(query_F: np.ndarray, references: Sequence[np.ndarray], focal_px: float) -> Blur:
    """Return the blur that turns the spectra of sharp photos into that of a query.

    Args:
        query_F: power spectrum.
        references: power spectra of photos that show much the same, at the same focal length.
        focal_px: that focal length.
    """
    sharp_F = np.mean(np.stack(references), axis=0)
    observed = np.log(_bins().means(query_F) + NOISE_SIGMA**2)
    predicted = np.log(_bins().means(_transfers() * sharp_F) + NOISE_SIGMA**2)
    differences = observed - predicted
    # The gain of a camera is one factor on all frequencies; the lowest are blurred least.
    differences = differences - differences[:, :DIRECTIONS].mean(axis=1, keepdims=True)
    costs = np.mean(differences**2, axis=1)
    best = int(np.argmin(costs))
    if costs[best] > min(costs[0] - MARGIN, MAX_UNEXPLAINED * costs[0]):
        return NO_BLUR
    sigma_px, length_px, angle = _candidates()[best]
    return Blur(sigma_px / focal_px, length_px / focal_px, angle)


@lru_cache(maxsize=1)
def _candidates() -> tuple[tuple[float, float, float], ...]:
    """Return (sigma, length, angle) of the blurs told apart; the first one is none."""
    angles = (np.arange(LINE_ANGLES) * math.pi / LINE_ANGLES).tolist()
    lines = [(0.0, length, angle) for length in LINE_LENGTHS_PX for angle in angles]
    return ((0.0, 0.0, 0.0), *((sigma, 0.0, 0.0) for sigma in SIGMAS_PX), *lines)


@dataclass(frozen=True)
class _Bins:
    """Rings of frequencies that grow by the same factor, split by direction.

    Attributes:
        order: the frequencies inside, as rows of a flat half spectrum, bin by bin.
        fx, fy: of them, cycles a pixel.
        starts: of the bins in that order, the lowest ring first.
        counts: of frequencies in each bin.
    """

    order: np.ndarray
    fx: np.ndarray
    fy: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    def means(self, power_XF: np.ndarray) -> np.ndarray:
        """Return the mean power in each bin, (..., bins)."""
        return np.add.reduceat(power_XF, self.starts, axis=-1) / self.counts


@lru_cache(maxsize=1)
def _bins() -> _Bins:
    fx, fy = np.meshgrid(np.fft.rfftfreq(SIDE_PX), np.fft.fftfreq(SIDE_PX))
    fx, fy = fx.ravel(), fy.ravel()
    radius = np.hypot(fx, fy)
    growth = (HIGHEST_FREQUENCY / LOWEST_FREQUENCY) ** (1.0 / RINGS)
    inside = np.nonzero((radius >= LOWEST_FREQUENCY) & (radius < HIGHEST_FREQUENCY))[0]
    ring = np.floor(np.log(radius[inside] / LOWEST_FREQUENCY) / math.log(growth))
    turns = np.arctan2(fy[inside], fx[inside]) % math.pi / math.pi
    index = ring * DIRECTIONS + np.floor(turns * DIRECTIONS + 0.5) % DIRECTIONS
    by_bin = np.argsort(index, kind='stable')
    order = inside[by_bin]
    _, starts, counts = np.unique(index[by_bin], return_index=True, return_counts=True)
    return _Bins(order, fx[order], fy[order], starts, counts)


@lru_cache(maxsize=1)
def _transfers() -> np.ndarray:
    """Return the squared transfer functions (candidates, F)."""
    bins = _bins()
    rows = []
    for sigma, length, angle in _candidates():
        along = bins.fx * math.cos(angle) + bins.fy * math.sin(angle)
        radius2 = bins.fx**2 + bins.fy**2
        rows.append(np.sinc(length * along) ** 2 * np.exp(-((2 * math.pi * sigma) ** 2) * radius2))
    return np.stack(rows)
