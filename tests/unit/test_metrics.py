"""Figures of merit: recall, medians, covariance consistency, false accepts."""

from dataclasses import replace
import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posefield.evaluation.metrics import (
    FrameResult,
    anees_bounds,
    auroc,
    error_twist,
    nees,
    quantile,
    recall,
    recall_table,
    summarise,
)
from posefield.geometry.poses import perturbed
from support.fake_localizer import DEPTH, localization


def random_pose(generator: np.random.Generator) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = Rotation.random(random_state=generator).as_matrix()
    T[:3, 3] = generator.normal(size=3)
    return T


def result(translation: float, rotation_deg: float, seed: int = 0, **changes) -> FrameResult:
    """A frame that is off by exactly this much."""
    generator = np.random.default_rng(seed)
    truth = random_pose(generator)
    estimate = perturbed(truth, translation, rotation_deg, generator)
    found = replace(localization(estimate), **changes)
    return FrameResult('frame', truth, found, seconds=0.5, psnr=20.0)


def lost() -> FrameResult:
    return FrameResult('lost', np.eye(4), None, seconds=2.0, failure='No hypothesis.')


def test_errors_are_distance_and_angle_and_relative_to_the_depth():
    summary = summarise([result(0.02 * DEPTH, 0.5, seed) for seed in range(3)])
    assert summary['median_translation_error'] == pytest.approx(0.02 * DEPTH)
    assert summary['median_rotation_error_deg'] == pytest.approx(0.5)
    assert summary['median_relative_translation_error'] == pytest.approx(0.02)
    assert summary['p75_translation_error'] == pytest.approx(0.02 * DEPTH)


def test_recall_counts_poses_whether_accepted_or_not_and_no_pose_as_a_miss():
    results = [
        result(0.01 * DEPTH, 0.5),
        result(0.01 * DEPTH, 0.5, accepted=False),
        result(0.04 * DEPTH, 0.5),
        lost(),
    ]
    summary = summarise(results)
    assert recall(summary, 0.02, 1.0, relative=True) == 0.5
    assert recall(summary, 0.05, 5.0, relative=True) == 0.75
    assert summary['accepted_share'] == 0.5
    assert summary['frames'] == 4
    assert summary['frames_without_pose'] == 1


def test_recall_needs_both_the_distance_and_the_angle():
    summary = summarise([result(0.001, 3.0)])
    assert recall(summary, 0.02, 2.0, relative=False) == 0.0
    assert recall(summary, 0.05, 5.0, relative=False) == 1.0


def test_recall_excludes_errors_that_are_exactly_at_a_threshold():
    table = recall_table([0.05, 0.0499], [0.02, 0.0199], [4.9, 0.5])
    summary = {'recall': table}
    assert recall(summary, 0.05, 5.0, relative=False) == 0.5
    assert recall(summary, 0.02, 1.0, relative=True) == 0.5
    at_the_angle = {'recall': recall_table([0.01], [0.01], [5.0])}
    assert recall(at_the_angle, 0.05, 5.0, relative=False) == 0.0


def test_recall_of_thresholds_that_are_not_in_the_table_is_an_error():
    with pytest.raises(KeyError):
        recall(summarise([result(0.001, 3.0)]), 0.03, 2.0, relative=False)


@pytest.mark.parametrize(
    ('share_of_depth', 'rotation_deg', 'accepted', 'expected'),
    [(0.09, 4.0, True, 0.0), (0.11, 0.1, True, 1.0), (0.01, 5.5, True, 1.0), (0.5, 50, False, 0)],
)
def test_false_accepts_are_accepted_poses_off_by_10_percent_or_5_degrees(
    share_of_depth, rotation_deg, accepted, expected
):
    summary = summarise([result(share_of_depth * DEPTH, rotation_deg, accepted=accepted)])
    assert summary['false_accept_share'] == expected


def test_the_hypothesis_has_its_own_figures():
    truth = np.eye(4)
    coarse = perturbed(truth, 0.3, 4.0, np.random.default_rng(1))
    found = replace(localization(truth), T_map_cam_coarse=coarse)
    summary = summarise([FrameResult('frame', truth, found, 0.1)])
    assert summary['median_translation_error'] == pytest.approx(0.0, abs=1e-12)
    assert summary['coarse']['median_translation_error'] == pytest.approx(0.3)
    assert summary['coarse']['median_rotation_error_deg'] == pytest.approx(4.0)


def test_frames_that_refinement_made_worse_are_counted():
    truth = np.eye(4)

    def refined(before: tuple[float, float], after: tuple[float, float]) -> FrameResult:
        coarse, fine = (
            perturbed(truth, *errors, np.random.default_rng(1)) for errors in (before, after)
        )
        found = replace(localization(fine), T_map_cam_coarse=coarse)
        return FrameResult('frame', truth, found, 0.1)

    results = [
        refined((0.1, 2.0), (0.01, 0.1)),
        refined((0.1, 2.0), (0.2, 0.1)),
        refined((0.1, 2.0), (0.3, 4.0)),
        refined((0.1, 2.0), (0.1, 2.0)),
        lost(),
    ]
    assert summarise(results)['worsened_share'] == {'translation': 0.4, 'rotation': 0.2}


def test_means_and_the_tail_have_their_own_figures():
    summary = summarise([result(0.01 * (seed + 1), 0.1, seed) for seed in range(101)])
    assert summary['mean_translation_error'] == pytest.approx(0.51)
    assert summary['p99_translation_error'] == pytest.approx(1.0)
    assert summary['coarse']['mean_rotation_error_deg'] == pytest.approx(0.1)
    assert summarise([result(0.01, 0.1), lost()])['mean_translation_error'] is None


def test_the_time_of_each_stage_is_over_the_frames_that_ran_it():
    def timed(seconds: float, **timings: float) -> FrameResult:
        found = replace(localization(np.eye(4)), timings=timings)
        return FrameResult('frame', np.eye(4), found, seconds)

    summary = summarise(
        [timed(0.1, sparse=0.04, total=0.1), timed(0.3, sparse=0.06, field=0.2, total=0.3), lost()]
    )
    assert summary['seconds_per_frame']['median'] == pytest.approx(0.3)
    assert summary['frames_per_second'] == pytest.approx(1 / 0.3)
    stages = summary['seconds_by_stage']
    assert stages['sparse'] == {
        'median': pytest.approx(0.05), 'p95': pytest.approx(0.059), 'frames': 2,
    }  # fmt: skip
    assert stages['field'] == {'median': 0.2, 'p95': 0.2, 'frames': 1}
    assert set(stages) == {'sparse', 'field', 'total'}


def test_mostly_lost_frames_give_valid_json_with_null_medians():
    summary = summarise([lost(), lost(), result(0.01, 0.1)])
    text = json.dumps(summary, allow_nan=False)
    assert json.loads(text)['median_translation_error'] is None
    assert json.loads(text)['seconds_per_frame']['median'] == 2.0


def test_a_pose_that_is_not_finite_is_no_pose():
    broken = replace(localization(np.full((4, 4), np.nan)), accepted=True)
    summary = summarise([FrameResult('frame', np.eye(4), broken, 0.1)])
    assert summary['frames_without_pose'] == 1
    assert summary['accepted_share'] == 0.0


def test_the_promised_keys_are_there():
    summary = summarise([result(0.01, 0.1)])
    promised = {
        'frames', 'median_translation_error', 'median_rotation_error_deg',
        'median_relative_translation_error', 'p75_translation_error', 'p75_rotation_error_deg',
        'p75_relative_translation_error', 'recall', 'coarse', 'accepted_share',
        'false_accept_share', 'renders_per_frame', 'seconds_per_frame', 'anees', 'psnr',
    }  # fmt: skip
    assert promised <= set(summary)
    assert {'median', 'p95'} <= set(summary['seconds_per_frame'])
    thresholds = [(r['translation'], r['rotation_deg'], r['relative']) for r in summary['recall']]
    assert thresholds == [
        (0.02, 1, True), (0.05, 5, True), (0.10, 5, True),
        (0.01, 1, False), (0.02, 2, False), (0.05, 5, False), (0.1, 5, False), (0.25, 2, False),
        (0.5, 5, False), (5, 10, False),
    ]  # fmt: skip


def test_the_error_twist_is_what_moves_the_estimate_to_the_truth_in_map_axes():
    generator = np.random.default_rng(3)
    estimate, truth = random_pose(generator), random_pose(generator)
    twist = error_twist(estimate, truth)
    moved = np.eye(4)
    moved[:3, :3] = Rotation.from_rotvec(twist[3:]).as_matrix() @ estimate[:3, :3]
    moved[:3, 3] = estimate[:3, 3] + twist[:3]
    np.testing.assert_allclose(moved, truth, atol=1e-12)


def test_errors_drawn_from_the_covariance_give_an_anees_of_one():
    generator = np.random.default_rng(5)
    root = np.diag([0.02, 0.01, 0.03, 0.004, 0.002, 0.006]) @ (
        np.eye(6) + 0.3 * generator.normal(size=(6, 6))
    )
    covariance = root @ root.T
    results = []
    for _ in range(400):
        twist = root @ generator.normal(size=6)
        estimate = random_pose(generator)
        truth = np.eye(4)
        truth[:3, :3] = Rotation.from_rotvec(twist[3:]).as_matrix() @ estimate[:3, :3]
        truth[:3, 3] = estimate[:3, 3] + twist[:3]
        found = replace(localization(estimate), covariance=covariance)
        results.append(FrameResult('frame', truth, found, 0.1))
    summary = summarise(results)
    low, high = summary['anees_95']
    assert low < summary['anees'] < high
    assert low == pytest.approx(1.0, abs=0.1) and high == pytest.approx(1.0, abs=0.1)


def test_a_zero_covariance_has_infinite_nees_and_no_anees():
    off = result(0.01, 0.1, covariance=np.zeros((6, 6)))
    assert nees(off.localization, off.T_map_cam_true) == math.inf
    assert summarise([off])['anees'] is None


def test_anees_bounds_close_in_on_one():
    few, many = anees_bounds(5), anees_bounds(500)
    assert few[0] < many[0] < 1.0 < many[1] < few[1]


def test_auroc_is_the_chance_that_a_good_frame_scores_higher():
    assert auroc([0.9, 0.8, 0.1], [True, True, False]) == 1.0
    assert auroc([0.1, 0.9], [True, False]) == 0.0
    assert auroc([0.5, 0.5], [True, False]) == 0.5
    assert auroc([0.5, 0.6], [True, True]) is None


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.floats(0, 1))
def test_quantiles_of_finite_values_are_numpys(values, share):
    assert quantile(values, share) == pytest.approx(np.quantile(values, share), abs=1e-9)


def test_quantiles_next_to_infinity_are_none():
    assert quantile([1.0, math.inf], 0.0) == 1.0
    assert quantile([1.0, math.inf], 0.5) is None
    assert quantile([1.0, 2.0, math.inf], 0.5) == 2.0
