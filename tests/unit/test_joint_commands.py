"""Commands to joints are checked whole, before anything moves."""

import numpy as np
import pytest

from posefield.articulation.joint_commands import commanded_positions
from posefield.errors import ArticulationError
from support.articulated import arm

NAMES = arm().movable


def test_a_command_moves_the_named_joints_only():
    start = np.linspace(0.1, 0.5, len(NAMES))
    command = commanded_positions(arm(), ['slide', 'b'], [0.05, -0.5], start_D=start)
    expected = start.copy()
    expected[[NAMES.index('slide'), NAMES.index('b')]] = [0.05, -0.5]
    np.testing.assert_array_equal(command.positions_D, expected)
    assert command.clamped == ()
    np.testing.assert_array_equal(start, np.linspace(0.1, 0.5, len(NAMES)))


def test_joints_that_are_not_named_are_at_zero_without_a_start():
    positions = commanded_positions(arm(), ['b'], [0.5]).positions_D
    assert positions.sum() == 0.5 and len(positions) == len(NAMES)
    assert not commanded_positions(arm(), [], []).positions_D.any()


@pytest.mark.parametrize(
    ('names', 'positions', 'words'),
    [
        (['b', 'elbow'], [0.1, 0.2], "no movable joint named 'elbow' among 1, b, b_y"),
        (['tip'], [0.1], "no movable joint named 'tip'"),
        (['b'], [float('nan')], "joint 'b' must be a finite number, found nan"),
        (['b'], [float('inf')], 'found inf'),
        (['b', 'b_y'], [0.1], '2 names and 1 positions'),
        ([], [0.1], '0 names and 1 positions'),
        (['b', 'b'], [0.1, 0.2], "found 'b' twice"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(names, positions, words):
    with pytest.raises(ArticulationError, match=words):
        commanded_positions(arm(), names, positions)


def test_limits_clamp_reject_or_are_ignored():
    asked = ['slide', 'b'], [0.4, -1.5]
    clamped = commanded_positions(arm(), *asked, limits='clamp')
    by_name = dict(zip(NAMES, clamped.positions_D, strict=True))
    assert by_name['slide'] == 0.1 and by_name['b'] == -1.0
    assert len(clamped.clamped) == 2
    assert clamped.clamped[0] == (
        "The position 0.4 of joint 'slide' is outside its limits 0 to 0.1 and was set to 0.1."
    )
    with pytest.raises(ArticulationError, match="joint 'slide' is outside its limits 0 to 0.1"):
        commanded_positions(arm(), *asked, limits='reject')
    ignored = commanded_positions(arm(), *asked, limits='ignore')
    assert sorted(ignored.positions_D)[0] == -1.5 and not ignored.clamped


def test_a_continuous_joint_has_no_limits():
    command = commanded_positions(arm(), ['b_z'], [7.0], limits='reject')
    assert command.positions_D.max() == 7.0
