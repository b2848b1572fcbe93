"""What a rendered ray is compared by (nefes.md section 4.1)."""

import torch

from posefield.fields.compositing import distortion_loss, interlevel_loss
from posefield.fields.radiance import RayRender


def colour_loss(
    render: RayRender, colours_R3: torch.Tensor, transient_weight: float
) -> torch.Tensor:
    """Return L_rgb (R,) of rays.

    A field with a coarse network and a transient part has the loss of NeRF-W: the coarse
    colours without exposure, and the fine ones within the deviation beta that it claims.  A field
    without has the robust loss of FieldStage.

    Args:
        render: with exposure.
        colours_R3: of the photo.
        transient_weight: of the mean transient density.
    """
    square = (render.colours - colours_R3) ** 2
    extras = render.extras
    if extras is None:
        return (square + 1e-4).sqrt().mean(dim=1)
    loss = square.mean(dim=1)
    if extras.betas is not None:
        loss = loss / (2.0 * extras.betas**2) + 3.0 + extras.betas.log()
        loss = loss + transient_weight * extras.transient_densities
    if extras.coarse_colours is not None:
        loss = loss + 0.5 * ((extras.coarse_colours - colours_R3) ** 2).mean(dim=1)
    return loss


def shape_loss(render: RayRender, distortion_weight: float, opacity_weight: float) -> torch.Tensor:
    """Return what keeps a field with a proposal in shape, as FieldStage does.

    The proposal covers the weights, they are gathered in one place, and rays end somewhere.
    """
    fine, proposal = render.fine, render.proposal
    cover = interlevel_loss(fine.edges, fine.weights, proposal.edges, proposal.weights)
    spread = distortion_loss(fine.weights, fine.edges)
    holes = (1.0 - render.opacities).clamp(min=0.0).mean()
    return cover + distortion_weight * spread + opacity_weight * holes
