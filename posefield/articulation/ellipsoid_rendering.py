"""Closed-form rendering of posed ellipsoids: no samples along the rays (part_fitting, stage 1).

An ellipsoid is seen as an ellipse.  A pixel p = (x, y, 1) on the image plane at z = 1 lies inside
when the quadratic form u(p) = 1 - m(p)^2 is positive, m being 0 at the ellipse's centre and 1 on
it.  The distance to the outline in the image is u / |grad u| to first order, so that coverage is
sigmoid(u / (|grad u| softness)).  The form, its gradient and the depth of the front surface are
linear in the coefficients of the ellipse: what is left for every pixel and part is a handful of
products, whose derivatives are written out below, because they are where the time goes.

Colours are blended from front to back without sorting.  Shares of a pixel are in proportion to
coverage exp(-depth / blur), but near an outline depth counts for no more than the outline lets
through: else what is much nearer would colour pixels far beside it.
"""

from dataclasses import dataclass

import torch

# Keeps the distance to the outline finite at an ellipse's centre; squared gradient of u.
LEAST_GRADIENT = 1e-4
# Depth of the front surface where a ray passes beside the ellipsoid: as if m^2 were 1 less this.
LEAST_CHORD = 1e-4
# Parts behind a camera are drawn as if they were this far in front of it, scene units.
LEAST_DEPTH = 0.05
# A part counts as this many widths of the depth blur farther away for every width of its outline
# that it is beside a pixel, when it is asked what is hit first there.
BESIDE = 1000.0

# Where the coefficients of x^2, xy, y^2, x, y and 1 are in a symmetric matrix, and how often.
_UPPER, _TIMES = [0, 1, 4, 2, 5, 8], [1.0, 2.0, 1.0, 2.0, 2.0, 1.0]


@dataclass(frozen=True)
class Ellipses:
    """P ellipsoids as seen in B images; polynomials over (x^2, xy, y^2, x, y, 1).

    Attributes:
        inside_BP6: the quadratic form u.
        gradients_B2P3: du/dx of all parts, then du/dy of all parts, over (x, y, 1).
        depths_BP3: depth of the middle of the chord, over (x, y, 1).
        half_chords_BP: half the depth of the ellipsoid at its centre.
        colours_B3P: colour of a part at depth 0.
        colour_slopes_B9P: change of that colour with the depth, over (x, y, 1) per channel.
    """

    inside_BP6: torch.Tensor
    gradients_B2P3: torch.Tensor
    depths_BP3: torch.Tensor
    half_chords_BP: torch.Tensor
    colours_B3P: torch.Tensor
    colour_slopes_B9P: torch.Tensor


@dataclass(frozen=True)
class Appearance:
    """Colours on the surface of P ellipsoids, RGB in [0, 1].

    The colour at the point h of the unit sphere that an ellipsoid's surface is mapped to is
    mean + texture h + mean (light . R h): a linear texture that moves with the part, and one
    light for all that stays in the scene.

    Attributes:
        means_P3, textures_P33, light_3: of that formula.
    """

    means_P3: torch.Tensor
    textures_P33: torch.Tensor
    light_3: torch.Tensor


def ellipses_of(
    R_BP33: torch.Tensor,
    t_BP3: torch.Tensor,
    radii_P3: torch.Tensor,
    appearance: Appearance,
    T_scene_cam_B44: torch.Tensor,
) -> Ellipses:
    """Return how posed ellipsoids look from B cameras.

    Args:
        R_BP33, t_BP3: poses in the scene frame.
        radii_P3: semi-axes.
        appearance: colours.
        T_scene_cam_B44: poses of the cameras, optical axes.
    """
    parts = len(radii_P3)
    R_part = R_BP33.transpose(-1, -2)
    R_cam = T_scene_cam_B44[:, :3, :3]
    # In part coordinates divided by the radii a ray is origin + s (directions p).
    directions = (R_part.flatten(1, 2) @ R_cam).unflatten(1, (parts, 3)) / radii_P3[:, :, None]
    offsets = T_scene_cam_B44[:, None, :3, 3] - t_BP3
    origins = (R_part @ offsets[..., None])[..., 0] / radii_P3
    linear = (directions.transpose(-1, -2) @ origins[..., None])[..., 0]
    square = directions.transpose(-1, -2) @ directions
    excess = (origins * origins).sum(dim=-1) - 1.0
    form = linear[..., :, None] * linear[..., None, :] - excess[..., None, None] * square
    xx, xy, x1, _, yy, y1, _, _, one = form.flatten(2).unbind(dim=-1)
    determinant = xx * yy - xy * xy
    centre_x = (xy * y1 - yy * x1) / determinant
    centre_y = (xy * x1 - xx * y1) / determinant
    form = form / (one + x1 * centre_x + y1 * centre_y)[..., None, None]
    # The chord's middle is at -(linear p) / (p square p); first order around the centre.
    centre = torch.stack([centre_x, centre_y, torch.ones_like(centre_x)], dim=-1)
    turned = (square @ centre[..., None])[..., 0]
    along, length = (linear * centre).sum(dim=-1), (turned * centre).sum(dim=-1)
    depth = (-along / length).clamp(min=LEAST_DEPTH)
    slope = (-(linear + 2 * depth[..., None] * turned) / length[..., None])[..., :2]
    at_origin = depth - (slope * centre[..., :2]).sum(dim=-1)
    half = ((along * along / length - excess).clamp(min=1e-6) / length).sqrt()
    shading = (appearance.light_3 @ R_BP33)[:, :, None]
    texture = appearance.textures_P33 + appearance.means_P3[:, :, None] * shading
    colours = appearance.means_P3 + (texture * origins[:, :, None]).sum(dim=-1)
    return Ellipses(
        form.flatten(2)[..., _UPPER] * form.new_tensor(_TIMES),
        2.0 * form[:, :, :2].transpose(1, 2).flatten(1, 2),
        torch.cat([slope, at_origin[..., None]], dim=-1),
        half,
        colours.transpose(1, 2),
        (texture @ directions).flatten(2).transpose(1, 2),
    )


def monomials(xy_BN2: torch.Tensor) -> torch.Tensor:
    """Return (x^2, xy, y^2, x, y, 1) of points of the image plane at z = 1, (B, 6, N)."""
    x, y = xy_BN2.unbind(dim=-1)
    return torch.stack([x * x, x * y, y * y, x, y, torch.ones_like(x)], dim=1)


def render_ellipses(
    ellipses: Ellipses, monomials_B6N: torch.Tensor, softness: float, depth_blur: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Render pixels of every image.

    Args:
        ellipses: what the cameras see.
        monomials_B6N: of the pixels, by `monomials`.
        softness: width of the outlines on the image plane at z = 1.
        depth_blur: difference in depth over which a part in front hides one behind, scene units.

    Returns:
        opaqueness (B, N): the silhouette is 1 - exp(-opaqueness), which is 1 - prod(1 - alpha);
        colours (B, 3, N) of what is hit; shares (B, P, N) of the parts in it, without gradient.
    """
    return _Composite.apply(
        ellipses.inside_BP6,
        ellipses.gradients_B2P3,
        ellipses.depths_BP3,
        ellipses.half_chords_BP,
        ellipses.colours_B3P,
        ellipses.colour_slopes_B9P,
        monomials_B6N,
        1.0 / softness,
        1.0 / depth_blur,
    )


def _first_hit(front: torch.Tensor, logits: torch.Tensor, near: float) -> torch.Tensor:
    """Return which part (B, 1, N) is hit first: the nearest of those that cover a pixel."""
    return torch.add(front, logits.clamp(max=0.0), alpha=-BESIDE / near).argmin(1, keepdim=True)


class _Composite(torch.autograd.Function):
    """The pixels of `render_ellipses`; arguments are the fields of `Ellipses` in order."""

    @staticmethod
    def forward(ctx, inside, gradients, depths, half_chords, colours, slopes, pixels, sharp, near):
        parts, linear = inside.shape[1], pixels[:, 3:]
        u = torch.bmm(inside, pixels)
        both = torch.bmm(gradients, linear)
        dx, dy = both[:, :parts], both[:, parts:]
        per_length = (dx * dx).addcmul_(dy, dy).add_(LEAST_GRADIENT).rsqrt_()
        logits = (u * per_length).mul_(sharp)
        chords = u.clamp(min=LEAST_CHORD).sqrt_()
        front = torch.bmm(depths, linear).addcmul_(half_chords[..., None], chords, value=-1)
        soft = torch.nn.functional.softplus(logits)
        first = _first_hit(front, logits, near)
        # A part before the first one only comes to cover / (1 - cover); one beyond it, to what
        # the first one leaves: as two layers that are blended.
        behind = (front - front.gather(1, first)).mul_(near)
        before, through = behind < -soft, soft.gather(1, first)
        beyond = behind > through
        behind = torch.minimum(torch.maximum(behind, -soft), through)
        shares = torch.softmax((logits - soft).sub_(behind), dim=1)
        deep_shares = shares * front
        sloped = torch.bmm(slopes, deep_shares).unflatten(1, (3, 3))
        colour = torch.bmm(colours, shares) + (sloped * linear[:, None]).sum(dim=2)
        ctx.save_for_backward(
            u, dx, dy, per_length, logits, chords, front, soft, shares, deep_shares,
            half_chords, colours, slopes, pixels, first, before, beyond,
        )  # fmt: skip
        ctx.sharp, ctx.near = sharp, near
        ctx.mark_non_differentiable(shares)
        return soft.sum(dim=1), colour, shares

    @staticmethod
    def backward(ctx, to_opaqueness, to_colour, _to_shares):
        (
            u, dx, dy, per_length, logits, chords, front, soft, shares, deep_shares,
            half_chords, colours, slopes, pixels, first, before, beyond,
        ) = ctx.saved_tensors  # fmt: skip
        linear = pixels[:, 3:]
        to_sloped = (to_colour[:, :, None] * linear[:, None]).flatten(1, 2)
        per_depth = torch.bmm(slopes.transpose(1, 2), to_sloped)
        to_scores = torch.bmm(colours.transpose(1, 2), to_colour).addcmul_(front, per_depth)
        to_scores.mul_(shares)
        to_scores.addcmul_(shares, to_scores.sum(dim=1, keepdim=True), value=-1)
        to_clear = before * to_scores
        to_through = beyond * to_scores
        to_behind = (to_scores - to_clear).sub_(to_through)
        to_front = (shares * per_depth).sub_(to_behind, alpha=ctx.near)
        to_front.scatter_add_(1, first, to_behind.sum(dim=1, keepdim=True).mul_(ctx.near))
        to_clear.scatter_add_(1, first, to_through.sum(dim=1, keepdim=True).neg_())
        outside = torch.exp(-soft)
        to_soft = to_clear.add_(to_opaqueness[:, None])
        to_logits = (to_scores - to_soft).mul_(outside).add_(to_soft)
        turning = (per_length * per_length).mul_(logits).mul_(to_logits).neg_()
        to_gradients = torch.bmm(
            torch.cat([turning * dx, turning * dy], dim=1), linear.transpose(1, 2)
        )
        to_u = to_logits.mul_(per_length).mul_(ctx.sharp)
        to_chords = (to_front * half_chords[..., None]).mul_(0.5).div_(chords)
        to_u.sub_(to_chords.mul_(u > LEAST_CHORD))
        return (
            torch.bmm(to_u, pixels.transpose(1, 2)),
            to_gradients,
            torch.bmm(to_front, linear.transpose(1, 2)),
            -(to_front * chords).sum(dim=-1),
            torch.bmm(to_colour, shares.transpose(1, 2)),
            torch.bmm(to_sloped, deep_shares.transpose(1, 2)),
            None,
            None,
            None,
        )
