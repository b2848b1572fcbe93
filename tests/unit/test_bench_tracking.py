"""What the benchmark of tracking requires."""

import tracking
from verdicts import all_hold


def figures(**changes) -> dict:
    """Figures of a run in which everything holds."""
    good = {'rate_hz': 6.0, 'joint_angle_error_deg': 3.0}
    return {tracking.SAME: {**good, **changes}, tracking.OTHER: {**good, **changes}}


def missed(found: dict) -> list[str]:
    return [one['what'] for one in tracking.verdicts(found) if not one['holds']]


def test_speed_and_angles_are_required():
    assert all_hold(tracking.verdicts(figures()))
    assert missed(figures(joint_angle_error_deg=5.1)) == [
        f'{tracking.SAME}: median joint angle error, deg'
    ]
    assert missed(figures(rate_hz=4.9)) == [
        f'{tracking.SAME}: images a second',
        f'{tracking.OTHER}: images a second',
    ]


def test_no_joint_in_common_does_not_hold():
    assert missed(figures(joint_angle_error_deg=None)) == [
        f'{tracking.SAME}: median joint angle error, deg'
    ]
