"""Losses on rendered rays, and all weights (watch_it_move.md 5.1 to 5.3)."""

import pytest
import torch

from posefield.articulation.paper_losses import (
    PUBLISHED_WEIGHTS,
    SeenPixels,
    eikonal_loss,
    photometric_loss,
)


def test_the_weight_of_the_structure_rises_to_50():
    human, robots = PUBLISHED_WEIGHTS['human'], PUBLISHED_WEIGHTS['robots']
    assert human.structure_at(5_000) == 26.0
    assert robots.structure_at(5_000) == 25.5
    assert PUBLISHED_WEIGHTS['dog'].structure_at(0) == 2.0
    assert PUBLISHED_WEIGHTS['nao'].structure_at(0) == 1.0
    assert human.structure_at(10_000) == human.structure_at(200_000) == 50.0


def test_merging_begins_at_150k():
    weights = PUBLISHED_WEIGHTS['human']
    assert [weights.merging_at(i) for i in (0, 149_999, 150_000)] == [0.0, 0.0, 5.0]


def test_weights_are_the_published_ones():
    table = {
        name: (w.photo, w.eikonal, w.silhouette, w.centres, w.separation)
        for name, w in PUBLISHED_WEIGHTS.items()
    }
    assert table == {
        'human': (1, 0.2, 600, 1000, 1),
        'robots': (1, 0.02, 400, 1000, 1),
        'nao': (1, 0.2, 600, 0, 1),
        'dog': (1, 0.2, 600, 0, 1),
    }


def _seen(masks, in_blocks=True, visible=True):
    masks = torch.tensor(masks)
    generator = torch.Generator().manual_seed(0)
    return SeenPixels(
        2 * torch.rand(*masks.shape, 3, generator=generator) - 1,
        masks,
        torch.full(masks.shape, in_blocks),
        torch.tensor([visible] * len(masks)),
    )


def test_errors_in_blocks_count_four_times():
    seen = _seen([[0, 1, 1]])
    colours, opacities = torch.zeros(1, 3, 3), torch.tensor([[0.5, 0.25, 1.0]])
    expected = 4 * seen.colours_BR3.square().mean() + 4 * (0.25 + 0.75**2) / 3
    torch.testing.assert_close(photometric_loss(colours, opacities, seen), expected)
    outside = _seen([[0, 1, 1]], in_blocks=False)
    torch.testing.assert_close(photometric_loss(colours, opacities, outside), expected / 4)


def test_unreliable_pixels_do_not_count_but_stay_in_the_mean():
    seen = _seen([[1, 2]])
    colours = seen.colours_BR3.clone()
    colours[:, 1] += 0.7
    assert photometric_loss(colours, torch.tensor([[1.0, 0.3]]), seen) == 0
    colours[:, 0] += 0.1
    found = photometric_loss(colours, torch.tensor([[1.0, 0.3]]), seen)
    assert float(found) == pytest.approx(4 * 0.01 / 2, rel=1e-4)


def test_the_mask_of_an_image_without_the_object_does_not_count():
    seen = _seen([[0, 0]], visible=False)
    assert photometric_loss(seen.colours_BR3, torch.ones(1, 2), seen) == 0


def test_the_eikonal_loss_wants_slopes_of_one():
    slopes = torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    slopes.requires_grad_()
    loss = eikonal_loss(slopes)
    assert loss.item() == pytest.approx(2 / 3, rel=1e-5)
    loss.backward()
    assert slopes.grad.isfinite().all()
