"""How like a picture is to the photo it stands for: PSNR, SSIM, LPIPS and the overlap of masks."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
import logging
import math
from typing import Any

import numpy as np

from posefield.data.rig_camera import OBJECT, UNRELIABLE

LOGGER = logging.getLogger(__name__)

# Side of the window that SSIM compares, pixels (the default of scikit-image, as published).
SSIM_WINDOW = 7

Lpips = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class ImageScore:
    """One render against one photo.

    Attributes:
        view, frame: which photo.
        psnr: dB over all reliable pixels, background included.
        psnr_object: dB over the pixels that either mask has.
        ssim: structural similarity; None for an image smaller than its window.
        lpips: learned perceptual distance; None where that package is not installed.
        mask_iou: of the opacity above one half with the mask.
    """

    view: int
    frame: int
    psnr: float
    psnr_object: float
    ssim: float | None
    lpips: float | None
    mask_iou: float


def score_image(
    view: int,
    frame: int,
    render: tuple[np.ndarray, np.ndarray],
    photo: tuple[np.ndarray, np.ndarray],
    lpips: Lpips | None = None,
) -> ImageScore:
    """Compare a render with a photo.

    Unreliable pixels are left out of PSNR and overlap; where a whole window is compared (SSIM,
    LPIPS) the render takes the photo's colour there.

    Args:
        view, frame: which photo.
        render: colours (H, W, 3) in [0, 1] and opacities (H, W).
        photo: colours (H, W, 3) with the background already replaced, and mask (H, W): 0
            background, 1 object, 2 unreliable.
        lpips: of `lpips_metric`.
    """
    colours, opacities = render
    truth, mask = photo
    reliable = mask != UNRELIABLE
    seen, there = opacities > 0.5, mask == OBJECT
    filled = np.where(reliable[..., None], np.clip(colours, 0.0, 1.0), truth)
    return ImageScore(
        view,
        frame,
        psnr(filled, truth, reliable),
        psnr(filled, truth, reliable & (seen | there)),
        ssim(filled, truth),
        None if lpips is None else lpips(filled, truth),
        iou(seen & reliable, there),
    )


def psnr(image_HW3: np.ndarray, truth_HW3: np.ndarray, counted_HW: np.ndarray) -> float:
    """Return the PSNR in dB of images in [0, 1]; infinite where they are equal."""
    squares = np.square(np.asarray(image_HW3, np.float64) - truth_HW3)[counted_HW]
    error = float(squares.mean()) if squares.size else 0.0
    return -10.0 * math.log10(error) if error > 0 else math.inf


def ssim(image_HW3: np.ndarray, truth_HW3: np.ndarray) -> float | None:
    """Return the SSIM as Watch It Move has it: levels in [-1, 1], data range of the photo."""
    from skimage.metrics import structural_similarity

    if min(truth_HW3.shape[:2]) < SSIM_WINDOW:
        return None
    image, truth = (2.0 * np.asarray(each, np.float64) - 1.0 for each in (image_HW3, truth_HW3))
    spread = float(np.ptp(truth)) or 2.0
    return float(
        structural_similarity(
            image, truth, win_size=SSIM_WINDOW, channel_axis=2, data_range=spread
        )
    )


def iou(first_HW: np.ndarray, second_HW: np.ndarray) -> float:
    """Return intersection over union; 1 where both are empty."""
    union = int((first_HW | second_HW).sum())
    return float((first_HW & second_HW).sum()) / union if union else 1.0


def lpips_metric() -> Lpips | None:
    """Return LPIPS with VGG, or None where the package or its weights are not there."""
    if find_spec('lpips') is None:
        return None
    import lpips
    import torch

    try:
        network = lpips.LPIPS(net='vgg', verbose=False).eval()
    except OSError as error:
        LOGGER.warning('LPIPS is left out, its weights could not be loaded: %s', error)
        return None

    def measure(image_HW3: np.ndarray, truth_HW3: np.ndarray) -> float:
        pair = [
            torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1)[None] * 2.0 - 1.0
            for image in (image_HW3, truth_HW3)
        ]
        with torch.no_grad():
            return float(network(*pair))

    return measure


def summarise_images(scores: Sequence[ImageScore]) -> dict[str, Any] | None:
    """Return the means over images, and their number; None without an image.

    An equal image, whose PSNR is infinite, makes the mean None: JSON has no infinity.
    """
    if not scores:
        return None
    summary: dict[str, Any] = {'images': len(scores)}
    for key in ('psnr', 'psnr_object', 'ssim', 'lpips', 'mask_iou'):
        values = [asdict(score)[key] for score in scores]
        known = [value for value in values if value is not None]
        mean = float(np.mean(known)) if known else math.nan
        summary[key] = mean if math.isfinite(mean) else None
    return summary
