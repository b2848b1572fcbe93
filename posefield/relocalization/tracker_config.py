"""The thresholds of a tracker; apart, so that parameter tables need no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackerConfig:
    """How much a tracker trusts motion, and when it gives up.

    Attributes:
        confirm_k: fixes that must agree, through odometry, before the first pose is published;
            1 publishes the first accepted fix at once.
        confirm_n: the number of latest images among which the confirm_k fixes must lie.
        gate_sigmas: largest Mahalanobis distance of an accepted fix from the prediction. In
            6 degrees of freedom 3.55 lets 95 % of honest fixes pass, 4.10 lets 99 %.
        lost_after: images in a row without a fix inside the gate before the pose is given up.
        odometry_translation_ratio: standard deviation of odometry, per distance travelled.
        odometry_rotation_ratio: standard deviation of odometry (radians), per radian turned and
            per median depth travelled.
        free_speed: standard deviation of an unmeasured motion, in median depths a second.
        free_turn: standard deviation of an unmeasured rotation, in radians a second.
        floor_translation: least standard deviation of a fix, in median depths.
        floor_rotation: least standard deviation of a fix, in radians.
        prior_max_translation: a prior wider than this (median depths) is not used.
        prior_max_rotation: a prior wider than this (radians) is not used.
    """

    confirm_k: int = 1
    confirm_n: int = 3
    gate_sigmas: float = 4.1
    lost_after: int = 5
    odometry_translation_ratio: float = 0.1
    odometry_rotation_ratio: float = 0.1
    free_speed: float = 0.5
    free_turn: float = 1.0
    floor_translation: float = 0.002
    floor_rotation: float = 0.002
    prior_max_translation: float = 0.5
    prior_max_rotation: float = 0.6
