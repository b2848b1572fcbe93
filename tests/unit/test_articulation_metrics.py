"""Joint errors, overlaps and trees of made-up models whose scores are known."""

from dataclasses import replace

import numpy as np
import pytest

from posefield.articulation.kinematics import Joint, Link, Skeleton
from posefield.evaluation.articulation_metrics import (
    MISSING,
    JointTrack,
    a10_errors,
    axis_angles_deg,
    line_distances,
    score_joints,
    static_point,
    summarise_joints,
)
from posefield.evaluation.articulation_truth_scores import (
    LinkScorer,
    found_tracks,
    score_motion,
)
from posefield.evaluation.link_agreement import (
    found_groups,
    group_links,
    overlap_counts,
    part_iou,
    tree_agreement,
)
from posefield.evaluation.pose_transfer import PoseTransfer
from support import sphere_arm

FRAMES = 20
Z, X = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])


def track(name, point, direction=Z, kind='revolute', travel=1.0) -> JointTrack:
    """A joint that stands still in space while it turns or slides."""
    return JointTrack(
        name,
        kind,
        'a',
        'b',
        np.tile(np.array(point, float), (FRAMES, 1)),
        np.tile(direction, (FRAMES, 1)),
        np.linspace(0.0, travel, FRAMES),
    )


def turned(degrees: float) -> np.ndarray:
    return np.array([np.sin(np.deg2rad(degrees)), 0.0, np.cos(np.deg2rad(degrees))])


def test_distance_is_to_the_line_and_angles_have_no_sign():
    distance = line_distances(np.array([[3.0, 4.0, 7.0]]), np.zeros((1, 3)), Z[None])
    np.testing.assert_allclose(distance, 5.0)
    np.testing.assert_allclose(axis_angles_deg(Z, -turned(10.0)), 10.0, atol=1e-9)
    np.testing.assert_allclose(axis_angles_deg(Z, X), 90.0)


def test_errors_are_in_scene_radii_and_nothing_is_aligned():
    scores = score_joints(
        [track('found', [0.1, 0.0, 9.0], turned(5.0))], [track('t', [0, 0, 0])], 2.0
    )
    assert scores[0].distance == pytest.approx(0.05)
    assert scores[0].axis_error_deg == pytest.approx(5.0)
    assert scores[0].found == 'found'
    assert scores[0].type_is_right


def test_a_true_joint_without_a_match_counts_a_quarter():
    true = [track('one', [0, 0, 0]), track('two', [1, 0, 0])]
    summary = summarise_joints(score_joints([track('found', [1.02, 0, 0])], true, 1.0))
    assert summary['joint_error'] == pytest.approx((MISSING + 0.02) / 2)
    assert summary['joints_identified'] == 1
    assert summary['joint_type_accuracy'] == 0.5
    nothing = summarise_joints(score_joints([], true, 1.0))
    assert nothing['joint_error'] == MISSING
    assert nothing['axis_error_deg'] is None
    assert nothing['joint_type_accuracy'] == 0.0


def test_the_matching_is_one_to_one():
    true = [track('one', [0, 0, 0]), track('two', [0.3, 0, 0])]
    found = [track('near', [0.0, 0, 0]), track('far', [0, 2.0, 0])]
    scores = score_joints(found, true, 1.0)
    # Both are nearest to `near`, and only one may have it.
    assert sorted(score.distance for score in scores) == pytest.approx(
        sorted([0.0, np.hypot(0.3, 2.0)])
    )
    assert [score.found for score in scores] == ['near', None]


def test_only_joints_that_moved_are_asked_for():
    true = [
        track('still', [5, 0, 0], travel=np.deg2rad(19.0)),
        track('moved', [0, 0, 0], travel=np.deg2rad(20.1)),
        track('barely slid', [0, 0, 0], kind='prismatic', travel=0.09),
    ]
    scores = score_joints([track('found', [0, 0, 0])], true, 1.0)
    assert [score.name for score in scores] == ['moved']
    assert scores[0].travel == pytest.approx(20.1)
    assert summarise_joints(score_joints([], true[:1], 1.0))['joint_error'] is None


def test_axes_that_meet_are_told_apart_by_direction():
    true = [track('pan', [0, 0, 0], Z), track('tilt', [0, 0, 0], X)]
    found = [track('a', [0.0, 0.01, 0], turned(88.0)), track('b', [0.01, 0, 0], turned(3.0))]
    scores = score_joints(found, true, 1.0)
    assert [score.found for score in scores] == ['b', 'a']
    assert [score.axis_error_deg for score in scores] == pytest.approx([3.0, 2.0])


def test_sliding_joints_are_judged_by_direction_and_kind():
    true = [track('slide', [0, 0, 0], Z, 'prismatic', 0.5)]
    right = score_joints([track('f', [0.7, 0, 0], turned(2.0), 'prismatic')], true, 1.0)
    assert right[0].type_is_right and right[0].axis_error_deg == pytest.approx(2.0)
    assert right[0].distance is None
    assert summarise_joints(right)['joint_error'] is None
    wrong = score_joints([track('f', [0.7, 0, 0])], true, 1.0)
    assert not wrong[0].type_is_right
    continuous = [track('wheel', [0, 0, 0], kind='continuous')]
    assert score_joints([track('f', [0, 0, 0])], continuous, 1.0)[0].type_is_right


def test_the_best_still_point_is_where_the_axes_are():
    directions = np.stack([Z, X, np.array([0.0, 1.0, 0.0])])
    points = np.array([1.0, 2.0, 3.0]) + 4.0 * directions
    np.testing.assert_allclose(static_point(points, directions), [1, 2, 3], atol=1e-9)
    moving = JointTrack(
        'm', 'revolute', 'a', 'b', np.array([[-0.3, 0, 0], [0.3, 0, 0]]), np.stack([Z, Z]),
        np.array([0.0, 1.0]),
    )  # fmt: skip
    assert score_joints([], [moving], 1.0)[0].distance_static == pytest.approx(0.3)


def test_the_regression_recovers_what_is_linear_and_not_what_is_not():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(100, 7, 3))
    weights = generator.normal(size=(2, 7))
    targets = np.einsum('jk,fkc->fjc', weights, points)
    exact = a10_errors(points, targets, 1.0)
    assert exact['a10_joint_error'] < 1e-9 < exact['a10_joint_error_static']
    noise = generator.normal(size=targets.shape)
    assert a10_errors(points, noise, 2.0)['a10_joint_error'] > 0.5
    still = a10_errors(points, np.ones((100, 2, 3)), 1.0)
    assert still['a10_joint_error_static'] == 0.0
    assert a10_errors(points[:1], targets[:1], 1.0)['a10_joint_error'] is None


def test_a_model_that_found_everything_has_no_error():
    summary, scores = score_motion(sphere_arm.motion(), sphere_arm.truth())
    assert summary['joint_error'] == pytest.approx(0.0, abs=1e-12)
    assert summary['axis_error_deg'] == pytest.approx(0.0, abs=1e-6)
    assert summary['joint_type_accuracy'] == 1.0
    assert summary['joints_moved'] == summary['joints_identified'] == 2
    assert [score.found for score in scores] == ['pan', 'tilt']


def test_a_shifted_joint_is_off_by_the_shift_in_its_frame():
    arm = sphere_arm.skeleton()
    tilt = arm.joints[1]
    shifted = replace(tilt, T_parent_joint=sphere_arm.at(0.03, 0.5, 0.36))
    motion = sphere_arm.motion(replace(arm, joints=(arm.joints[0], shifted)))
    summary, scores = score_motion(motion, sphere_arm.truth())
    # The axis is along y: the shift along it does not count, 0.03 and 0.04 across it do.
    assert scores[1].distance == pytest.approx(0.05)
    assert summary['joint_error'] == pytest.approx(0.025)


def ball_scorer(motion) -> LinkScorer:
    scorer = LinkScorer(motion.skeleton, sphere_arm.truth(), motion.frames)
    balls = np.array([[0, 1, 2, 3, 4, 5, -1, -1]])
    scorer.add(balls, np.where(balls < 0, -1, balls // 2))
    return scorer


def test_exact_links_overlap_whole_and_merged_ones_in_part():
    exact = ball_scorer(sphere_arm.motion()).summary()
    assert exact == {'part_iou': 1.0, 'tree_agreement': 1.0, 'links': 3, 'links_true': 3}
    merged = ball_scorer(sphere_arm.without_motion_of('tilt', sphere_arm.motion())).summary()
    # base 1, the merged link covers upper (or fore) with half of its pixels, the other has none.
    assert merged['part_iou'] == pytest.approx((1.0 + 0.5 + 0.0) / 3)
    assert merged['tree_agreement'] == 1.0
    assert merged['links'] == 2


def test_background_pixels_lower_the_overlap():
    found = np.array([[0, 0, 0, -1]])
    counts = overlap_counts(found, np.array([[0, 0, -1, 0]]), (1, 1))
    assert part_iou(counts) == 0.5
    assert part_iou(np.zeros((2, 2), int)) is None


def chain(*edges: tuple[str, str]):
    names = sorted({name for edge in edges for name in edge})
    return group_links(names, [(a, b, True) for a, b in edges])


def counts_of(found, true, stands_for: dict[str, str]) -> np.ndarray:
    counts = np.zeros((len(found.members) + 1, len(true.members) + 1), int)
    for name, link in stands_for.items():
        counts[found.index_of(name), true.index_of(link)] += 10
    return counts


def test_trees_agree_up_to_merged_links():
    true = chain(('a', 'b'), ('b', 'c'), ('c', 'd'))
    same = dict(zip('pqrs', 'abcd', strict=True))
    turned_round = chain(('r', 's'), ('r', 'q'), ('q', 'p'))
    assert tree_agreement(turned_round, true, counts_of(turned_round, true, same)) == 1.0
    star = chain(('p', 'q'), ('p', 'r'), ('p', 's'))
    assert tree_agreement(star, true, counts_of(star, true, same)) == pytest.approx(1 / 3)
    # Two found links for b, one after the other, are one.
    doubled = chain(('p', 'q'), ('q', 't'), ('t', 'r'), ('r', 's'))
    assert tree_agreement(doubled, true, counts_of(doubled, true, {**same, 't': 'b'})) == 1.0
    # A second link for a behind b is a connection too many.
    again = chain(('p', 'q'), ('q', 'r'), ('r', 's'), ('q', 't'))
    agreement = tree_agreement(again, true, counts_of(again, true, {**same, 't': 'a'}))
    assert agreement == pytest.approx(2 * 3 / (4 + 3))
    one = group_links(['p'], [])
    assert tree_agreement(one, true, counts_of(one, true, {'p': 'a'})) == 0.0
    assert tree_agreement(one, group_links(['a'], []), np.zeros((2, 2), int)) is None


def test_links_that_nobody_sees_go_with_their_neighbours():
    true = chain(('a', 'b'), ('b', 'c'))
    found = chain(('p', 'q'), ('q', 'r'), ('r', 's'))
    counts = counts_of(found, true, {'p': 'a', 'q': 'b', 's': 'c'})
    assert tree_agreement(found, true, counts) == 1.0


def test_a_ball_joint_is_one_connection():
    joints = [
        Joint('j0', 'revolute', 'a', 'm0', np.eye(4), X),
        Joint('j1', 'revolute', 'm0', 'm1', np.eye(4), Z),
        Joint('j2', 'revolute', 'm1', 'b', np.eye(4), X),
        Joint('weld', 'fixed', 'b', 'c', np.eye(4), X),
    ]
    links = (Link('a', (0,)), Link('m0'), Link('m1'), Link('b', (1,)), Link('c', (2,)))
    groups = found_groups(Skeleton(links, tuple(joints), 'a'))
    assert set(groups.members) == {('a', 'm0', 'm1'), ('b', 'c')}
    assert len(groups.edges) == 1


def test_the_centre_of_a_found_joint_is_on_both_links():
    tracks = found_tracks(sphere_arm.motion())
    T_upper = sphere_arm.truth().poses_of('upper')
    np.testing.assert_allclose(tracks[1].points_F3, (T_upper @ [0, 0, 0.4, 1])[:, :3], atol=1e-12)


def test_a_skeleton_is_driven_to_poses_it_never_saw():
    truth = sphere_arm.truth()
    learned = list(range(18))
    motion = sphere_arm.motion(frames=learned)
    transfer = PoseTransfer(motion, truth.T_world_link_FL44[learned])
    for frame in (19, 23):
        driven = transfer.drive(truth.T_world_link_FL44[frame])
        np.testing.assert_allclose(driven.positions_D, sphere_arm.positions()[frame], atol=1e-5)
        np.testing.assert_allclose(driven.T_world_root, sphere_arm.at(0.1, 0, 0), atol=1e-5)
        assert driven.residual < 1e-5


def test_a_skeleton_with_a_joint_missing_cannot_follow():
    truth = sphere_arm.truth()
    motion = sphere_arm.without_motion_of('tilt', sphere_arm.motion(frames=range(18)))
    transfer = PoseTransfer(motion, truth.T_world_link_FL44[:18])
    assert transfer.drive(truth.T_world_link_FL44[22]).residual > 0.02
