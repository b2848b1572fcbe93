"""What Watch It Move minimises: seven losses, their weights and how these change (section 5).

The losses on poses alone are in joint_candidates.py, the distances to silhouettes in chamfer.py.
"""

from dataclasses import dataclass

import torch

# Factor on errors inside the blocks around the object, which are nearly all that are drawn.
BLOCK_FACTOR = 2.0
# Added under the root of a gradient's norm, which has no slope at 0.
TINY_SQUARE = 1e-12


@dataclass(frozen=True)
class PaperWeights:
    """Weights of the losses; the defaults are those for people.

    Attributes:
        photo: lambda_photo, of colours and mask.
        eikonal: lambda_SDF.
        silhouette: lambda_E, of the ellipsoids' distance to the silhouette.
        centres: lambda_t, of the centres' distance to the silhouette; 0 where masks are not to
            be relied upon, or the object is compact.
        separation: lambda_sep.
        first_structure, structure: lambda_Gamma at first and from `structure_full` on.
        structure_full: iteration.
        merging: lambda_merge, from `merging_begins` on.
        merging_begins: tau_2, iteration.
    """

    photo: float = 1.0
    eikonal: float = 0.2
    silhouette: float = 600.0
    centres: float = 1000.0
    separation: float = 1.0
    first_structure: float = 2.0
    structure: float = 50.0
    structure_full: int = 10_000
    merging: float = 5.0
    merging_begins: int = 150_000

    def structure_at(self, iteration: int) -> float:
        """Return lambda_Gamma, which rises linearly at first."""
        share = min(1.0, iteration / self.structure_full)
        return self.first_structure + share * (self.structure - self.first_structure)

    def merging_at(self, iteration: int) -> float:
        """Return lambda_merge, which is 0 until parts are to be merged."""
        return self.merging if iteration >= self.merging_begins else 0.0


PUBLISHED_WEIGHTS = {
    'human': PaperWeights(),
    'robots': PaperWeights(eikonal=0.02, silhouette=400.0, first_structure=1.0),
    'nao': PaperWeights(centres=0.0, first_structure=1.0),
    'dog': PaperWeights(centres=0.0),
}


@dataclass(frozen=True)
class SeenPixels:
    """What cameras saw at the rays that are rendered.

    Attributes:
        colours_BR3: in [-1, 1], background where the object is not.
        masks_BR: 0 background, 1 object, 2 unreliable.
        in_blocks_BR: whether the pixel is in a block that has something of the object.
        visible_B: whether more than one pixel of the image is of the object.
    """

    colours_BR3: torch.Tensor
    masks_BR: torch.Tensor
    in_blocks_BR: torch.Tensor
    visible_B: torch.Tensor


def photometric_loss(
    colours_BR3: torch.Tensor, opacities_BR: torch.Tensor, seen: SeenPixels
) -> torch.Tensor:
    """Return L_photo, mean squared errors of colours and mask.

    Nearly all rays are in blocks with something of the object, where errors count 2^2 = 4 times.
    The published weights are made for that.
    """
    factor_BR = 1.0 + (BLOCK_FACTOR - 1.0) * seen.in_blocks_BR
    factor_BR = factor_BR * (seen.masks_BR <= 1)
    errors = factor_BR[..., None] * (seen.colours_BR3 - colours_BR3)
    mask_errors = factor_BR * ((seen.masks_BR == 1).float() - opacities_BR)
    return errors.square().mean() + (mask_errors.square() * seen.visible_B[:, None]).mean()


def eikonal_loss(gradients_N3: torch.Tensor) -> torch.Tensor:
    """Return L_SDF: how far the slope of the signed distance is from one."""
    norms = (gradients_N3.square().sum(dim=-1) + TINY_SQUARE).sqrt()
    return (norms - 1.0).square().mean()
