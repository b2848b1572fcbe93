"""The triplet loss that makes features of photos and renders alike (nefes.md 1.5)."""

import torch
import torch.nn.functional as F


def hardest_triplet_loss(
    render_LBCHW: torch.Tensor, photo_LBCHW: torch.Tensor, margin: float = 1.0
) -> torch.Tensor:
    """Return the loss with the hardest of four negatives of the batch.

    Views of one pose should be nearer to each other than to those of the next image of the
    batch.  Of four pairs of different images the nearest one is taken, for the batch as a
    whole; what it says about its anchor is averaged over all rows of all channels, whose
    distance is Euclidean along the width of the image.

    Args:
        render_LBCHW, photo_LBCHW: features of the same B >= 2 poses.
        margin: by which negatives should be farther away.
    """
    anchor, positive, negative = _hardest(render_LBCHW, photo_LBCHW)
    near = F.pairwise_distance(anchor, positive)
    far = F.pairwise_distance(anchor, negative)
    return F.relu(margin + near - far).mean()


def _hardest(
    render_LBCHW: torch.Tensor, photo_LBCHW: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (anchor, positive, negative)."""
    other_render, other_photo = (f.roll(1, dims=1) for f in (render_LBCHW, photo_LBCHW))
    cases = (
        (render_LBCHW, photo_LBCHW, other_photo),
        (photo_LBCHW, render_LBCHW, other_render),
        (render_LBCHW, photo_LBCHW, other_render),
        (photo_LBCHW, render_LBCHW, other_photo),
    )
    with torch.no_grad():
        distances = torch.stack([F.mse_loss(anchor, other) for anchor, _, other in cases])
    return cases[int(distances.argmin())]
