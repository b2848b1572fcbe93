"""Two ellipsoids in place of one, to see more of a part's shape and colours.

An ellipsoid with a linear texture leaves much of an image unexplained, and what explains it best
may be a joint that is not there, or one that leans.  Two take half as long again, so that they
come when most joints are right.
"""

from dataclasses import replace
import math

import roma
import torch

from posefield.articulation.skeleton_tracks import SkeletonTracks

# Length of a half, of that of the whole; both are as far from its centre as half its radius.
HALF_LENGTH = 0.6


@torch.no_grad()
def halved(tracks: SkeletonTracks) -> SkeletonTracks:
    """Return tracks of 2P parts: part p has become p and P + p, beside each other on its joint.

    They lie along its longest axis.
    """
    values = tracks.values()
    longest = values['log_radii_P3'].argmax(dim=1)
    every = torch.arange(len(longest), device=longest.device)
    directions = tracks.rest_rotations_P33[every, :, longest]
    offsets = 0.5 * tracks.radii_P3[every, longest][:, None] * directions
    # What the texture says of the middle of a half.
    tints = 0.5 * values['textures_P33'][every, :, longest]
    values['log_radii_P3'][every, longest] += math.log(HALF_LENGTH)
    values['first_log_radii_P3'] = values['log_radii_P3']
    for name in ('log_radii_P3', 'first_log_radii_P3', 'rest_quaternions_P4', 'textures_P33'):
        values[name] = torch.cat([values[name], values[name]])
    for name, change in (('rest_centres_P3', offsets), ('means_P3', tints)):
        values[name] = torch.cat([values[name] + change, values[name] - change])
    owners = 2 * tracks.hierarchy.joint_of_part
    return SkeletonTracks(replace(tracks.hierarchy, joint_of_part=owners), values)


@torch.no_grad()
def joined(tracks: SkeletonTracks) -> SkeletonTracks:
    """Return tracks of P parts in place of the 2P of `halved`, whose halves share their joints.

    A part lies along the principal axes of both halves and reaches as far as they do; it has the
    colour of both, and no texture.
    """
    values = tracks.values()
    parts = len(values['log_radii_P3']) // 2

    def in_pairs(value: torch.Tensor) -> torch.Tensor:
        return torch.stack(value.split(parts), dim=1)

    # Columns are the semi-axes.
    axes_P233 = in_pairs(tracks.rest_rotations_P33 * tracks.radii_P3[:, None, :])
    shares_P2 = in_pairs(values['log_radii_P3'].sum(dim=1)).softmax(dim=1)
    centres_P23 = in_pairs(values['rest_centres_P3'])
    offsets_P23 = centres_P23 - (shares_P2[..., None] * centres_P23).sum(dim=1, keepdim=True)
    # Second moments of solid ellipsoids.
    moments = (
        axes_P233 @ axes_P233.mT / 5.0 + offsets_P23[..., :, None] * offsets_P23[..., None, :]
    )
    R_P33 = torch.linalg.eigh((shares_P2[..., None, None] * moments).sum(dim=1)).eigenvectors
    R_P33[torch.linalg.det(R_P33) < 0.0, :, 0] *= -1.0
    reaches_P23 = (R_P33.mT[:, None] @ axes_P233).norm(dim=-1)
    along_P23 = centres_P23 @ R_P33
    high = (along_P23 + reaches_P23).amax(dim=1)
    low = (along_P23 - reaches_P23).amin(dim=1)
    values['rest_centres_P3'] = (R_P33 @ (0.5 * (high + low))[..., None])[..., 0]
    values['rest_quaternions_P4'] = roma.rotmat_to_unitquat(R_P33)
    values['log_radii_P3'] = (0.5 * (high - low)).log()
    values['first_log_radii_P3'] = values['log_radii_P3']
    values['means_P3'] = (shares_P2[..., None] * in_pairs(values['means_P3'])).sum(dim=1)
    values['textures_P33'] = torch.zeros_like(values['textures_P33'][:parts])
    owners = tracks.hierarchy.joint_of_part[:parts]
    return SkeletonTracks(replace(tracks.hierarchy, joint_of_part=owners), values)
