"""Rendering rays in pieces."""

import dataclasses

import pytest
import torch

from posefield.fields.mlp_field import CPU_RAYS, MlpField, MlpFieldConfig
from posefield.fields.mlp_rendering import render_mlp_rays
from posefield.fields.pieces import render_in_pieces
from posefield.fields.radiance import RayRender
from posefield.fields.rendering import render_rays

FIELD = MlpField(
    MlpFieldConfig(
        width=16,
        depth=3,
        skip=1,
        position_levels=3,
        direction_levels=2,
        coarse_samples=8,
        fine_samples=6,
        features=5,
    ),
    torch.Generator().manual_seed(0),
)
NEAR, FAR = 0.0, 3.0


def some_rays(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    origins = torch.rand(count, 3, generator=generator) - 0.5
    directions = torch.rand(count, 3, generator=generator) - 0.5
    directions[:, 2] = 1.0
    return origins, directions


def render_plainly(origins: torch.Tensor, directions: torch.Tensor) -> RayRender:
    return render_mlp_rays(FIELD, origins, directions, NEAR, FAR)


def tensors_of(render) -> dict[str, torch.Tensor]:
    """Return all tensors of a render by their dotted names."""
    found = {}
    for field in dataclasses.fields(render):
        value = getattr(render, field.name)
        if dataclasses.is_dataclass(value):
            nested = tensors_of(value).items()
            found.update({f'{field.name}.{name}': tensor for name, tensor in nested})
        elif value is not None:
            found[field.name] = value
    return found


@pytest.mark.parametrize('size', [1, 4, 10, 11])
@pytest.mark.parametrize('grad', [True, False])
def test_pieces_make_the_same_render_with_all_its_parts(size, grad):
    rays = some_rays(10)
    with torch.set_grad_enabled(grad):
        whole = tensors_of(render_plainly(*rays))
        pieces = tensors_of(render_in_pieces(render_plainly, *rays, size))
    assert ('extras.coarse_colours' in whole) == grad
    assert whole.keys() == pieces.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(pieces[name], tensor, msg=name)


def test_pieces_pass_on_the_same_gradients():
    gradients = []
    for size in (10, 3):
        origins, directions = (rays.requires_grad_(True) for rays in some_rays(10))
        render = render_in_pieces(render_plainly, origins, directions, size)
        loss = (render.colours**2).sum() + (render.features**3).sum()
        inputs = [origins, directions, FIELD.fine.trunk[0].weight, FIELD.fine.static_out.weight]
        gradients.append(torch.autograd.grad(loss, inputs))
    for whole, pieces in zip(*gradients, strict=True):
        torch.testing.assert_close(pieces, whole)
        assert whole.abs().max() > 0.0


def test_learning_draws_all_rays_at_once_from_its_generator():
    rays = some_rays(CPU_RAYS + 5)
    seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
    found = render_rays(FIELD, *rays, NEAR, FAR, seeds[0])
    expected = render_mlp_rays(FIELD, *rays, NEAR, FAR, seeds[1])
    assert torch.equal(found.colours, expected.colours)
    still = render_rays(FIELD, *rays, NEAR, FAR)
    torch.testing.assert_close(still.colours, render_plainly(*rays).colours)
