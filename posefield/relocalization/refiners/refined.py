"""What every refiner returns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Refined:
    """A refined pose in the field frame.

    Attributes:
        T_field_cam: (4, 4) float64.
        information_66: inverse covariance of the camera-frame twist (v, w), field units, before
            the map's calibration.
        cost: mean robust residual of the last round.
        inlier_share: share of visible points that fit.
        overlap: share of points that fall into the image.
        renders: field renders.
        iterations: least-squares steps.
    """

    T_field_cam: np.ndarray
    information_66: np.ndarray
    cost: float
    inlier_share: float
    overlap: float
    renders: int
    iterations: int
