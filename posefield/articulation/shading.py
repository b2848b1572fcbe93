"""Light that stands still while parts turn in it: the switchable part of a surface's colours.

The published colours are constant on every part, which blurs what turns under a fixed sun.  Here
they are multiplied by the irradiance of a distant environment, whose dependence on the normal is
nine spherical harmonics for each colour; so it carries over to poses that were never seen.
"""

import torch
from torch import nn

HARMONICS = 9
# The first weights are small, so that normals begin as those of the ellipsoids.
LEAST_GAIN = 0.05


def spherical_harmonics(normals_N3: torch.Tensor) -> torch.Tensor:
    """Return the nine unnormalised harmonics (..., 9) of unit vectors up to the second order."""
    x, y, z = normals_N3.unbind(-1)
    return torch.stack(
        [torch.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3.0 * z * z - 1.0],
        dim=-1,
    )


class Shading(nn.Module):
    """Irradiance by normal, with normals that are corrected by a linear map of the encoding.

    Args:
        features: length of the encoding of a point.
    """

    def __init__(self, features: int):
        super().__init__()
        self.correction = nn.Linear(features, 3, bias=False)
        nn.init.zeros_(self.correction.weight)
        light = torch.zeros(HARMONICS, 3)
        light[0] = 1.0
        self.light_93 = nn.Parameter(light)

    @property
    def mean_gain_3(self) -> torch.Tensor:
        """The factor on each colour, averaged over all normals."""
        return self.light_93[0].clamp(min=LEAST_GAIN)

    def forward(
        self,
        features_RKF: torch.Tensor,
        normals_RKM3: torch.Tensor,
        weights_RKM: torch.Tensor,
        R_scene_part_RM33: torch.Tensor,
    ) -> torch.Tensor:
        """Return the factors (R, K, 3) on colours.

        Args:
            features_RKF: encodings of points.
            normals_RKM3: of the ellipsoids at the points, each in the frame of its part.
            weights_RKM: how much the points belong to the parts.
            R_scene_part_RM33: how the parts are turned.
        """
        bent = normals_RKM3 + self.correction(features_RKF)[:, :, None]
        turned = torch.einsum('rkmj,rmij->rkmi', bent, R_scene_part_RM33)
        normals = (weights_RKM[..., None] * turned).sum(dim=2)
        normals = nn.functional.normalize(normals, dim=-1)
        return (spherical_harmonics(normals) @ self.light_93).clamp(min=LEAST_GAIN)
