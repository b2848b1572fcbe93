"""Distances between projected points and silhouettes (watch_it_move.md 5.4 and 5.5)."""

import pytest
import torch

from posefield.articulation import chamfer
from posefield.articulation.chamfer import nearest_by_blocks, nearest_by_tree, silhouette_chamfer


def _cloud(count, seed, scale=40.0):
    return scale * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))


def _square_distances(queries, points):
    """The full tensor of pairs."""
    return (queries[:, None] - points[None]).square().sum(-1)


@pytest.mark.parametrize('find', [nearest_by_tree, nearest_by_blocks])
@pytest.mark.parametrize('share', [1.0, 0.3])
def test_neighbours_are_those_of_all_pairs(find, share):
    queries, points = _cloud(300, 0, 60.0) - 10, _cloud(500, 1)
    allowed = torch.rand(500, generator=torch.Generator().manual_seed(2)) <= share
    square = _square_distances(queries, points).masked_fill(~allowed, torch.inf)
    found = find(queries, points, allowed)
    assert allowed[found].all()
    torch.testing.assert_close((queries - points[found]).square().sum(1), square.min(dim=1).values)


def test_blocks_give_what_one_block_gives():
    queries, points = _cloud(101, 0), _cloud(37, 1)
    allowed = torch.ones(37, dtype=torch.bool)
    whole = nearest_by_blocks(queries, points, allowed)
    assert torch.equal(nearest_by_blocks(queries, points, allowed, block_pairs=100), whole)
    assert torch.equal(nearest_by_blocks(queries, points, allowed, block_pairs=1), whole)


@pytest.mark.parametrize('find', [nearest_by_tree, nearest_by_blocks])
def test_an_image_where_nothing_is_allowed_gives_the_first(find):
    found = find(_cloud(5, 0), _cloud(7, 1), torch.zeros(7, dtype=torch.bool))
    assert found.tolist() == [0] * 5


@pytest.mark.parametrize('find', [nearest_by_tree, nearest_by_blocks])
def test_what_is_not_a_number_spoils_nothing_else(find):
    queries, points = _cloud(6, 0), _cloud(7, 1)
    allowed = torch.ones(7, dtype=torch.bool)
    expected = find(queries, points, allowed)
    spoiled = queries.clone()
    spoiled[2, 1], spoiled[4] = torch.nan, torch.inf
    found = find(spoiled, points, allowed)
    assert torch.equal(found[[0, 1, 3, 5]], expected[[0, 1, 3, 5]])
    assert found.max() < 7


def test_neighbours_of_pixels_far_apart_are_exact():
    # |a|^2 - 2ab + |b|^2 in float32 would take the wrong one.
    queries = torch.tensor([[4001.0, 3999.0]])
    points = torch.tensor([[4000.9, 3999.0], [4001.05, 3999.0], [4001.2, 3999.0]])
    allowed = torch.ones(3, dtype=torch.bool)
    assert nearest_by_blocks(queries, points, allowed).tolist() == [1]
    assert nearest_by_tree(queries, points, allowed).tolist() == [1]


def _plain_chamfer(points_BS2, pixels_BG2, masks_BG, dead_zone):
    """The formula with the tensor of all pairs."""
    square = (points_BS2[:, :, None] - pixels_BG2[:, None]).square().sum(-1)
    counted = square.masked_fill((masks_BG == 0)[:, None], torch.inf).min(dim=2)
    visible = ((masks_BG == 1).sum(1) > 1).float()
    total, count = 0.0, points_BS2.shape[0] * points_BS2.shape[1]
    for b in range(len(points_BS2)):
        for s in range(points_BS2.shape[1]):
            q = counted.values[b, s]
            if masks_BG[b, counted.indices[b, s]] == 1 and q >= dead_zone:
                total = total + visible[b] * q / count
    back, on = square.min(dim=1).values, masks_BG == 1
    return total + (torch.where(back >= dead_zone, back, 0.0) * on).sum() / on.sum()


@pytest.mark.parametrize('dead_zone', [0.0, 9.0])
def test_both_sides_are_what_the_formula_says(dead_zone):
    generator = torch.Generator().manual_seed(4)
    points = torch.stack([_cloud(30, 5), _cloud(30, 6)]).requires_grad_()
    pixels = torch.stack([_cloud(80, 7), _cloud(80, 8)]).round()
    masks = torch.randint(0, 3, (2, 80), generator=generator)
    found = silhouette_chamfer(points, pixels, masks, dead_zone)
    expected = _plain_chamfer(points, pixels, masks, dead_zone)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss, points)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_blocks_give_the_same_loss_as_trees(monkeypatch):
    points = torch.stack([_cloud(30, 5), _cloud(30, 6)])
    pixels = torch.stack([_cloud(80, 7), _cloud(80, 8)]).round()
    masks = torch.randint(0, 3, (2, 80), generator=torch.Generator().manual_seed(4))
    by_tree = silhouette_chamfer(points, pixels, masks, 9.0)
    monkeypatch.setattr(chamfer, 'nearest_by_tree', nearest_by_blocks)
    torch.testing.assert_close(silhouette_chamfer(points, pixels, masks, 9.0), by_tree)


def test_points_on_the_silhouette_and_within_its_dead_zone_cost_nothing():
    pixels = torch.cartesian_prod(torch.arange(10.0), torch.arange(10.0))[None]
    masks = torch.ones(1, 100, dtype=torch.int64)
    assert silhouette_chamfer(pixels + 2.0 / 2**0.5 - 0.1, pixels, masks, 9.0) == 0
    assert silhouette_chamfer(pixels + 30.0, pixels, masks, 9.0) > 100


def test_points_outside_are_drawn_in_and_the_silhouette_draws_them_too():
    pixels = torch.cartesian_prod(torch.arange(20.0), torch.arange(20.0))[None]
    inside = (pixels - 10).norm(dim=2) < 5
    points = torch.tensor([[[18.0, 10.0], [10.0, 10.0]]], requires_grad=True)
    silhouette_chamfer(points, pixels, inside.long()).backward()
    assert points.grad[0, 0, 0] > 0
    assert abs(points.grad[0, 0, 1]) < 1.0


def test_unreliable_pixels_hold_points_but_do_not_draw_them():
    pixels = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [10.0, 0.0]]])
    masks = torch.tensor([[1, 1, 1, 2]])
    # The nearest of all is unreliable, so this point costs nothing by itself.
    points = torch.tensor([[[14.0, 0.0]]])
    alone = silhouette_chamfer(points, pixels, masks)
    back = (pixels[0, :3, 0] - 14.0).square().mean()
    torch.testing.assert_close(alone, back)


@pytest.mark.parametrize('count', [0, 1])
def test_an_image_without_two_pixels_of_the_object_draws_no_points(count):
    pixels = torch.tensor([[[0.0, 0.0], [5.0, 0.0], [9.0, 0.0]]])
    masks = torch.zeros(1, 3, dtype=torch.int64)
    masks[0, :count] = 1
    points = torch.tensor([[[3.0, 4.0]]], requires_grad=True)
    loss = silhouette_chamfer(points, pixels, masks)
    assert float(loss.detach()) == (25.0 if count else 0.0)
    loss.backward()
    assert points.grad.isfinite().all()
