"""Encodings of positions and directions."""

import torch


def contract(points_N3: torch.Tensor) -> torch.Tensor:
    """Map all of space into the box [-2, 2]^3, the identity inside [-1, 1]^3.

    The L-infinity form of mip-NeRF 360's contraction: (2 - 1/|x|) x/|x| outside.
    """
    norm = points_N3.abs().amax(dim=-1, keepdim=True).clamp(min=1.0)
    return points_N3 * (2.0 - 1.0 / norm) / norm


def frequency_encoding(values_N3: torch.Tensor, levels: int) -> torch.Tensor:
    """Return (..., 3 + 6 levels): x, sin 2^k x and cos 2^k x for k = 0 .. levels - 1.

    Without a factor of pi (NeFeS section 2.2): scenes should lie within about [-pi, pi].
    """
    powers = 2.0 ** torch.arange(levels, dtype=values_N3.dtype, device=values_N3.device)
    angles = values_N3[..., None, :] * powers[:, None]
    waves = torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1).flatten(-2)
    return torch.cat([values_N3, waves], dim=-1)


def spherical_harmonics(directions_N3: torch.Tensor) -> torch.Tensor:
    """Return the real spherical harmonics up to degree 2, (N, 9), of unit directions."""
    x, y, z = directions_N3.unbind(dim=-1)
    return torch.stack(
        [
            torch.full_like(x, 0.28209479),
            0.48860251 * y,
            0.48860251 * z,
            0.48860251 * x,
            1.09254843 * x * y,
            1.09254843 * y * z,
            0.31539157 * (3.0 * z * z - 1.0),
            1.09254843 * x * z,
            0.54627422 * (x * x - y * y),
        ],
        dim=-1,
    )
