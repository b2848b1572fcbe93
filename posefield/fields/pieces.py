"""Rendering many rays a few at a time."""

from collections.abc import Callable, Sequence
import dataclasses

import torch
from torch.utils.checkpoint import checkpoint

from posefield.fields.radiance import RayRender


def render_in_pieces(
    render: Callable[[torch.Tensor, torch.Tensor], RayRender],
    origins_R3: torch.Tensor,
    directions_R3: torch.Tensor,
    size: int,
) -> RayRender:
    """Render rays so that memory does not grow with their number.

    Where gradients are wanted, a piece of several is rendered once more in the backward pass.

    Args:
        render: of origins and directions; the same result every time.
        origins_R3, directions_R3: the rays.
        size: rays in a piece.
    """
    if len(origins_R3) <= size:
        return render(origins_R3, directions_R3)
    pieces = zip(origins_R3.split(size), directions_R3.split(size), strict=True)
    if not torch.is_grad_enabled():
        return _joined([render(*piece) for piece in pieces])
    return _joined(
        [
            checkpoint(render, *piece, use_reentrant=False, preserve_rng_state=False)
            for piece in pieces
        ]
    )


def _joined(parts: Sequence):
    """Return tensors, or all tensors of dataclasses, one after another."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, torch.Tensor):
        return torch.cat(list(parts))
    names = [field.name for field in dataclasses.fields(first)]
    return type(first)(**{name: _joined([getattr(p, name) for p in parts]) for name in names})
