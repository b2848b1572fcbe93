"""Joint candidates, the tree, and the losses on poses (watch_it_move.md 5.6 to 5.8)."""

import itertools
import math

import numpy as np
import pytest
import torch

from posefield.articulation import joint_candidates
from posefield.articulation.joint_candidates import (
    PairDistances,
    candidate_offsets,
    candidate_points,
    joint_positions,
    merge_loss,
    merge_weights,
    relative_motion,
    separation_loss,
    spanning_tree,
    structure_loss,
)
from posefield.articulation.pose_network import pose_matrices, rotation_6d


def _poses(frames=6, parts=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    R = rotation_6d(torch.randn(frames, parts, 6, generator=generator, dtype=dtype))
    return pose_matrices(R, torch.randn(frames, parts, 3, generator=generator, dtype=dtype))


def _radii(parts=5, seed=9, dtype=torch.float64):
    return 0.05 + torch.rand(parts, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _tree(T, radii):
    distances = PairDistances(T.shape[1]).to(T.dtype)
    distances.update(T, candidate_points(T, radii))
    return distances.tree()


def test_candidates_lie_on_the_axes_at_three_quarters_of_the_radii():
    radii = _radii(2)
    offsets = candidate_offsets(radii)
    assert offsets.shape == (2, 6, 3)
    expected = {
        tuple(round(s * 0.75 * float(radii[1, a]) * (a == k), 9) for k in range(3))
        for a in range(3)
        for s in (1, -1)
    }
    assert {tuple(round(v, 9) + 0.0 for v in row) for row in offsets[1].tolist()} == expected
    # With the centre they sum to zero, so that a Kabsch fit needs no centring.
    torch.testing.assert_close(offsets.sum(1), torch.zeros(2, 3, dtype=torch.float64))


def test_candidates_follow_the_poses():
    T, radii = _poses(), _radii()
    points = candidate_points(T, radii)
    for b, p, m in itertools.product(range(6), range(5), range(6)):
        local = torch.cat([candidate_offsets(radii)[p, m], torch.ones(1, dtype=torch.float64)])
        torch.testing.assert_close(points[b, p, m], (T[b, p] @ local)[:3])


def test_a_joint_is_in_the_middle_of_its_candidates():
    points = candidate_points(_poses(), _radii())
    joints = joint_positions(points, ((0, 3, 2, 5), (1, 2, 0, 0)))
    torch.testing.assert_close(joints[:, 0], 0.5 * (points[:, 0, 2] + points[:, 3, 5]))
    torch.testing.assert_close(joints[:, 1], 0.5 * (points[:, 1, 0] + points[:, 2, 0]))


def _brute_force_cost(costs):
    """The least sum over all trees, tried one by one."""
    parts = len(costs)
    pairs = list(itertools.combinations(range(parts), 2))
    best = math.inf
    for edges in itertools.combinations(pairs, parts - 1):
        reached = {0}
        for _ in range(parts):
            reached |= {b for e in edges for a, b in (e, e[::-1]) if a in reached}
        if len(reached) == parts:
            best = min(best, sum(costs[e] for e in edges))
    return best


@pytest.mark.parametrize('seed', range(5))
def test_the_tree_has_the_least_cost_of_all_trees(seed):
    costs = np.random.default_rng(seed).random((5, 5))
    costs = costs + costs.T
    edges = spanning_tree(costs)
    assert len(edges) == 4
    assert all(i < j for i, j in edges)
    assert sum(costs[e] for e in edges) == pytest.approx(_brute_force_cost(costs))


def test_the_tree_takes_the_best_candidates_and_is_the_same_however_all_parts_move_together():
    T, radii = _poses(), _radii()
    edges = _tree(T, radii)
    assert len(edges) == 4
    points = candidate_points(T, radii)
    for i, j, m, n in edges:
        square = (points[:, i, :, None] - points[:, j, None]).square().sum(-1).mean(0)
        assert (m, n) == divmod(int(square.argmin()), 6)
    # Another common motion in every frame, as of cameras.
    common = _poses(frames=6, parts=1, seed=4)
    assert _tree(common @ T, radii) == edges


def test_the_cost_of_a_pair_has_a_share_of_the_centres_distance():
    distances = PairDistances(3)
    # All candidates are equally near; only the centres tell.
    distances.candidates_PMPM.fill_(1.0)
    distances.centres_PP.copy_(torch.tensor([[0.0, 3, 1], [3, 0, 2], [1, 2, 0]]))
    assert [edge[:2] for edge in distances.tree()] == [(0, 2), (1, 2)]
    # A pair that is nearer by less than 0.02 of what its centres are farther apart loses.
    distances.candidates_PMPM[0, :, 1] = distances.candidates_PMPM[1, :, 0] = 1.0 - 0.019
    assert (0, 1) not in [edge[:2] for edge in distances.tree()]
    distances.candidates_PMPM[0, :, 1] = distances.candidates_PMPM[1, :, 0] = 1.0 - 0.041
    assert (0, 1) in [edge[:2] for edge in distances.tree()]


def test_averages_start_with_the_first_batch_and_move_by_a_twentieth():
    first, second, radii = _poses(seed=0), _poses(seed=1), _radii()
    distances = PairDistances(5).double()
    for T in (first, second):
        distances.update(T, candidate_points(T, radii))
    for b in range(2):
        i, m, j, n = (0, 1, 3, 4) if b else (2, 0, 1, 5)
        means = [
            (p[:, i, m] - p[:, j, n]).square().sum(-1).mean()
            for p in (candidate_points(T, radii) for T in (first, second))
        ]
        expected = 0.95 * means[0] + 0.05 * means[1]
        torch.testing.assert_close(distances.candidates_PMPM[i, m, j, n], expected)
    centres = [(T[:, 1, :3, 3] - T[:, 4, :3, 3]).square().sum(-1).mean() for T in (first, second)]
    torch.testing.assert_close(distances.centres_PP[1, 4], 0.95 * centres[0] + 0.05 * centres[1])


def test_averages_are_kept_with_the_weights():
    distances = PairDistances(5).double()
    T, radii = _poses(), _radii()
    distances.update(T, candidate_points(T, radii))
    copy = PairDistances(5).double()
    copy.load_state_dict(distances.state_dict())
    assert copy.tree() == distances.tree()


def test_the_structure_loss_draws_joined_candidates_together():
    T, radii = _poses(), _radii().requires_grad_()
    edges = ((0, 1, 2, 3), (1, 4, 0, 5))
    points = candidate_points(T, radii)
    loss = structure_loss(points, edges)
    expected = [
        (points[b, i, m] - points[b, j, n]).square().sum()
        for b in range(6)
        for i, j, m, n in edges
    ]
    torch.testing.assert_close(loss, sum(expected) / (6 * 2))
    (gradient,) = torch.autograd.grad(loss, radii)
    assert gradient[0].abs().sum() > 0
    assert gradient[2].abs().sum() == 0
    assert structure_loss(points[:, :1], ()) == 0


def test_separation_is_a_sum_over_ordered_pairs():
    centres = 0.1 * torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0))
    expected = sum(
        math.exp(-float((centres[b, i] - centres[b, j]).square().sum()) / (2 * 0.05**2))
        for b in range(3)
        for i in range(4)
        for j in range(4)
        if i != j
    ) / (3 * 3)
    assert float(separation_loss(centres)) == pytest.approx(expected, rel=1e-5)
    assert float(separation_loss(torch.zeros(1, 2, 3))) == pytest.approx(2.0)
    assert float(separation_loss(torch.zeros(1, 1, 3))) == 0.0


def test_relative_motion_is_what_the_formula_says():
    T = _poses(frames=7, parts=3)
    found = relative_motion(T)
    for i, j in itertools.permutations(range(3), 2):
        A = torch.stack([T[f, i, :3, :3].T @ T[f, j, :3, :3] for f in range(7)])
        a = torch.stack([T[f, i, :3, :3].T @ (T[f, j, :3, 3] - T[f, i, :3, 3]) for f in range(7)])
        expected = A.std(0, correction=1).mean() + 3 * a.std(0, correction=1).mean()
        torch.testing.assert_close(found[i, j], expected)
    assert torch.equal(found.diagonal(), torch.zeros(3, dtype=torch.float64))


def test_parts_that_move_as_one_have_no_merge_loss_and_a_finite_gradient():
    body = _poses(frames=9, parts=1).requires_grad_()
    fixed = _poses(frames=1, parts=4, seed=3)
    loss = merge_loss(body @ fixed)
    assert loss.item() < 1e-7
    (gradient,) = torch.autograd.grad(loss, body)
    assert gradient.isfinite().all()
    still = fixed.expand(9, 4, 4, 4).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(merge_loss(still), still)
    assert gradient.isfinite().all()


def test_the_weight_of_a_pair_falls_with_its_relative_motion():
    motion = torch.tensor([[0.0, 0.0, 0.1], [0.0, 0.0, 0.1], [0.1, 0.4, 0.0]])
    weights = merge_weights(motion)
    assert float(weights[0, 1]) == pytest.approx(1 / (1 + math.exp(-1)))
    assert float(weights[0, 2]) == pytest.approx(0.5)
    assert float(weights[2, 1]) == pytest.approx(1 / (1 + math.exp(3)))
    assert torch.equal(weights.diagonal(), torch.zeros(3))
    # Where all pairs move more than the threshold, the stillest counts half.
    weights = merge_weights(motion.clamp(min=0.3))
    assert float(weights[0, 1]) == pytest.approx(0.5)


def test_the_merge_loss_weighs_motion_without_a_gradient_through_the_weight():
    T = _poses(frames=7, parts=3).requires_grad_()
    motion = relative_motion(T)
    weights = merge_weights(motion.detach())
    expected = (weights * motion).sum() / 9
    found = merge_loss(T)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, T)[0], torch.autograd.grad(expected, T)[0]
    )
    assert merge_loss(T[:, :1]) == 0


def test_one_part_has_no_tree():
    assert spanning_tree(np.zeros((1, 1))) == []
    assert joint_candidates.spanning_tree(np.ones((2, 2))) == [(0, 1)]
