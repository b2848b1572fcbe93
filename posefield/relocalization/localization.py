"""What goes into and comes out of a Localizer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class PosePrior:
    """A guess of the camera pose, from odometry, tracking or a person.

    Attributes:
        T_map_cam: (4, 4).
        covariance: (6, 6) of x, y, z, rotation about the fixed map axes (ROS order), in map
            units and radians.
    """

    T_map_cam: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Localization:
    """The pose of one image and how far it can be trusted.

    Attributes:
        T_map_cam: (4, 4) camera pose in the map's user frame and units.
        covariance: (6, 6) of T_map_cam: x, y, z, rotation about fixed map x, y, z (ROS order).
        T_map_cam_coarse: (4, 4) the hypothesis that was refined.
        hypothesis: the rung that proposed it: sparse, regressor, retrieval or prior.
        accepted: whether the score passes the map's threshold; never use a pose that does not.
        score: calibrated probability of being within 2 % and 1 degree.
        reason: empty when accepted, else a sentence.
        median_depth: median rendered or lifted depth of the frame, map units.
        renders: field renders spent on the returned hypothesis.
        iterations: least-squares steps.
        timings: seconds by stage; `total` is the whole call.
    """

    T_map_cam: np.ndarray
    covariance: np.ndarray
    T_map_cam_coarse: np.ndarray
    hypothesis: str
    accepted: bool
    score: float
    reason: str
    median_depth: float
    renders: int
    iterations: int
    timings: Mapping[str, float] = field(default_factory=dict)
