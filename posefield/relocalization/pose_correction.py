"""Training poses that are learned together with the field (NeRF--; nefes.md section 6).

Field and poses explain the same images wherever both are moved together, and without a rule
they drift: a field learned so is accurate in a frame that nobody asked for.  Here the drift is
taken out whenever poses are read, so that the field never sees it and stays in the frame of the
original poses.
"""

import roma
import torch
from torch import nn


class PoseCorrection(nn.Module):
    """A small rigid motion of every training camera, the identity to begin with.

    Args:
        T_field_cam_N44: original poses, float32.
    """

    def __init__(self, T_field_cam_N44: torch.Tensor):
        super().__init__()
        self.rotvecs_N3 = nn.Parameter(torch.zeros_like(T_field_cam_N44[:, 0, :3]))
        self.translations_N3 = nn.Parameter(torch.zeros_like(T_field_cam_N44[:, 0, :3]))
        self.register_buffer('original_N44', T_field_cam_N44.detach().clone(), persistent=False)

    def forward(self, rows_B: torch.Tensor) -> torch.Tensor:
        """Return the corrected T_field_cam (B, 4, 4) of these cameras, in the original frame.

        Gradients reach their corrections; the drift of all cameras counts as a constant.
        """
        return self._aligned(self._moved(rows_B), *self._drift())

    @torch.no_grad()
    def poses(self) -> torch.Tensor:
        """Return all corrected T_field_cam (N, 4, 4) in the original frame."""
        return self(torch.arange(len(self.original_N44), device=self.original_N44.device))

    def _moved(self, rows_B: torch.Tensor) -> torch.Tensor:
        """Return Exp(r, t) T: each correction applied from the left."""
        R_B33 = roma.rotvec_to_rotmat(self.rotvecs_N3[rows_B])
        original_B44 = self.original_N44[rows_B]
        moved_B34 = R_B33 @ original_B44[:, :3]
        shift_B31 = self.translations_N3[rows_B][..., None]
        moved_B34 = torch.cat([moved_B34[..., :3], moved_B34[..., 3:] + shift_B31], dim=-1)
        return torch.cat([moved_B34, original_B44[:, 3:]], dim=1)

    @torch.no_grad()
    def _drift(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the similarity (s, R, t) from the moved cameras back to the original ones."""
        rows = torch.arange(len(self.original_N44), device=self.original_N44.device)
        return alignment(self._moved(rows).double(), self.original_N44.double())

    @staticmethod
    def _aligned(T_B44: torch.Tensor, scale, R_33, t_3) -> torch.Tensor:
        R_33, t_3 = R_33.to(T_B44), t_3.to(T_B44)
        centres = scale.to(T_B44) * T_B44[:, :3, 3] @ R_33.T + t_3
        top = torch.cat([R_33 @ T_B44[:, :3, :3], centres[..., None]], dim=-1)
        return torch.cat([top, T_B44[:, 3:]], dim=1)


def alignment(
    T_a_cam_N44: torch.Tensor, T_b_cam_N44: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return scale, R (3, 3) and t (3,) that bring cameras of frame a onto those of frame b.

    b = s R a + t, in the least-squares sense of Umeyama over the camera centres and, for the
    rotation, their axes as well: cameras in a row, or in one place, leave it no freedom.
    """
    centres_a, centres_b = T_a_cam_N44[:, :3, 3], T_b_cam_N44[:, :3, 3]
    mean_a, mean_b = centres_a.mean(dim=0), centres_b.mean(dim=0)
    offsets_a, offsets_b = centres_a - mean_a, centres_b - mean_b
    # Cameras closer together than this, squared, are in one place and have no scale to compare.
    one_place = 1e-9 * len(T_a_cam_N44)
    spread_a = (offsets_a**2).sum().clamp(min=one_place)
    spread_b = (offsets_b**2).sum().clamp(min=one_place)
    axes = torch.einsum('nij,nkj->ik', T_b_cam_N44[:, :3, :3], T_a_cam_N44[:, :3, :3])
    # So normalised, centres weigh as much in any unit of length.
    centres = offsets_b.T @ offsets_a / (spread_a * spread_b).sqrt()
    R = roma.special_procrustes(centres + axes / len(T_a_cam_N44))
    scale = (offsets_b * (offsets_a @ R.T)).sum() / spread_a
    scale = torch.where(spread_b > one_place, scale, torch.ones_like(scale))
    return scale, R, mean_b - scale * mean_a @ R.T
