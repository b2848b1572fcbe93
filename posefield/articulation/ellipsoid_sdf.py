"""Signed distance to ellipsoids, with gradients to points and radii (Watch It Move 3.3).

The foot of a point x on the ellipsoid of radii r is q * r, q on the unit sphere, with
q = r x / (r^2 + L) and L the largest root of g(L) = sum_k r_k^2 x_k^2 / (r_k^2 + L)^2 = 1.
Newton's method from below finds it without gradient.  With q held still, the distance of x to
q * r has the gradients wanted.
"""

import torch

ITERATIONS = 10
# Where 1 - g(L) is more, the iteration has not come to the root.
TOLERANCE = 1e-5
# Square of a length that is added under the root, for a finite gradient on the surface.
TINY_SQUARE = 1e-16


def ellipsoid_distance(
    points_3: torch.Tensor, radii_3: torch.Tensor, iterations: int = ITERATIONS
) -> torch.Tensor:
    """Return signed distances (...), negative inside.

    Deep inside, where the nearest point of the surface is not unique, and nowhere less than
    that, the distance is minus the least radius.

    Args:
        points_3: (..., 3) in the frames of the ellipsoids.
        radii_3: (..., 3) positive, broadcast against the points.
        iterations: of Newton's method; 10 give 5e-8 in float32 outside.
    """
    feet_3, valid = _unit_feet(points_3.detach(), radii_3.detach(), iterations)
    lengths = ((points_3 - feet_3 * radii_3).square().sum(-1) + TINY_SQUARE).sqrt()
    inside = (points_3.detach() / radii_3.detach()).square().sum(-1) < 1.0
    distances = torch.where(inside, -lengths, lengths)
    least = -radii_3.amin(-1)
    return torch.where(valid & (distances.detach() >= least.detach()), distances, least)


@torch.no_grad()
def _unit_feet(
    points_3: torch.Tensor, radii_3: torch.Tensor, iterations: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the feet q (..., 3) on the unit sphere, and whether they were found (...).

    Component by component, because sums over a dimension of three are slow.
    """
    squares = radii_3.square().unbind(-1)
    products = (points_3 * radii_3).unbind(-1)
    root = _first_guess(products, squares)
    for _ in range(iterations):
        value, slope = _equation(products, squares, root)
        root = root + (value - 1.0) / (2.0 * slope)
    value, _ = _equation(products, squares, root)
    valid = (1.0 - value < TOLERANCE) & (root > -radii_3.square().amin(-1))
    feet = torch.stack([p / (s + root) for p, s in zip(products, squares, strict=True)], dim=-1)
    return torch.where(valid[..., None], feet, 0.0), valid


def _first_guess(
    products: tuple[torch.Tensor, ...], squares: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    """Return max_k (r_k |x_k| - r_k^2), which is never above the root."""
    x, y, z = (p.abs() - s for p, s in zip(products, squares, strict=True))
    return torch.maximum(torch.maximum(x, y), z)


def _equation(
    products: tuple[torch.Tensor, ...], squares: tuple[torch.Tensor, ...], root: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return g and -g'/2 at a value of L."""
    value, slope = 0.0, 0.0
    for product, square in zip(products, squares, strict=True):
        inverse = 1.0 / (square + root)
        term = (product * inverse).square()
        value = value + term
        slope = slope + term * inverse
    return value, slope
